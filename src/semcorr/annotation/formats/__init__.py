"""Files of labels, one module a format: ``read`` and ``render`` of each are inverse to one another.

A module has ``read(path, images)``, which returns annotations, and ``render(annotations, path, images)``, which
returns the bytes of each file to write. To add a format, write such a module and list it in `FORMATS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from semcorr.annotation.records import Annotation
from semcorr.data.records import read_text
from semcorr.errors import DataError, did_you_mean, need_extra


class Format(NamedTuple):
    """A file format.

    Attributes:
        title: What people call it.
        module: Its module in this package.
        ending: What its files end in; empty for a folder.
        writes_with: Packages of the extra ``annotate`` that writing it needs.
        reads_with: And reading it.
    """

    title: str
    module: str
    ending: str
    writes_with: tuple[str, ...] = ()
    reads_with: tuple[str, ...] = ()

    @property
    def read(self) -> Callable[[Path, Path | None], list[Annotation]]:
        """``read(path, images)``: the annotations of a file or folder; ``images`` is where its pictures are."""
        function: Callable[[Path, Path | None], list[Annotation]] = self._load("read", self.reads_with)
        return function

    @property
    def render(self) -> Callable[[Sequence[Annotation], Path, Path | None], dict[Path, bytes]]:
        """``render(annotations, path, images)``: the bytes of each file, by its path."""
        function: Callable[[Sequence[Annotation], Path, Path | None], dict[Path, bytes]] = self._load(
            "render", self.writes_with
        )
        return function

    def _load(self, name: str, needs: tuple[str, ...]) -> Any:
        need_extra("annotate", *needs)
        return getattr(import_module(f"{__name__}.{self.module}"), name)


FORMATS = {
    "coco": Format("COCO keypoints", "coco", ".json"),
    "csv": Format("CSV table, one row per point", "table", ".csv"),
    "parquet": Format("the same table as Parquet", "parquet", ".parquet", ("pyarrow",), ("pyarrow",)),
    "deeplabcut": Format("DeepLabCut, CSV and HDF5", "deeplabcut", ".csv", ("pandas", "tables")),
    "lightning-pose": Format("Lightning Pose CSV", "lightning_pose", ".csv"),
    "tps": Format("TPS of tpsDig", "tps", ".tps"),
    "yolo": Format("Ultralytics YOLO pose", "yolo", "", reads_with=("yaml",)),
    "labelme": Format("Labelme and X-AnyLabeling", "labelme", ""),
    "label-studio": Format("Label Studio tasks", "label_studio", ".json"),
    "json": Format("semcorr's photographs with named keypoints", "plain", ".json"),
}


def find_format(name: str) -> Format:
    """Return a format by its name, or suggest one.

    Raises:
        DataError: If there is no such format.
    """
    if name not in FORMATS:
        raise DataError(f"no format is called {name!r}{did_you_mean(name, FORMATS)}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]


def format_for_writing(path: Path) -> str:
    """Return the name of the format that a file's ending stands for.

    Raises:
        DataError: If the ending stands for none, or for a folder of one of several formats.
    """
    if path.suffix.lower() == ".csv" and path.name.startswith("CollectedData"):
        return "deeplabcut"
    usual = {".json": "coco", ".csv": "csv", ".parquet": "parquet", ".tps": "tps", ".h5": "deeplabcut"}
    if path.suffix.lower() in usual:
        return usual[path.suffix.lower()]
    raise DataError(f"the ending of {path.name!r} names no format; give --format: {', '.join(FORMATS)}")


def recognise(path: Path) -> str:
    """Return the name of the format that a file or folder is in, from its ending and how it begins.

    Raises:
        DataError: If it is missing, or in none of the formats.
    """
    if not path.exists():
        raise DataError(f"{path} is missing; give a file of labels")
    if path.is_dir():
        return _recognise_folder(path)
    ending = path.suffix.lower()
    if ending == ".json":
        return _recognise_json(path)
    if ending == ".csv":
        lines = [line.split(",") for line in read_text(path).splitlines()[:4]]
        if lines and lines[0][0].strip() == "scorer":
            return "lightning-pose" if any("visible" in line for line in lines) else "deeplabcut"
        return "csv"
    known = {".tps": "tps", ".parquet": "parquet", ".h5": "deeplabcut", ".yaml": "yolo"}
    if ending not in known:
        raise DataError(f"{path}: the ending {ending!r} is of no known format; choose from {', '.join(FORMATS)}")
    return known[ending]


def _recognise_folder(path: Path) -> str:
    if (path / "data.yaml").exists():
        return "yolo"
    if any(path.glob("*.json")):
        return "labelme"
    raise DataError(f"{path} holds neither Labelme's JSON files nor a data.yaml; give a file of labels")


def _recognise_json(path: Path) -> str:
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {str(error)[:120]}") from None
    first = content[0] if isinstance(content, list) and content else content
    if isinstance(first, dict):
        for key, name in {"annotations": "coco", "shapes": "labelme", "data": "label-studio", "file": "json"}.items():
            if key in first and (isinstance(content, dict) or name in ("label-studio", "json")):
                return name
            if isinstance(content, list) and "data" in first:
                return "label-studio"
    raise DataError(f"{path} is JSON of no known kind; expected COCO, Labelme, Label Studio's JSON or semcorr's own")


def read_labels(path: Path, images: Path | None = None, name: str | None = None) -> list[Annotation]:
    """Read annotations in any format.

    Args:
        path: A file, or a folder of Labelme or YOLO files.
        images: The folder of the pictures, if they are not beside the file.
        name: The format's name; by default it is recognised.

    Raises:
        DataError: If it is missing, broken, or in none of the formats; the message names the place.
    """
    annotations = find_format(name or recognise(path)).read(path, images)
    for one in annotations:
        check_text((one.picture, one.category, one.exemplar, one.model, *one.points), path)
    return annotations


def check_text(texts: Iterable[str], path: Path) -> None:
    """Refuse text that no file can hold: half a character, as JSON may have them, and undecodable file names.

    Raises:
        DataError: If there is any.
    """
    for text in texts:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"{path}: the name {ascii(text)[:80]} is not valid Unicode; rename it")
