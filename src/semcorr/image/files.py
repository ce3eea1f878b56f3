"""Picture files: one list of formats and one way to open them. Nothing here ever runs another program."""

from __future__ import annotations

import io
import os
import re
import stat
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from PIL import ExifTags, Image, UnidentifiedImageError

from semcorr.errors import ImageError
from semcorr.geometry import Size

MIN_SIDE = 8
"""Shortest side, in pixels, of a picture that is accepted: below it there is nothing to match."""

MAX_PIXELS = 178_956_970
"""Most pixels in a picture that is accepted: the number above which Pillow itself suspects an attack."""

RASTER_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""File formats that are read, by Pillow's names; MPO comes with JPEG.

JPEG2000 and AVIF are read where Pillow has them, HEIF (``.heic``) where ``pillow-heif`` is installed. All of them hold
pixels: EPS and WMF, for which Pillow starts other programs, are not read, whatever a file's name says.
"""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)  # one letter is a drive of Windows

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_OTHER_KINDS: tuple[tuple[bytes, str], ...] = (  # how files begin that are often taken for pictures
    (b"%!PS", "a PostScript drawing (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript drawing (EPS)"),
    (b"II*\0", "a TIFF of a kind that Pillow does not read, or a damaged one"),
    (b"MM\0*", "a TIFF of a kind that Pillow does not read, or a damaged one"),
    (b"II+\0", "a BigTIFF of a kind that Pillow does not read, or a damaged one"),
    (b"MM\0+", "a BigTIFF of a kind that Pillow does not read, or a damaged one"),
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document, perhaps an SVG drawing"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"PK\x03\x04", "a zip archive"),
    (b"version https://git-lfs", "a Git LFS pointer in place of the picture"),
)

# `warnings.catch_warnings` swaps a list that all threads share: two threads inside it can leave the user's
# warnings switched off for good. Reading pictures one at a time is the price of leaving them as they were.
_warnings_lock = threading.Lock()


def _new_lock() -> None:
    global _warnings_lock
    _warnings_lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # in a forked child nobody is left to release it
    os.register_at_fork(after_in_child=_new_lock)


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn whatever the body raises, except a missing file, into an `ImageError` of one line."""
    try:
        yield
    except (ImageError, FileNotFoundError):
        raise
    except Exception as error:
        # A decoder's message may quote the file, control characters and all.
        printable = "".join(c if c.isprintable() else " " for c in str(error) or type(error).__name__)
        reason = textwrap.shorten(printable, 160, placeholder=" ...")
        advice = "check where it comes from, or export it again as PNG or JPEG"
        raise ImageError(f"{name} cannot be read ({reason}); expected a whole picture; {advice}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Pillow's remarks on odd files from the user; `ResourceWarning` stays: it would be our fault."""
    with _warnings_lock, warnings.catch_warnings():
        for category in (UserWarning, RuntimeWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        yield


def check_sides(height: int, width: int, name: str) -> None:
    """Refuse pictures that are too small or too large."""
    given = f"{name} is {width} x {height} pixels"
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{given}; expected sides of {MIN_SIDE} or more; enlarge it")
    if height * width > MAX_PIXELS:
        raise ImageError(f"{given}; expected {MAX_PIXELS:,} in all at most; make it smaller first")


@contextmanager
def opened(file: str | bytes, name: str) -> Iterator[Image.Image]:
    """Open a picture file; no pixel of it is decoded yet.

    Args:
        file: Its path, or its content.
        name: What error messages call it.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: Anything else that is wrong.
    """
    with refusing(name), quiet():
        stream = io.BytesIO(file) if isinstance(file, bytes) else _open_stream(file, name)
        with stream, _identify(stream, name) as picture:
            yield picture


def orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of an opened file, 1 to 8: how what Pillow decodes of it has to be turned."""
    with suppress(Exception):  # Damaged EXIF is no reason to refuse the pixels.
        if picture.format != "TIFF":  # Pillow sets it upright, though before 10.1 the tag stays.
            found = picture.getexif().get(ExifTags.Base.Orientation)
            if isinstance(found, int) and 1 <= found <= 8:
                return found
    return 1


def upright_size(picture: Image.Image) -> Size:
    """Return height and width of an opened file as a viewer shows it, before any pixel is decoded."""
    width, height, turned = picture.width, picture.height, orientation(picture) >= 5
    if picture.format == "TIFF":  # whether Pillow's size is the upright one depends on its version
        tags: Any = getattr(picture, "tag_v2", {})
        width, height = int(tags.get(256, width)), int(tags.get(257, height))
        turned = tags.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def located(file: str) -> Path:
    """Return the path of a file, ``~`` expanded where no file has that very name."""
    path = Path(file)
    return path.expanduser() if file.startswith("~") and not path.exists() else path


def _open_stream(file: str, name: str) -> IO[bytes]:
    path = located(file)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder; expected a file; give the path of one picture in it")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
            raise ImageError(f"{name} is not an ordinary file; expected a picture; save it as one first")
        if status.st_size == 0:
            raise ImageError(f"{name} is empty (0 bytes); expected a picture; copy or download it again")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        if _ADDRESS.match(file):
            raise ImageError(f"{name} is an address; expected a path of this machine; download it first") from None
        raise FileNotFoundError(f"no file at {name}; expected a picture; check the path") from None
    except PermissionError:
        advice = "ask its owner, or copy it to a folder of yours"
        raise ImageError(f"{name} may not be read; expected permission to read it; {advice}") from None


def _identify(stream: IO[bytes], name: str) -> Image.Image:
    Image.init()
    formats = [known for known in RASTER_FORMATS if known in Image.OPEN]
    beginning = stream.read(32)
    stream.seek(0)
    try:
        if "HEIF" not in formats and beginning[4:8] == b"ftyp" and beginning[8:12] in _HEIF_BRANDS:
            return _open_heif(stream, name)
        return Image.open(stream, formats=formats)
    except (UnidentifiedImageError, SyntaxError):
        expected = f"expected one of {', '.join(formats)}, whatever its suffix"
        kind, advice = _other_kind(beginning), "export it again as PNG or JPEG"
        raise ImageError(f"{name} holds {kind}; {expected}; {advice}") from None
    except Image.DecompressionBombError as error:
        limit = f"expected {MAX_PIXELS:,} pixels at most"
        raise ImageError(f"{name} is too large ({error}); {limit}; make it smaller first") from None


def _open_heif(stream: IO[bytes], name: str) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        advice = "pip install pillow-heif, or export it as JPEG"
        raise ImageError(f"{name} holds a HEIC picture; expected pillow-heif to read it; {advice}") from None
    picture: Image.Image = HeifImageFile(stream)  # type: ignore[no-untyped-call,unused-ignore]
    return picture


def _other_kind(beginning: bytes) -> str:
    """Say what a file holds that is none of the formats, by its first bytes."""
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, kind in _OTHER_KINDS:
        if beginning.startswith(start) or text.startswith(start.lower()):
            return kind
    if beginning[4:8] == b"ftyp":
        return "an AVIF picture" if beginning[8:12] in _AVIF_BRANDS else "a film, or a picture of an unknown kind"
    return "no picture, or a damaged one"
