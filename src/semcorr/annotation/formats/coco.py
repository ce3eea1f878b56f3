"""COCO keypoints: one JSON file of images, categories and annotations.

Keypoints are ``x, y, v`` for each of the category's names. What COCO has no field for stands under ``semcorr`` in each
annotation; see `semcorr.annotation.formats.extras`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from semcorr.annotation.formats.extras import extras, restore
from semcorr.annotation.records import ABSENT, SURE, Annotation, Point, names_of
from semcorr.data.pairs import Box
from semcorr.data.records import MAX_SIDE, Record, as_record, read_record, shorten


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read every object; crowds are left out."""
    root = read_record(path)
    pictures = _table(root, "images")
    categories = _table(root, "categories")
    objects = [as_record(value, f"{path} annotations[{i}]") for i, value in enumerate(root.sequence("annotations"))]
    return [_annotation(record, pictures, categories) for record in objects if not record.values.get("iscrowd")]


def _table(root: Record, name: str) -> dict[str, Record]:
    records = [as_record(value, f"{root.where} {name}[{i}]") for i, value in enumerate(root.sequence(name))]
    return {repr(record.value("id")): record for record in records}


def _linked(record: Record, key: str, table: dict[str, Record]) -> Record:
    linked = table.get(repr(record.value(key)))
    if linked is None:
        record.fail(key, f"refers to an entry that does not exist: {shorten(record.value(key))}")
    return linked


def _annotation(record: Record, pictures: dict[str, Record], categories: dict[str, Record]) -> Annotation:
    picture, category = _linked(record, "image_id", pictures), _linked(record, "category_id", categories)
    names = [str(name) for name in category.sequence("keypoints")]
    values = record.sequence("keypoints", 3 * len(names))
    points = {}
    for index, name in enumerate(names):
        x, y, v = record.numbers(f"keypoints[{name}]", values[3 * index : 3 * index + 3], 3)
        v = record.check_integer(f"keypoints[{name}].v", int(v), ABSENT, SURE)
        points[name] = Point(x, y, v) if v else Point(0, 0, ABSENT)
    size = picture.integer("height", 1, MAX_SIDE), picture.integer("width", 1, MAX_SIDE)
    annotation = Annotation(picture.text("file_name"), size, points, _box(record), category.text("name"))
    return restore(annotation, record)


def _box(record: Record) -> Box | None:
    if record.values.get("bbox") is None:
        return None
    left, top, width, height = record.numbers("bbox", record.value("bbox"), 4)
    return (left, top, left + width, top + height) if width > 0 and height > 0 else None


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return the file; pictures that could not be read are listed under ``info``."""
    readable = [annotation for annotation in annotations if not annotation.error]
    kinds = {
        kind: names_of(one for one in readable if one.category == kind)
        for kind in dict.fromkeys(annotation.category for annotation in readable)
    }
    numbers = {name: i for i, name in enumerate(dict.fromkeys(one.picture for one in readable), 1)}
    sizes = {one.picture: one.size or (0, 0) for one in readable}
    content = {
        "info": {
            "description": "keypoints labelled by semcorr",
            "unreadable": {one.picture: one.error for one in annotations if one.error},
        },
        "licenses": [],
        "images": [
            {"id": number, "file_name": name, "width": sizes[name][1], "height": sizes[name][0]}
            for name, number in numbers.items()
        ],
        "categories": [
            {"id": i, "name": kind, "supercategory": "", "keypoints": names, "skeleton": []}
            for i, (kind, names) in enumerate(kinds.items(), 1)
        ],
        "annotations": [
            _entry(one, i, numbers[one.picture], list(kinds).index(one.category) + 1, kinds[one.category])
            for i, one in enumerate(readable, 1)
        ],
    }
    return {path: json.dumps(content).encode()}


def _entry(annotation: Annotation, number: int, picture: int, category: int, names: list[str]) -> dict[str, object]:
    points = [annotation.points.get(name, Point(0, 0, ABSENT)) for name in names]
    left, top, right, bottom = annotation.bounds or (0.0, 0.0, 0.0, 0.0)
    return {
        "id": number,
        "image_id": picture,
        "category_id": category,
        "bbox": [round(left, 2), round(top, 2), round(right - left, 2), round(bottom - top, 2)],
        "area": round((right - left) * (bottom - top), 2),
        "iscrowd": 0,
        "num_keypoints": len(annotation.labelled),
        "keypoints": [value for point in points for value in (point.x, point.y, point.v)],
        "score": round(annotation.score, 4),
        "semcorr": extras(annotation),
    }
