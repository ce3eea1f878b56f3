"""Photographs that were given to the page, and examples to begin with."""

from __future__ import annotations

import hashlib
import io
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from semcorr.app.guard import Refused
from semcorr.errors import ImageError
from semcorr.geometry import Size
from semcorr.image import load_image
from semcorr.image.files import opened

LIMIT = 50 << 20
"""Bytes of a file that may be uploaded."""

PIXELS = 50_000_000
"""Pixels of a picture that may be uploaded."""

KEPT = 64
"""Pictures kept for the tab Match; the one that was used least recently is dropped first."""

SHOWN = 1600
"""Longer side, in pixels, of a picture as the page shows it."""

EXAMPLES = (
    ("cat.png", "skimage", "data/chelsea.png"),
    ("cheetah.jpg", "gradio", "media_assets/images/cheetah1.jpg"),
    ("lion.jpg", "gradio", "media_assets/images/lion.jpg"),
    ("cheetah-2.jpg", "gradio", "test_data/cheetah2.jpg"),
)
"""Photographs in packages that may be installed: the name shown, the package, the file in it."""


@dataclass(frozen=True)
class Picture:
    """A photograph in the store.

    Attributes:
        id: What requests call it.
        name: What its owner called it.
        path: Where it lies.
        size: Height and width in pixels, upright.
    """

    id: str
    name: str
    path: Path
    size: Size

    def to_json(self) -> dict[str, object]:
        """Return what the page needs to know of it."""
        return {"id": self.id, "name": self.name, "width": self.size[1], "height": self.size[0]}


class Store:
    """Pictures by their content, in a folder of their own.

    Args:
        folder: Where they are kept; nothing else may be in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._secret = secrets.token_bytes(16)  # a picture's name cannot be told from its content
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, name: str, content: bytes) -> Picture:
        """Keep a picture.

        Raises:
            Refused: If it is no picture that can be read (415), or too large (413).
        """
        key = hashlib.sha256(self._secret + ascii(name).encode() + b"\0" + content).hexdigest()[:32]
        with self._lock:
            if key in self._pictures:
                return self._pictures[key]
        size = check_picture(content, clean_name(name))
        path = self._folder / key
        path.write_bytes(content)
        picture = Picture(key, clean_name(name), path, size)
        with self._lock:
            self._pictures[key] = picture
            while len(self._pictures) > KEPT:
                self._pictures.popitem(last=False)[1].path.unlink(missing_ok=True)
        return picture

    def get(self, key: str) -> Picture:
        """Return a picture.

        Raises:
            Refused: If there is none (404).
        """
        with self._lock:
            if key not in self._pictures:
                raise Refused(404, "this picture is not here any more: add it again")
            self._pictures.move_to_end(key)
            return self._pictures[key]

    def examples(self) -> list[Picture]:
        """Return photographs to begin with, or drawings where no package with photographs is installed."""
        return [self.add(name, content) for name, content in _examples()]


def clean_name(name: str) -> str:
    """Return the last part of a file's name, printable and not too long.

    >>> clean_name("../../etc/cat.jpg"), clean_name("..")
    ('cat.jpg', 'picture')
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    text = "".join(c for c in last if c.isprintable() and not "\ud800" <= c <= "\udfff").strip()
    return text[-100:] if text.strip(".") else "picture"


def check_picture(content: bytes, name: str) -> Size:
    """Return height and width of a picture that can be read.

    Raises:
        Refused: If it cannot be (415), or is too large (413).
    """
    if not content:
        raise Refused(415, f"{name} is empty: choose another file")
    try:
        with opened(content, name) as picture:
            pixels = picture.width * picture.height
        if pixels > PIXELS:
            raise Refused(413, f"{name} has {pixels:,} pixels, more than {PIXELS:,}: make it smaller first")
        height, width = load_image(content).shape[:2]
    except ImageError as error:
        raise Refused(415, str(error).replace(f"a file of {len(content)} bytes", name)) from None
    return height, width


def as_jpeg(image: NDArray[np.uint8], side: int = SHOWN) -> bytes:
    """Return a picture ``(H, W, 3)`` as JPEG, its longer side no longer than ``side`` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _examples() -> Iterator[tuple[str, bytes]]:
    found = False
    for name, package, file in EXAMPLES:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or []:
            if (path := Path(folder, file)).is_file():
                yield name, path.read_bytes()
                found = True
    if not found:
        yield "drawing-1.png", _drawing(0)
        yield "drawing-2.png", _drawing(40)


def _drawing(shift: int) -> bytes:
    """Draw a cat's face."""
    picture = Image.new("RGB", (480, 360), (214, 228, 235) if shift else (238, 226, 208))
    draw = ImageDraw.Draw(picture)
    x, y, fur = 240 + shift, 200 - shift // 3, (222, 158, 84) if shift else (150, 150, 158)
    for side in (-1, 1):
        draw.polygon([(x + side * 105, y - 20), (x + side * 95, y - 150), (x + side * 25, y - 90)], fur)
    draw.ellipse((x - 110, y - 100, x + 110, y + 110), fur)
    for side in (-1, 1):
        draw.ellipse((x + side * 48 - 20, y - 40, x + side * 48 + 20, y), (250, 250, 240))
        draw.ellipse((x + side * 48 - 8, y - 34, x + side * 48 + 8, y - 6), (30, 40, 40))
        for line in (-1, 0, 1):
            draw.line((x + side * 30, y + 42, x + side * 130, y + 40 + 16 * line), (70, 60, 60), 2)
    draw.polygon([(x - 15, y + 20), (x + 15, y + 20), (x, y + 38)], (196, 90, 90))
    draw.arc((x - 30, y + 26, x, y + 62), 0, 180, (70, 60, 60), 3)
    draw.arc((x, y + 26, x + 30, y + 62), 0, 180, (70, 60, 60), 3)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
