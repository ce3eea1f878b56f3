"""Points that a user hands in: ``x,y`` on the command line, a CSV file or a JSON file."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from semcorr.errors import DataError

MAX_BYTES = 64 * 1024 * 1024
"""A larger points file is refused: it is hardly one."""

Point = tuple[float, float]


def parse_point(text: str) -> Point:
    """Read ``x,y``.

    >>> parse_point("120,85.5")
    (120.0, 85.5)

    Raises:
        DataError: If it is anything else.
    """
    return _point(text.split(","), f"point {text!r}")


def read_points(path: Path) -> list[Point]:
    """Read points (x, y) in pixels from a file.

    JSON is a list of ``[x, y]`` or of objects with ``x`` and ``y``; anything else is read as CSV, with or without a
    header that names the columns ``x`` and ``y``.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If it holds anything else; the message names the place.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder: give a CSV or JSON file of points")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} is larger than {MAX_BYTES >> 20} MB: give a CSV or JSON file of points")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text: give a CSV or JSON file of points") from None
    return _from_json(text, path) if path.suffix.lower() == ".json" else _from_csv(text, path)


def _from_json(text: str, path: Path) -> list[Point]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}; write [[x, y], …]") from None
    if not isinstance(entries, list):
        raise DataError(f"{path} must hold a list of points [[x, y], …], not {type(entries).__name__}")
    return [
        _point([entry.get("x"), entry.get("y")] if isinstance(entry, dict) else entry, f"{path}, entry {index}")
        for index, entry in enumerate(entries)
    ]


def _from_csv(text: str, path: Path) -> list[Point]:
    try:
        rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if any(row)]
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: {error}") from None
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0][1]]
    columns = (0, 1)
    if "x" in header and "y" in header:
        columns, rows = (header.index("x"), header.index("y")), rows[1:]
    elif len(header) != 2:
        raise DataError(f"{path}, line 1: give two columns, or a header that names the columns x and y")
    return [_point([row[c] if c < len(row) else None for c in columns], f"{path}, line {line}") for line, row in rows]


def _point(values: Any, place: str) -> Point:
    try:
        x, y = (float(value) for value in values)
    except (TypeError, ValueError):
        raise DataError(f"{place}: a point is two numbers x,y in pixels") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataError(f"{place}: x and y must be finite numbers")
    return x, y
