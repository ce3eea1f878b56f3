"""Points that a user gives: ``x,y`` on the command line, or a CSV or JSON file; and the CSV file of the answers."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semcorr.errors import DataError
from semcorr.files import local_path, write_text

MAX_BYTES = 64 * 1024 * 1024
"""Size of the largest points file that is read, in bytes."""

NAMES = ("name", "label", "keypoint", "bodypart", "bodyparts")
"""Columns of a CSV file, and fields of JSON objects, that hold the name of a point."""

_DEEPLABCUT = ("scorer", "individuals", "bodyparts", "coords")  # the header rows of a DeepLabCut file
_MISSING = ("", "nan", "na", "n/a", "null", "none")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class NamedPoint(NamedTuple):
    """A point of the source in pixels, or None in place of a missing one; and its name, if it has one."""

    xy: tuple[float, float] | None
    name: str | None = None


def parse_point(text: str) -> NamedPoint:
    """Read ``x,y``.

    >>> parse_point("120,85.5").xy
    (120.0, 85.5)

    Raises:
        DataError: If it is anything else.
    """
    return NamedPoint(_xy(text.split(","), f"point {text!r}"))


def read_points(path: Path, picture: str = "") -> list[NamedPoint]:
    """Read points from a file, in the order of the file.

    JSON is a list of ``[x, y]`` or of objects with ``x``, ``y`` and perhaps ``name``, or an object ``{name: [x, y]}``;
    null stands for a missing point. Any other file is read as CSV, separated by commas, semicolons or tabs: columns
    ``x``, ``y`` and perhaps ``name``, or two columns without a header, or DeepLabCut's layout. A row without values
    is a missing point; blank lines are ignored.

    Args:
        path: The file.
        picture: The source's file name, which chooses the row of a DeepLabCut file with several.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If it holds anything else; the message names the line or entry.
    """
    path = local_path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: give a CSV or JSON file of points")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} is larger than {MAX_BYTES >> 20} MB: give a CSV or JSON file of points")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: give a CSV or JSON file of points") from None
    return _from_json(text, path) if path.suffix.lower() == ".json" else _from_csv(text, path, picture)


def write_points(path: Path, answers: Sequence[dict[str, Any]]) -> None:
    """Write the answers of ``semcorr match`` as CSV, one row for each given point.

    A missing point, and one that the target does not have, has empty cells.

    Args:
        path: The file; it is replaced atomically.
        answers: Objects with ``name``, ``source``, ``target``, ``confidence`` and perhaps ``visibility``, as ``--json``
            prints them.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    estimated = ["visibility"] if any("visibility" in answer for answer in answers) else []
    writer.writerow(["name", "source_x", "source_y", "target_x", "target_y", "confidence", *estimated])
    for answer in answers:
        source, target = answer["source"] or ["", ""], answer["target"] or ["", ""]
        confidence = "" if answer["confidence"] is None else answer["confidence"]
        seen = [answer.get(key, "") for key in estimated]
        writer.writerow([answer.get("name", ""), *source, *target, confidence, *seen])
    write_text(path, stream.getvalue())


def _from_json(text: str, path: Path) -> list[NamedPoint]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}; write [[x, y], …]") from None
    if isinstance(entries, dict) and all(value is None or isinstance(value, list) for value in entries.values()):
        return [NamedPoint(_json_xy(value, f"{path}, {name!r}"), name) for name, value in entries.items()]
    if not isinstance(entries, list):
        raise DataError(f"{path} must hold a list of points [[x, y], …] or an object {{name: [x, y], …}}")
    return [_json_point(entry, f"{path}, entry {index}") for index, entry in enumerate(entries)]


def _json_point(entry: Any, place: str) -> NamedPoint:
    if not isinstance(entry, dict):
        return NamedPoint(_json_xy(entry, place))
    name = next((str(entry[key]) for key in NAMES if entry.get(key) is not None), None)
    return NamedPoint(_json_xy([entry.get("x"), entry.get("y")], place), name)


