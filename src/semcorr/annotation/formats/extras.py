"""What formats have no field for, as one JSON object that goes along in those that allow more fields."""

from __future__ import annotations

from dataclasses import replace

from semcorr.annotation.records import ABSENT, Annotation, Point
from semcorr.data.records import Record, as_record


def extras(annotation: Annotation) -> dict[str, object]:
    """Return confidence and visibility of every point, where the labels come from, and their digest."""
    return {
        "points": {name: [point.confidence, point.visibility] for name, point in annotation.points.items()},
        "exemplar": annotation.exemplar,
        "similarity": annotation.similarity,
        "model": annotation.model,
        "confirmed": annotation.confirmed,
        "digest": annotation.digest,
        "boxed": annotation.box is not None,
    }


def restore(annotation: Annotation, record: Record) -> Annotation:
    """Return an annotation that was read, with what `extras` put under ``semcorr`` in its record.

    It is confirmed if it is marked so, and also if a person made it or changed it since: then it has no digest, or
    another one than its labels have now.

    Raises:
        DataError: If what stands there is malformed.
    """
    extra = as_record(record.values.get("semcorr") or {}, f"{record.where}: field 'semcorr'")
    if not extra.values:
        return replace(annotation, confirmed=True)
    points = {}
    for name, pair in as_record(extra.value("points"), f"{extra.where} points").values.items():
        confidence, visibility = extra.numbers(f"points.{name}", pair, 2)
        points[name] = replace(
            annotation.points.get(name, Point(0, 0, ABSENT)), confidence=confidence, visibility=visibility
        )
    restored = replace(
        annotation,
        points=points | {name: point for name, point in annotation.points.items() if name not in points},
        box=annotation.box if extra.values.get("boxed", True) else None,
        exemplar=str(extra.values.get("exemplar", "")),
        similarity=extra.numbers("similarity", [extra.values.get("similarity", 1)])[0],
        model=str(extra.values.get("model", "")),
    )
    changed = extra.values.get("digest") != restored.digest
    return replace(restored, confirmed=changed or extra.values.get("confirmed") is True)
