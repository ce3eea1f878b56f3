"""Reading annotation files that may be broken or hostile: errors name the file, the field and the reason."""

from __future__ import annotations

import csv
import json
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn, TypeVar

from PIL import ExifTags, Image

from semcorr.data.pairs import Box
from semcorr.errors import DataError

MAX_SIDE = 100_000
"""No picture of a data set is wider or higher than this: a larger number is a broken annotation."""

MAX_BYTES = 4 * 1024**3
"""No annotation file is larger than this."""

T = TypeVar("T")


class MissingPictureError(DataError):
    """A data set names a picture that is not there."""

    def __init__(self, where: str, path: Path) -> None:
        super().__init__(f"{where}: picture {path} is missing")
        self.path = path


class BrokenPictureError(DataError):
    """A data set names a picture that cannot be read, or that is not the annotated one."""

    def __init__(self, where: str, path: Path, reason: str) -> None:
        super().__init__(f"{where}: picture {path} {reason}")
        self.path = path


def shorten(value: object, limit: int = 60) -> str:
    """Return a value as it may stand in an error message: on one line, not too long."""
    text = repr(value[:limit] if isinstance(value, (str, list)) else value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@dataclass(frozen=True)
class Record:
    """One entry of an annotation file: named values of any type, and where they stand in which file.

    Every method returns the value of a field once it is sure of its type and range, or raises `DataError`.
    """

    values: dict[str, object]
    where: str

    def fail(self, field: str, problem: str) -> NoReturn:
        """Raise the error that names the file, the entry and the field."""
        raise DataError(f"{self.where}: field '{field}' {problem}")

    def value(self, field: str) -> object:
        """Return a field of any type."""
        if field not in self.values:
            self.fail(field, "is missing")
        return self.values[field]

    def text(self, field: str) -> str:
        """Return a string that is not empty."""
        value = self.value(field)
        if not isinstance(value, str) or not value.strip():
            self.fail(field, f"must be a text that is not empty, got {shorten(value)}")
        return value

    def integer(self, field: str, low: int, high: int) -> int:
        """Return a whole number between ``low`` and ``high``, both included."""
        return self.whole(field, self.value(field), low, high)

    def whole(self, field: str, value: object, low: int, high: int) -> int:
        """Return a whole number between ``low`` and ``high``; ``field`` only names it in the error."""
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(field, f"must be a whole number from {low} to {high}, got {shorten(value)}")
        return value

    def sequence(self, field: str, length: int | None = None) -> list[object]:
        """Return a list, of the given length where one is given."""
        value = self.value(field)
        if not isinstance(value, list):
            self.fail(field, f"must be a list, got {shorten(value)}")
        if length is not None and len(value) != length:
            self.fail(field, f"must have {length} entries, got {len(value)}")
        return value

    def numbers(self, field: str, values: object, length: int | None = None) -> list[float]:
        """Return finite numbers; ``field`` only names them in the error."""
        if not isinstance(values, (list, tuple)) or (length is not None and len(values) != length):
            self.fail(field, f"must be a list of {length or 'some'} numbers, got {shorten(values)}")
        return [self._number(field, value) for value in values]

    def _number(self, field: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(field, f"must be a number, got {shorten(value)}")
        # An integer of a thousand digits is no float: compare before converting.
        if not abs(value) <= 1e12 or not math.isfinite(value):
            self.fail(field, f"must be a finite number of a reasonable size, got {shorten(value)}")
        return float(value)

    def point(self, field: str, value: object, size: tuple[int, int]) -> tuple[float, float]:
        """Return a point of a picture: a little outside is an annotator's slip, a picture's width is not."""
        x, y = self.numbers(field, value, 2)
        height, width = size
        if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
            self.fail(field, f"lies far outside its picture of {width}×{height}: ({x:g}, {y:g})")
        return x, y

    def box(self, field: str, value: object, size: tuple[int, int]) -> Box:
        """Return a box ``(left, top, right, bottom)`` that has an area."""
        left, top, right, bottom = self.numbers(field, value, 4)
        self.point(field, [left, top], size)
        self.point(field, [right, bottom], size)
        if not (left < right and top < bottom):
            corners = f"({left:g}, {top:g}, {right:g}, {bottom:g})"
            self.fail(field, f"must be (left, top, right, bottom) with an area, got {corners}")
        return left, top, right, bottom

    def picture(self, field: str, folder: Path, size: tuple[int, int] | None, sizes: Sizes) -> Path:
        """Return the path of the picture that ``field`` names, once it exists and has the annotated size."""
        path = folder / self.inside(field)
        height, width = sizes(path, self.where)
        if size is not None and size != (height, width):
            reason = f"is {width}×{height}, but is annotated as {size[1]}×{size[0]}"
            raise BrokenPictureError(self.where, path, reason)
        return path

    def inside(self, field: str) -> PurePosixPath:
        """Return the relative path that ``field`` holds, once it is sure that it stays in its folder."""
        name = PurePosixPath(self.text(field))
        if name.is_absolute() or ".." in name.parts or "\0" in str(name) or not name.parts:
            self.fail(field, f"must name a file inside the data set, got {shorten(str(name))}")
        return name


class Sizes:
    """Heights and widths of picture files, read once each from the file's header."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int]] = {}

    def __call__(self, path: Path, where: str) -> tuple[int, int]:
        """Return the height and width of a picture; ``where`` says in an error who asked."""
        if path not in self._known:
            self._known[path] = picture_size(path, where)
        return self._known[path]


def picture_size(path: Path, where: str) -> tuple[int, int]:
    """Return height and width of a picture, from its header alone; as shown, where EXIF turns it upright."""

    def read() -> tuple[int, int]:
        with Image.open(path) as image:
            turned = False
            with suppress(Exception):  # damaged EXIF is no reason to refuse a picture
                turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)

    height, width = _with_pillow(read, path, where)
    if max(height, width) > MAX_SIDE:
        raise BrokenPictureError(where, path, f"claims an absurd size of {width}×{height}")
    return height, width


def check_picture(path: Path, where: str) -> None:
    """Decode a picture completely, and raise `BrokenPictureError` where that is impossible."""

    def read() -> None:
        with Image.open(path) as image:
            image.load()

    _with_pillow(read, path, where)


def _with_pillow(read: Callable[[], T], path: Path, where: str) -> T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except FileNotFoundError:
        raise MissingPictureError(where, path) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenPictureError(where, path, f"cannot be read: {shorten(str(error))}") from error


def read_text(path: Path) -> str:
    """Return the text of an annotation file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than any annotation file ({MAX_BYTES} bytes)")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: is this the data set's folder?") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8: {error.reason}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path) -> object:
    """Return the content of a JSON file."""
    text = read_text(path)
    try:
        content: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {shorten(str(error), 120)}") from error
    return content


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
    """Return the rows of a CSV file that has at least these columns, each value a string.

    A row shorter than the header keeps only what it has: the missing field is named when it is read.
    """
    try:
        rows = [row for row in csv.reader(read_text(path).splitlines()) if row]
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}") from error
    header = [name.strip() for name in rows[0]] if rows else []
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
    """Return the first of the paths that exists; or the first, so that an error names the standard place."""
    return next((path for path in paths if path.exists()), paths[0])
