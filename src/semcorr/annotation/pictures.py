"""The pictures to label: a folder, a list, the images of a COCO file, or WebDataset shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from semcorr.annotation.formats import check_text
from semcorr.data.pairs import Box
from semcorr.data.records import MAX_SIDE, Record, as_record, read_json, read_text
from semcorr.errors import DataError, need_extra
from semcorr.geometry import Size
from semcorr.image import load_image

ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif"),
    *(".tiff", ".ppm", ".pgm", ".jp2", ".avif", ".heic", ".heif"),
)
"""Files of a folder that are taken for pictures, in small or capital letters."""

Boxes = dict[str, list[Box]]
"""Picture to the boxes (left, top, right, bottom) of its objects, in pixels."""


@dataclass(frozen=True)
class Target:
    """One object to label.

    Attributes:
        picture: The name that the labels are written under.
        source: The picture's file, or the content of one.
        box: The object's box in pixels; None for the whole picture.
        number: Which of the picture's boxes it is, from 0.
    """

    picture: str
    source: Path | bytes
    box: Box | None = None
    number: int = 0

    @property
    def key(self) -> str:
        """What tells it from all other targets of a run."""
        return f"{self.number}:{self.picture}"

    def load(self) -> NDArray[np.uint8]:
        """Return the picture, ``(H, W, 3)`` uint8.

        Raises:
            ImageError: If it cannot be read.
            FileNotFoundError: If it is gone.
        """
        return load_image(self.source)


@dataclass(frozen=True)
class Pictures:
    """Pictures to label, in a fixed order.

    Attributes:
        root: The folder that their names are relative to; None for shards.
        files: Names and files, in order; empty for shards.
        shards: WebDataset tar files.
        boxes: Boxes of objects in them; a picture without one is labelled as a whole, unless ``boxes`` is empty.
    """

    root: Path | None
    files: Sequence[tuple[str, Path]] = ()
    shards: Sequence[Path] = ()
    boxes: Boxes | None = None

    def __iter__(self) -> Iterator[Target]:
        sources: Iterator[tuple[str, Path | bytes]] = _members(self.shards) if self.shards else iter(self.files)
        for name, source in sources:
            for number, box in enumerate((self.boxes or {}).get(name) or [None]):
                yield Target(name, source, box, number)


def find_pictures(
    source: Path, patterns: Sequence[str] = (), images: Path | None = None, boxes: Path | None = None
) -> Pictures:
    """Find the pictures to label.

    Args:
        source: A folder, searched with its subfolders; a picture; a text file with a path on each line; a COCO file,
            whose annotations' boxes are used; or a WebDataset shard, or a folder of shards.
        patterns: Patterns that a picture's name or path in the folder has to match one of, such as ``*_dorsal.jpg``.
        images: The folder that names in a COCO file or a list refer to; by default that of the file.
        boxes: A COCO file with boxes, or detections, a list of ``{file_name, bbox}`` or ``{image_id, bbox}``.

    Raises:
        DataError: If nothing is found, or a file is malformed.
    """
    if not source.exists():
        raise DataError(f"{source} is missing; give a folder of pictures, a list or a COCO file")
    ending = source.suffix.lower()
    found_boxes: Boxes = {}
    ids: dict[str, str] = {}
    if source.is_dir():
        root, shards = source, sorted(source.glob("*.tar"))
        names = [] if shards else _in_folder(source)
    elif ending == ".tar":
        root, shards, names = source.parent, [source], []
    elif ending == ".json":
        root, shards = images or source.parent, []
        names, ids, found_boxes = _from_coco(source)
    elif ending in ENDINGS:
        root, shards, names = source.parent, [], [source.name]
    else:
        root, shards = images or source.parent, []
        names = [line.strip() for line in read_text(source).splitlines() if line.strip()]
    if patterns:
        names = [name for name in names if any(fnmatch(name, p) or fnmatch(Path(name).name, p) for p in patterns)]
    if boxes is not None:
        found_boxes = _from_coco(boxes)[2] if _is_coco(boxes) else _detections(boxes, ids)
    if not names and not shards:
        asked = f" matches {', '.join(patterns)}" if patterns else ""
        raise DataError(f"{source}: no picture{asked or ' in it'}; endings looked for: {' '.join(ENDINGS)}")
    check_text(names, source)
    unique = dict.fromkeys(names)
    return Pictures(None if shards else root, [(n, root / n) for n in unique], shards, found_boxes)


def _in_folder(folder: Path) -> list[str]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    return sorted(file.relative_to(folder).as_posix() for file in files)


def _is_coco(path: Path) -> bool:
    content = read_json(path)
    return isinstance(content, dict)


def _from_coco(path: Path) -> tuple[list[str], dict[str, str], Boxes]:
    """Return the file names of a COCO file, the name of each image's id, and the boxes of its annotations."""
    content = read_json(path)
    root = as_record(content, f"{path}")
    pictures = [as_record(value, f"{path} images[{i}]") for i, value in enumerate(root.sequence("images"))]
    ids = {repr(picture.value("id")): PurePosixPath(picture.text("file_name")).as_posix() for picture in pictures}
    sizes = {repr(picture.value("id")): picture.size() for picture in pictures}
    boxes: Boxes = {}
    for i, value in enumerate(root.sequence("annotations") if "annotations" in root.values else []):
        record = as_record(value, f"{path} annotations[{i}]")
        key = repr(record.value("image_id"))
        if key not in ids:
            record.fail("image_id", "refers to an image that does not exist")
        box = _box(record, sizes.get(key))
        if box is not None and not record.values.get("iscrowd"):
            boxes.setdefault(ids[key], []).append(box)
    return list(ids.values()), ids, boxes


def _box(record: Record, size: Size | None) -> Box | None:
    return record.box("bbox", size or (MAX_SIDE, MAX_SIDE), as_width_and_height=True)


def _detections(path: Path, ids: dict[str, str]) -> Boxes:
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path} must hold COCO detections, a list")
    boxes: Boxes = {}
    for i, value in enumerate(content):
        record = as_record(value, f"{path} entry {i}")
        if "file_name" in record.values:
            name = record.text("file_name")
        else:
            key = repr(record.value("image_id"))
            name = ids.get(key, "")
            if not name:
                record.fail("image_id", "is of no image; give the COCO file as pictures, or entries with file_name")
        if (box := _box(record, None)) is not None:
            boxes.setdefault(name, []).append(box)
    return boxes


def _members(shards: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    need_extra("annotate", "webdataset")
    import webdataset

    dataset = webdataset.WebDataset(
        [str(shard.resolve()) for shard in shards], shardshuffle=False, empty_check=False, nodesplitter=None
    )
    try:
        for sample in dataset:
            for ending in (key for key in sample if f".{str(key).lower()}" in ENDINGS):
                yield f"{sample['__key__']}.{ending}", sample[ending]
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"a shard of {', '.join(map(str, shards))} cannot be read: {error}") from None