def _json_xy(value: Any, place: str) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list):  # a string would be taken apart
        raise DataError(f"{place}: a point is two numbers [x, y] in pixels")
    return _xy_or_missing(value, place)


def _from_csv(text: str, path: Path, picture: str) -> list[NamedPoint]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((mark for mark in "\t;" if mark in first), ",")
    try:
        reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row and row != [""]]
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: {error}") from None
    if not rows:
        return []
    if separator == ";":  # then a comma is a decimal comma
        rows = [
            (line, [cell.replace(",", ".") if _is_number(cell.replace(",", ".")) else cell for cell in row])
            for line, row in rows
        ]
    header = [cell.lower() for cell in rows[0][1]]
    if header[0] == _DEEPLABCUT[0]:
        return _from_deeplabcut(rows, path, picture)
    if "x" in header and "y" in header:
        columns, rows = (header.index("x"), header.index("y")), rows[1:]
    elif len(header) == 2:
        columns = (0, 1)
    else:
        raise DataError(f"{path}, line {rows[0][0]}: give two columns, or a header that names the columns x and y")
    label = next((header.index(name) for name in NAMES if name in header), None)
    points = []
    for line, row in rows:
        cells = [*row, *[""] * (max(columns) + 1 - len(row))]
        name = row[label] if label is not None and label < len(row) else ""
        points.append(NamedPoint(_xy_or_missing([cells[c] for c in columns], f"{path}, line {line}"), name or None))
    return points


def _from_deeplabcut(rows: list[tuple[int, list[str]]], path: Path, picture: str) -> list[NamedPoint]:
    """Read one picture's row: header rows name the body parts, then each row has a picture and its coordinates."""
    headers = {row[0].lower(): row for _, row in rows[:4] if row[0].lower() in _DEEPLABCUT}
    if not {"bodyparts", "coords"} <= headers.keys():
        raise DataError(f"{path}: a DeepLabCut file begins with the rows scorer, bodyparts and coords")
    coordinates = [cell.lower() for cell in headers["coords"]]
    pairs = [i for i, axis in enumerate(coordinates) if axis == "x" and coordinates[i + 1 : i + 2] == ["y"]]
    entries = rows[len(headers) :]
    if not pairs or not entries:
        raise DataError(f"{path}: a DeepLabCut file has columns x and y for each body part, and a row for each picture")
    if len(entries) > 1:
        entries = [(line, row) for line, row in entries if picture and Path("/".join(row[: pairs[0]])).name == picture]
        if len(entries) != 1:
            raise DataError(
                f"{path} has several rows, and {len(entries) or 'none'} of them is for {picture or 'the source'}"
            )
    line, row = entries[0]
    owners = [headers[key] for key in ("individuals", "bodyparts") if key in headers]
    points = []
    for index in pairs:
        name = " ".join(owner[index] for owner in owners if index < len(owner) and owner[index] != "single")
        points.append(NamedPoint(_xy_or_missing([*row[index : index + 2], "", ""][:2], f"{path}, line {line}"), name))
    return points


def _xy_or_missing(values: Sequence[Any], place: str) -> tuple[float, float] | None:
    if len(values) == 2 and all(_is_missing(value) for value in values):
        return None
    return _xy(values, place)


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip().lower() in _MISSING)


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None


def _xy(values: Sequence[Any], place: str) -> tuple[float, float]:
    finite = ("nan", "inf", "-inf", "infinity", "-infinity")
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    texts = [
        value for value in values if isinstance(value, str) and (_is_number(value) or value.strip().lower() in finite)
    ]
    if len(values) != 2 or len(numbers) + len(texts) != 2:
        raise DataError(f"{place}: a point is two numbers x,y in pixels")
    try:
        x, y = (float(value) for value in values)
    except OverflowError:
        x = y = math.inf
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataError(f"{place}: x and y must be finite numbers")
    return x, y
