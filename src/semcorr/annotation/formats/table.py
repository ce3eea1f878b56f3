"""A table with one row per point, as spreadsheets, R and pandas like it.

Columns: picture, object (its number in the picture), category, width, height, left, top, right, bottom (the box, if one
was given), point, x, y, v, confidence, visibility, exemplar, similarity, model, confirmed, digest. An absent point has
empty x and y. The digest changes when labels are changed, so that they count as confirmed.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from semcorr.annotation.records import ABSENT, SURE, Annotation, Point
from semcorr.data.records import MAX_SIDE, Record, read_text, shorten
from semcorr.errors import DataError

COLUMNS = (
    *("picture", "object", "category", "width", "height", "left", "top", "right", "bottom"),
    *("point", "x", "y", "v", "confidence", "visibility"),
    *("exemplar", "similarity", "model", "confirmed", "digest"),
)
NUMBERS = frozenset(
    ("object", "width", "height", "left", "top", "right", "bottom", "x", "y", "v", "confidence", "visibility")
) | {"similarity"}
_NEEDED = ("picture", "point", "x", "y")
_NUMBER = re.compile(r"^(-?\d*),(\d+)$")


def read(path: Path, images: Path | None = None) -> list[Annotation]:
    """Read a table that has at least the columns picture, point, x and y."""
    text = read_text(path)
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)  # spreadsheets of some countries write semicolons and decimal commas
    try:
        lines = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if any(row)]
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}") from None
    names = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing; the header is {shorten(header)}")
    if separator != ",":
        lines = [[_NUMBER.sub(r"\1.\2", cell) for cell in row] for row in lines]
    rows = enumerate(lines[1:], 2)
    return from_rows([Record(dict(zip(names, row, strict=False)), f"{path} line {line}") for line, row in rows])


def render(annotations: Sequence[Annotation], path: Path, images: Path | None = None) -> dict[Path, bytes]:
    """Return the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if cell is None else cell for cell in row] for row in to_rows(annotations))
    return {path: text.getvalue().encode("utf-8")}


def to_rows(annotations: Iterable[Annotation]) -> list[list[object]]:
    """Return the rows, None for an empty cell."""
    seen: dict[str, int] = {}
    rows: list[list[object]] = []
    for one in annotations:
        if one.error:
            continue
        number = seen[one.picture] = seen.get(one.picture, 0) + 1
        height, width = one.size or (None, None)
        head = [one.picture, number, one.category, width, height, *(one.box or [None] * 4)]
        tail = [one.exemplar, one.similarity, one.model, int(one.confirmed), one.digest]
        for name, point in one.points.items():
            x, y = (None, None) if point.v == ABSENT else (point.x, point.y)
            rows.append([*head, name, x, y, point.v, point.confidence, point.visibility, *tail])
    return rows


def from_rows(rows: Sequence[Record]) -> list[Annotation]:
    """Return the annotations whose points the rows are, in the order of their first rows."""
    objects: dict[tuple[str, str], list[Record]] = {}
    for row in rows:
        objects.setdefault((row.text("picture"), str(row.values.get("object", ""))), []).append(row)
    return [_annotation(members) for members in objects.values()]


def _annotation(rows: list[Record]) -> Annotation:
    first = rows[0]
    points = {row.text("point"): _point(row) for row in rows}
    width, height = (_number(first, name) for name in ("width", "height"))
    known = 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE
    corners = [_number(first, name) for name in ("left", "top", "right", "bottom")]
    similarity = _number(first, "similarity")
    annotation = Annotation(
        first.text("picture"),
        (int(height), int(width)) if known else None,
        points,
        None if any(map(math.isnan, corners)) else (corners[0], corners[1], corners[2], corners[3]),
        _text(first, "category") or "object",
        exemplar=_text(first, "exemplar"),
        similarity=1.0 if math.isnan(similarity) else similarity,
        model=_text(first, "model"),
    )
    confirmed = _text(first, "confirmed").lower() in ("1", "1.0", "true")
    return replace(annotation, confirmed=confirmed or _text(first, "digest") != annotation.digest)


def _point(row: Record) -> Point:
    x, y, v, confidence, visibility = (_number(row, name) for name in ("x", "y", "v", "confidence", "visibility"))
    score = 1.0 if math.isnan(confidence) else confidence
    seen = 1.0 if math.isnan(visibility) else visibility
    if math.isnan(x) or math.isnan(y) or v == ABSENT:
        return Point(0, 0, ABSENT, score, seen)
    return Point(x, y, SURE if math.isnan(v) else row.check_integer("v", int(v), ABSENT, SURE), score, seen)


def _text(row: Record, name: str) -> str:
    value = row.values.get(name)
    return "" if value is None else str(value)


def _number(row: Record, name: str) -> float:
    text = _text(row, name).strip()
    if not text or text.lower() in ("na", "nan"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{row.where}: {name} must be a number or empty, got {text[:40]!r}") from None
    return row.numbers(name, [value], 1)[0]
