"""The package's own JSON, in the layout of `semcorr.data.keypoints`: a list of photographs with named keypoints.

Each entry is ``{file, category, width, height, bbox, keypoints {name: [x, y]}}``; ``unsure`` lists the names whose
point is unsure or hidden. Files lie in the folder ``images`` beside the JSON file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from semcorr.annotation.formats.extras import extras, restore
from semcorr.annotation.records import SURE, UNSURE, Annotation, Point
from semcorr.data.records import MAX_SIDE, Record, as_record, read_list


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read every entry."""
    return [_annotation(as_record(value, f"{path} entry {i}")) for i, value in enumerate(read_list(path))]


def _annotation(record: Record) -> Annotation:
    size = record.integer("height", 1, MAX_SIDE), record.integer("width", 1, MAX_SIDE)
    box = record.box("bbox", size)
    unsure = record.sequence("unsure") if "unsure" in record.values else []
    points = {}
    for name, value in as_record(record.value("keypoints"), f"{record.where}: field 'keypoints'").values.items():
        x, y = record.point(f"keypoints.{name}", value, size)
        points[name] = Point(x, y, UNSURE if name in unsure else SURE)
    category = record.text("category") if "category" in record.values else "object"
    return restore(Annotation(record.text("file"), size, points, box, category), record)


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return the file."""
    entries = [
        {
            "file": one.picture,
            "category": one.category,
            "width": one.size[1],
            "height": one.size[0],
            **({"bbox": list(one.box)} if one.box else {}),
            "keypoints": {name: [point.x, point.y] for name, point in one.labelled.items()},
            "unsure": [name for name, point in one.points.items() if point.v == UNSURE],
            "semcorr": extras(one),
        }
        for one in annotations
        if one.size is not None and not one.error
    ]
    return {path: json.dumps(entries).encode()}
