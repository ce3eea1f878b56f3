"""Photographs with named keypoints as plain JSON: the simplest way to use your own annotations.

Layout of the folder::

    images/*.jpg
    {train,val,test}.json        list of {file, category, width, height, bbox [x0, y0, x1, y1],
                                 keypoints {name: [x, y]}}, one object per photograph;
                                 width, height and bbox may be missing
    {val,test}_pairs.json        list of [source file, target file]

Coordinates are native pixels of the files in ``images``.
"""

from __future__ import annotations

from pathlib import Path

from semcorr.data.pairs import Pair, PairSet, Photo, gather, make_pair
from semcorr.data.pictures import Sizes
from semcorr.data.records import Record, as_record, read_list, shorten
from semcorr.errors import DataError

SPLITS = ("train", "val", "test")


def load_photos(root: Path | str, split: str, skipped: list[DataError] | None = None) -> list[Photo]:
    """Load the photographs of a split.

    Args:
        root: The folder described above.
        split: ``"train"``, ``"val"`` or ``"test"``, or the stem of another JSON file in the folder.
        skipped: If given, broken entries are left out and their errors appended to it.

    Raises:
        DataError: If an annotation is malformed or a picture is missing, and ``skipped`` is not given.
    """
    return list(_named_photos(Path(root), split, skipped).values())


def _named_photos(root: Path, split: str, skipped: list[DataError] | None) -> dict[str, Photo]:
    path, sizes = root / f"{split}.json", Sizes()
    named: dict[str, Photo] = {}

    def read(numbered: tuple[int, object]) -> None:
        index, value = numbered
        record = as_record(value, f"{path} entry {index}")
        name = record.text("file")
        if name in named:
            record.fail("file", f"{shorten(name)} appears twice: a photograph has one object")
        named[name] = _photo(Record(record.values, f"{record.where} ({name})"), root / "images", sizes)

    gather(enumerate(read_list(path)), read, skipped)
    return named


def _photo(record: Record, images: Path, sizes: Sizes) -> Photo:
    path = record.picture("file", images, record.size(), sizes)
    size = sizes(path, record.where)
    points = record.value("keypoints")
    if not isinstance(points, dict) or not points:
        record.fail("keypoints", f"must be an object with at least one named point, got {shorten(points)}")
    keypoints = {name: record.point(f"keypoints.{name}", point, size) for name, point in points.items()}
    return Photo(path, size, keypoints, record.box("bbox", size), record.text("category"))


def load_pairs(root: Path | str, split: str = "test", skip_broken: bool = False) -> PairSet:
    """Load the fixed list of pairs of a split, from ``{split}_pairs.json``.

    Args:
        root: The folder described above.
        split: ``"val"`` or ``"test"``. The training split has no list: draw pairs from it with `draw_pairs`.
        skip_broken: Leave out and count broken entries, instead of raising.
    """
    root = Path(root)
    skipped: list[DataError] | None = [] if skip_broken else None
    path = root / f"{split}_pairs.json"
    if not path.exists() and (root / f"{split}.json").exists():
        raise DataError(f"{path} is missing: this split has no list of pairs; draw them with draw_pairs")
    entries = read_list(path)
    photos = _named_photos(root, split, skipped)

    def read(numbered: tuple[int, object]) -> Pair:
        index, names = numbered
        where = f"{path} entry {index}"
        if not isinstance(names, list) or len(names) != 2:
            raise DataError(f"{where}: must be [source file, target file], got {shorten(names)}")
        for name, field in zip(names, ("source", "target"), strict=True):
            if not isinstance(name, str) or name not in photos:
                known = f"{split}.json"
                raise DataError(f"{where}: field '{field}' names no photograph of {known}: {shorten(name)}")
        source, target = photos[names[0]], photos[names[1]]
        if source.category != target.category:
            raise DataError(f"{where}: a {source.category} cannot be paired with a {target.category}")
        return make_pair(source, target, {}, where)

    pairs = gather(enumerate(entries), read, skipped)
    return PairSet(f"keypoints {split}", pairs, skipped or [])
