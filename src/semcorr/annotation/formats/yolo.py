"""Ultralytics YOLO pose: a folder with ``data.yaml`` and a text file of labels for each picture.

The program looks for labels where a picture's path has ``labels`` in place of ``images``: put the pictures, or a link
to each, into the folder ``images``. Data sets with ``train/labels`` and ``train/images`` are read as well. ``flip_idx``
comes from left and right in the names. Positions are fractions of the picture; a box is the one given, or the extent of
the points, enlarged by a tenth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semcorr.annotation.records import (
    ABSENT,
    SURE,
    Annotation,
    Point,
    find_picture,
    names_of,
    swapped_names,
    with_size,
)
from semcorr.data.pairs import Box
from semcorr.data.records import Record, as_record, read_text, shorten
from semcorr.errors import DataError
from semcorr.geometry import Size

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read the folder of a ``data.yaml``. The pictures must be there: positions are fractions of their size."""
    path = path if path.is_dir() else path.parent
    header = as_record(_yaml(path / "data.yaml"), f"{path / 'data.yaml'}")
    shape = header.sequence("kpt_shape", 2)
    count = header.check_integer("kpt_shape[0]", shape[0], 1, 10_000)
    depth = header.check_integer("kpt_shape[1]", shape[1], 2, 3)
    categories = _names(header, "names")
    files = [file for file in sorted(path.rglob("*.txt")) if "labels" in file.relative_to(path).parent.parts]
    if not files:
        raise DataError(f"{path} holds no labels: no text file in a folder 'labels'")
    annotations = []
    for file in files:
        annotation = _picture(file.relative_to(path).with_suffix(""), path, images)
        for number, line in enumerate(read_text(file).splitlines(), 1):
            row = Record({"values": line.split()}, f"{file}, line {number}")
            if row.values["values"]:
                annotations.append(_annotation(row, annotation, (count, depth), categories, header))
    return annotations


def _yaml(path: Path) -> object:
    import yaml

    text = read_text(path)
    if len(text) > 1 << 20 or "&" in text:  # aliases can grow without end
        raise DataError(f"{path} is no data.yaml of YOLO: it is too large, or has aliases")
    try:
        content: object = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{path} is not valid YAML: {shorten(str(error), 120)}") from None
    return content


def _names(header: Record, field: str) -> list[str]:
    value = header.value(field)
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        header.fail(field, f"must be a list or a mapping of names, got {shorten(value)}")
    return [str(name) for name in value]


def _picture(labels: Path, path: Path, images: Path | None) -> Annotation:
    """Find the picture of a label file, of which ``labels`` is the path below the data set, without its ending."""
    at = len(labels.parts) - 1 - labels.parts[::-1].index("labels")  # the last folder of that name
    part, stem = Path(*labels.parts[:at]), Path(*labels.parts[at + 1 :])
    for ending in (*_ENDINGS, *(ending.upper() for ending in _ENDINGS)):
        for folder in [images, path / part / "images"]:
            if folder is not None and (file := folder / f"{stem}{ending}").is_file():
                name = file.relative_to(folder) if folder == images else part / file.relative_to(folder)
                return with_size(Annotation(name.as_posix(), None, confirmed=True), file)
    find_picture(f"{stem}{_ENDINGS[0]}", path, images)  # raises, naming the folders
    raise DataError(f"{path}: no picture belongs to {labels}.txt")


def _annotation(
    row: Record, picture: Annotation, shape: tuple[int, int], categories: list[str], header: Record
) -> Annotation:
    count, depth = shape
    try:
        values = row.numbers("values", [float(str(text)) for text in row.sequence("values", 5 + count * depth)])
    except ValueError:
        row.fail("values", "must be numbers")
    height, width = picture.size or (1, 1)
    kind = row.check_integer("class", int(values[0]), 0, len(categories) - 1)
    names = [str(i) for i in range(1, count + 1)]
    if isinstance(listed := header.values.get("kpt_names"), dict) and isinstance(listed.get(kind), list):
        names = [str(name) for name in listed[kind]]
        if len(names) != count:
            header.fail("kpt_names", f"must hold {count} names, got {len(names)}")
    points = {}
    for i, name in enumerate(names):
        x, y, *rest = values[5 + i * depth : 5 + (i + 1) * depth]
        v, confidence = _v(row, rest[0]) if rest else ((SURE if x or y else ABSENT), 1.0)
        points[name] = Point(x * width, y * height, v, confidence) if v else Point(0, 0, ABSENT)
    cx, cy, w, h = values[1] * width, values[2] * height, values[3] * width, values[4] * height
    box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    return Annotation(picture.picture, picture.size, points, box, categories[kind], confirmed=True)


def _v(row: Record, value: float) -> tuple[int, float]:
    """Return ``v`` and the confidence: the program writes a confidence in place of v for what it has predicted."""
    if 0 < value < 1:
        return SURE, value
    return row.check_integer("v", int(value), ABSENT, SURE), 1.0


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return ``data.yaml`` and the labels."""
    readable = [one for one in annotations if not one.error and one.size is not None]
    names = names_of(readable)
    categories = list(dict.fromkeys(one.category for one in readable))
    header: dict[str, Any] = {
        "train": "images",
        "val": "images",
        "kpt_shape": [len(names), 3],
        "flip_idx": swapped_names(names),
        "names": dict(enumerate(categories)),
        "kpt_names": dict.fromkeys(range(len(categories)), names),
    }
    # JSON is YAML, but for the keys, which YOLO wants as numbers
    entries = [
        f"{key}: {json.dumps(value)}" if not isinstance(value, dict) else _mapping(key, value)
        for key, value in header.items()
    ]
    labels: dict[Path, list[str]] = {}
    for one in readable:
        file = (path / "labels" / one.picture).with_suffix(".txt")
        lines = labels.setdefault(file, [])
        if one.labelled:
            lines.append(_line(one, categories.index(one.category), names))
    files = {file: "".join(lines).encode() for file, lines in labels.items()}
    return {path / "data.yaml": ("\n".join(entries) + "\n").encode(), **files}


def _mapping(key: str, value: dict[int, Any]) -> str:
    return "\n".join([f"{key}:", *(f"  {number}: {json.dumps(entry)}" for number, entry in value.items())])


def _line(annotation: Annotation, kind: int, names: Sequence[str]) -> str:
    height, width = annotation.size or (1, 1)
    left, top, right, bottom = _box(annotation, (height, width))
    values = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]
    cells = [str(kind), *(f"{value:.6f}" for value in values)]
    for name in names:
        point = annotation.points.get(name, Point(0, 0, ABSENT))
        cells += [f"{point.x / width:.6f}", f"{point.y / height:.6f}", str(point.v)]
    return " ".join(cells) + "\n"


def _box(annotation: Annotation, size: Size) -> Box:
    left, top, right, bottom = annotation.bounds or (0.0, 0.0, 1.0, 1.0)
    if annotation.box is None:
        margin = 0.05 * max(right - left, bottom - top, 10)
        left, top, right, bottom = left - margin, top - margin, right + margin, bottom + margin
    return max(0, left), max(0, top), min(size[1], right), min(size[0], bottom)
