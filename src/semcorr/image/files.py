"""Image files: which formats are read, and how they are opened. Nothing here ever runs another program."""

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
"""Shortest accepted side of an image, in pixels; smaller images have nothing to match."""

MAX_PIXELS = 178_956_970
"""Largest accepted number of pixels: above it, Pillow itself suspects a decompression bomb."""

RASTER_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""File formats that are read, by Pillow's names; JPEG includes MPO.

JPEG2000 and AVIF need a Pillow that supports them, HEIF (``.heic``) needs ``pillow-heif``. All are raster formats: EPS
and WMF, for which Pillow starts other programs, are rejected, whatever the name of the file.
"""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)  # a single letter is a drive on Windows

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_OTHER_KINDS: tuple[tuple[bytes, str], ...] = (  # first bytes of files that are often mistaken for images
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

# `warnings.catch_warnings` replaces a list that all threads share: two threads inside it at once could leave the
# user's warnings switched off for good. Images are therefore opened one at a time.
_warnings_lock = threading.Lock()


def _new_lock() -> None:
    global _warnings_lock
    _warnings_lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # a forked child has no thread that could release it
    os.register_at_fork(after_in_child=_new_lock)


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn every exception of the body, except `FileNotFoundError`, into an `ImageError` with a one-line message."""
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
    """Suppress Pillow's warnings about unusual files, but not `ResourceWarning`, which would be our mistake."""
    with _warnings_lock, warnings.catch_warnings():
        for category in (UserWarning, RuntimeWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        yield


def check_sides(height: int, width: int, name: str) -> None:
    """Raise an `ImageError` if an image is too small or too large."""
    given = f"{name} is {width} x {height} pixels"
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{given}; expected sides of {MIN_SIDE} or more; enlarge it")
    if height * width > MAX_PIXELS:
        raise ImageError(f"{given}; expected {MAX_PIXELS:,} in all at most; make it smaller first")


@contextmanager
def opened(file: str | bytes, name: str) -> Iterator[Image.Image]:
    """Open an image file without decoding any pixel.

    Args:
        file: Its path, or its content.
        name: Its name in error messages.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: The file cannot be read for any other reason.
    """
    with refusing(name), quiet():
        stream = io.BytesIO(file) if isinstance(file, bytes) else _open_stream(file, name)
        with stream, _identify(stream, name) as picture:
            yield picture


def orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of an opened file, 1 to 8, that Pillow has not yet applied to its pixels."""
    with suppress(Exception):  # damaged EXIF data is no reason to reject the pixels
        if picture.format != "TIFF":  # Pillow rotates it, although before 10.1 the tag remains
            value = picture.getexif().get(ExifTags.Base.Orientation)
            if isinstance(value, int) and 1 <= value <= 8:
                return value
    return 1


def upright_size(picture: Image.Image) -> Size:
    """Return the height and width of an opened file as displayed, before any pixel is decoded."""
    width, height, turned = picture.width, picture.height, orientation(picture) >= 5
    if picture.format == "TIFF":  # whether Pillow's size is the upright one depends on its version
        tags: Any = getattr(picture, "tag_v2", {})
        width, height = int(tags.get(256, width)), int(tags.get(257, height))
        turned = tags.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def _open_stream(file: str, name: str) -> IO[bytes]:
    path = Path(file)
    if file.startswith("~") and not path.exists():
        path = path.expanduser()
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
        named = [known for known in formats if known != "HEIF"]  # the same text, whether or not others registered HEIF
        expected = f"expected one of {', '.join(named)}, whatever its suffix"
        kind, advice = _other_kind(beginning), "export it again as PNG or JPEG"
        raise ImageError(f"{name} holds {kind}; {expected}; {advice}") from None
    except Image.DecompressionBombError as error:
        most = min(MAX_PIXELS, 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS))
        limit = f"expected {most:,} pixels at most, by Pillow's Image.MAX_IMAGE_PIXELS"
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
    """Describe a file in none of the accepted formats, by its first bytes."""
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, kind in _OTHER_KINDS:
        if beginning.startswith(start) or text.startswith(start.lower()):
            return kind
    if beginning[4:8] == b"ftyp":
        return "an AVIF picture" if beginning[8:12] in _AVIF_BRANDS else "a film, or a picture of an unknown kind"
    return "no picture, or a damaged one"
