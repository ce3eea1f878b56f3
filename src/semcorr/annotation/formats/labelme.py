"""Labelme and X-AnyLabeling: one JSON file per picture, in a folder that mirrors the folder of the pictures.

A point is a shape of type ``point``; shapes of one object share a ``group_id``, and a rectangle among them is its box.
The flag ``unsure`` of a shape (X-AnyLabeling: ``difficult``) marks v = 1, the picture's flag ``confirmed`` is there to
be ticked by whoever has checked it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from semcorr.annotation.formats.extras import extras, restore
from semcorr.annotation.records import SURE, UNSURE, Annotation, Point
from semcorr.data.records import MAX_SIDE, Record, as_record, read_record
from semcorr.errors import DataError
from semcorr.geometry import Size


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read one file, or every JSON file of a folder and its subfolders."""
    if not path.is_dir():
        return _read_file(path, path.parent, images)
    files = sorted(path.rglob("*.json"))
    if not files:
        raise DataError(f"{path} holds no JSON file of Labelme")
    return [annotation for file in files for annotation in _read_file(file, path, images)]


def _read_file(path: Path, root: Path, images: Path | None) -> list[Annotation]:
    record = read_record(path)
    size = record.integer("imageHeight", 1, MAX_SIDE), record.integer("imageWidth", 1, MAX_SIDE)
    named = record.text("imagePath").replace("\\", "/")
    picture = _relative(named, path, root, images)
    shapes = [as_record(value, f"{path} shapes[{i}]") for i, value in enumerate(record.sequence("shapes"))]
    extra = record.values.get("semcorr") or []
    if not isinstance(extra, list):
        record.fail("semcorr", "must be a list with an entry for each object")
    groups: dict[int | None, list[Record]] = {None if len(extra) == 1 else i: [] for i in range(len(extra))}
    for shape in shapes:
        if shape.values.get("shape_type") in ("point", "rectangle"):
            group = shape.values.get("group_id")
            groups.setdefault(group if isinstance(group, int) else None, []).append(shape)
    entries = [
        (members, extra[group or 0] if (group or 0) in range(len(extra)) else None) for group, members in groups.items()
    ]
    annotations = [_annotation(members, picture, size, entry, str(path)) for members, entry in entries]
    annotations = annotations or [Annotation(picture, size, confirmed=True)]
    flags = as_record(record.values.get("flags") or {}, f"{path}: field 'flags'").values
    return [replace(one, confirmed=True) if flags.get("confirmed") is True else one for one in annotations]


def _relative(named: str, path: Path, root: Path, images: Path | None) -> str:
    """Return the picture's path relative to the pictures' folder, or what the file says where it lies elsewhere."""
    base = (images or root).resolve()
    place = Path(os.path.normpath(path.resolve().parent / named)) if "\0" not in named else Path(named)
    return place.relative_to(base).as_posix() if place.is_relative_to(base) else named


def _annotation(shapes: list[Record], picture: str, size: Size, extra: object, where: str) -> Annotation:
    points: dict[str, Point] = {}
    box, category = None, "object"
    for shape in shapes:
        corners = [shape.numbers(f"points[{i}]", pair, 2) for i, pair in enumerate(shape.sequence("points"))]
        if shape.values["shape_type"] == "point" and len(corners) == 1:
            flags = as_record(shape.values.get("flags") or {}, f"{shape.where}: field 'flags'").values
            unsure = flags.get("unsure") is True or shape.values.get("difficult") is True
            points[shape.text("label")] = Point(corners[0][0], corners[0][1], UNSURE if unsure else SURE)
        elif shape.values["shape_type"] == "rectangle" and len(corners) in (2, 4):
            x, y = zip(*corners, strict=True)
            box, category = (min(x), min(y), max(x), max(y)), shape.text("label")
    record = Record({"semcorr": extra}, where)
    annotation = Annotation(picture, size, points, box, category)
    if isinstance(extra, dict) and isinstance(extra.get("category"), str):
        annotation = replace(annotation, category=extra["category"])
    return restore(annotation, record)


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return a file for each picture that could be read."""
    by_picture: dict[str, list[Annotation]] = {}
    for annotation in annotations:
        if not annotation.error:
            by_picture.setdefault(annotation.picture, []).append(annotation)
    files = {}
    for picture, members in by_picture.items():
        file = (path / picture).with_suffix(".json")
        if file in files:
            raise DataError(f"two pictures differ only in their ending: {picture}; Labelme has one file for both")
        files[file] = _file(members, file, (images or path) / picture)
    return files


def _file(members: list[Annotation], file: Path, picture: Path) -> bytes:
    height, width = members[0].size or (0, 0)
    content = {
        "version": "5.5.0",
        "flags": {"confirmed": all(one.confirmed for one in members)},
        "shapes": [shape for i, one in enumerate(members) for shape in _shapes(one, i if len(members) > 1 else None)],
        "imagePath": Path(os.path.relpath(picture.resolve(), file.parent.resolve())).as_posix(),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
        "semcorr": [extras(one) | {"category": one.category} for one in members],
    }
    return json.dumps(content, indent=1).encode()


def _shapes(annotation: Annotation, group: int | None) -> list[dict[str, object]]:
    shared: dict[str, object] = {"group_id": group, "mask": None}
    shapes: list[dict[str, object]] = []
    if annotation.box is not None:
        left, top, right, bottom = annotation.box
        box = {"label": annotation.category, "points": [[left, top], [right, bottom]], "shape_type": "rectangle"}
        shapes.append(box | shared | {"description": "", "flags": {}})
    for name, point in annotation.labelled.items():
        unsure = point.v == UNSURE
        said = {"description": f"confidence {point.confidence:.2f}", "score": point.confidence, "difficult": unsure}
        place = {"label": name, "points": [[point.x, point.y]], "shape_type": "point"}
        shapes.append(place | shared | said | {"flags": {"unsure": unsure}})
    return shapes
