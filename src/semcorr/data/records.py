"""Read annotation files that may be broken or hostile; errors name the file, the field and the reason."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from semcorr.data.pairs import Box
from semcorr.data.pictures import BrokenPictureError, Sizes
from semcorr.errors import DataError
from semcorr.geometry import Size

MAX_SIDE = 100_000
"""Largest width or height of a picture, in pixels: a larger number is a broken annotation."""

MAX_BYTES = 4 * 1024**3
"""Size of the largest annotation file that is read, in bytes."""


def shorten(value: object, limit: int = 60) -> str:
    """Return a value for an error message: on one line, and not too long."""
    text = repr(value[:limit] if isinstance(value, (str, list)) else value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@dataclass(frozen=True)
class Record:
    """One entry of an annotation file: named values of any type.

    Every method checks the type and range of a field and returns its value, or raises `DataError`.

    Attributes:
        values: Field to value.
        where: The file and the place in it, for errors.
    """

    values: dict[str, object]
    where: str

    def fail(self, field: str, problem: str) -> NoReturn:
        """Raise an error that names the file, the entry and the field."""
        raise DataError(f"{self.where}: field '{field}' {problem}")

    def value(self, field: str) -> object:
        """Return a field of any type."""
        if field not in self.values:
            self.fail(field, "is missing")
        return self.values[field]

    def text(self, field: str) -> str:
        """Return a non-empty string."""
        value = self.value(field)
        if not isinstance(value, str) or not value.strip():
            self.fail(field, f"must be a non-empty string, got {shorten(value)}")
        return value

    def integer(self, field: str, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, inclusive."""
        return self.check_integer(field, self.value(field), low, high)

    def check_integer(self, field: str, value: object, low: int, high: int) -> int:
        """Check an integer from ``low`` to ``high``; ``field`` names it in errors."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(field, f"must be an integer from {low} to {high}, got {shorten(value)}")
        return value

    def sequence(self, field: str, length: int | None = None) -> list[object]:
        """Return a list, of the given length if one is given."""
        value = self.value(field)
        if not isinstance(value, list):
            self.fail(field, f"must be a list, got {shorten(value)}")
        if length is not None and len(value) != length:
            self.fail(field, f"must have {length} entries, got {len(value)}")
        return value

    def numbers(self, field: str, values: object, length: int | None = None) -> list[float]:
        """Check finite numbers; ``field`` names them in errors."""
        if not isinstance(values, (list, tuple)) or (length is not None and len(values) != length):
            self.fail(field, f"must be a list of {length or 'some'} numbers, got {shorten(values)}")
        return [self._number(field, value) for value in values]

    def _number(self, field: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(field, f"must be a number, got {shorten(value)}")
        # An integer of a thousand digits does not fit in a float: compare before converting.
        if not abs(value) <= 1e12 or not math.isfinite(value):
            self.fail(field, f"must be a finite number of a reasonable size, got {shorten(value)}")
        return float(value)

    def point(self, field: str, value: object, size: Size) -> tuple[float, float]:
        """Check a point of a picture. Annotators click slightly outside, too: up to one picture size is accepted."""
        x, y = self.numbers(field, value, 2)
        height, width = size
        if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
            self.fail(field, f"is far outside its picture of {width}×{height}: ({x:g}, {y:g})")
        return x, y

    def size(self) -> Size | None:
        """Return height and width from the fields of these names, or None if both are missing."""
        if self.values.get("height") is None and self.values.get("width") is None:
            return None
        return self.integer("height", 1, MAX_SIDE), self.integer("width", 1, MAX_SIDE)

    def box(self, field: str, size: Size, as_width_and_height: bool = False) -> Box | None:
        """Return a box, or None if it is missing, empty or has no area.

        Args:
            field: The field, which holds left, top, right and bottom.
            size: Height and width of the picture.
            as_width_and_height: The field holds left, top, width and height.
        """
        value = self.values.get(field)
        if value is None or value == [] or (isinstance(value, list) and len(value) == 4 and value.count(None) == 4):
            return None
        left, top, right, bottom = self.numbers(field, value, 4)
        if as_width_and_height:
            right, bottom = left + right, top + bottom
        self.point(field, [left, top], size)
        self.point(field, [right, bottom], size)
        if right < left or bottom < top:
            corners = f"({left:g}, {top:g}, {right:g}, {bottom:g})"
            self.fail(field, f"must be left, top, right and bottom, got {corners}")
        return (left, top, right, bottom) if left < right and top < bottom else None

    def picture(self, field: str, folder: Path, size: Size | None, sizes: Sizes) -> Path:
        """Return the path of the picture that ``field`` names; it must exist and have the annotated size, if any."""
        path = folder / self.inside(field)
        height, width = sizes(path, self.where)
        if size is not None and size != (height, width):
            reason = f"is {width}×{height}, but is annotated as {size[1]}×{size[0]}"
            raise BrokenPictureError(self.where, path, reason)
        return path

    def inside(self, field: str) -> PurePosixPath:
        """Return the relative path that ``field`` holds; it must not lead out of its folder."""
        name = PurePosixPath(self.text(field).replace("\\", "/"))  # Windows writes backslashes
        hostile = name.is_absolute() or ".." in name.parts or "\0" in str(name) or ":" in str(name)[1:2]
        if hostile or not name.parts or len(str(name)) > 1000:
            self.fail(field, f"must name a file inside the data set, got {shorten(str(name))}")
        return name


def read_text(path: Path) -> str:
    """Return the text of an annotation file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than {MAX_BYTES >> 30} GB, too large for an annotation file")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: is this the data set's folder?") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path) -> object:
    """Return the content of a JSON file."""
    text = read_text(path)
    try:
        content: object = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {shorten(str(error), 120)}") from error
    return content


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; a key that stands twice would silently lose a value."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{shorten(next(key for key in keys if keys.count(key) > 1))} stands twice in one object")
    return entries


def read_record(path: Path) -> Record:
    """Return the JSON object that a file holds."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return Record(content, str(path))


def read_list(path: Path) -> list[object]:
    """Return the JSON list that a file holds."""
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path} must hold a JSON list, got {type(content).__name__}")
    return content


def as_record(value: object, where: str) -> Record:
    """Return an entry of a JSON list as a record."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be a JSON object, got {shorten(value)}")
    return Record(value, where)


def read_table(path: Path, columns: tuple[str, ...]) -> list[Record]:
    """Return the rows of a CSV file that has at least these columns; values are strings.

    A row shorter than the header lacks its last fields: reading one of them is an error.
    """
    try:
        rows = [row for row in csv.reader(read_text(path).splitlines()) if row]
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}") from error
    header = [name.strip() for name in rows[0]] if rows else []
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise DataError(f"{path}: column '{twice[0]}' stands twice")
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path}: column '{missing[0]}' is missing; the header is {shorten(','.join(header))}")
    return [
        Record(dict(zip(header, row, strict=False)), f"{path} line {line}")
        for line, row in enumerate(rows[1:], start=2)
    ]


def parse_numbers(record: Record, field: str, text: str, separator: str = ";") -> list[float]:
    """Return the numbers that a CSV cell holds."""
    try:
        values = [float(part) for part in text.split(separator)]
    except ValueError:
        record.fail(field, f"must hold numbers, got {shorten(text)}")
    return record.numbers(field, values)


def first_existing(*paths: Path) -> Path:
    """Return the first of the paths that exists, or else the first, so that an error names the standard place."""
    return next((path for path in paths if path.exists()), paths[0])
