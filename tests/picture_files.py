"""Make picture files, and check how `load_image` refuses them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semcorr.errors import ImageError
from semcorr.image import load_image

WHITE = [255, 255, 255]

# EXIF orientation to how an upright array is stored; the standard says where row 0 and column 0 are in view.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[:, ::-1].swapaxes(0, 1),  # row 0 is the right side, column 0 the top
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[::-1].swapaxes(0, 1),  # row 0 is the left side, column 0 the bottom
}

# Colour (200, 40, 0) at alpha 128 on white: 200 * 128 / 255 + 255 * 127 / 255 = 227.4, then 147.1 and 127.0.
SEE_THROUGH = {255: [200, 40, 0], 128: [227, 147, 127], 0: WHITE}


def refused(image: object, *words: str) -> str:
    """Check that a picture is refused with an `ImageError` of one printable line which holds the words."""
    with pytest.raises(ImageError) as caught:
        load_image(image)
    message = str(caught.value)
    assert message.isprintable()
    assert not [word for word in words if word not in message], message
    assert message.count(";") >= 2, f"what was given; what was expected; what to do: {message}"
    return message


def attempt(path: Path) -> np.ndarray | ImageError:
    try:
        return load_image(path)
    except ImageError as error:
        return error


def three(grey: np.ndarray) -> np.ndarray:
    return np.dstack([grey] * 3)


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *, extra: bytes = b"") -> bytes:
    """A PNG file made by hand, for what Pillow does not write."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rgba_stripes() -> Image.Image:
    pixels = np.zeros((9, 12, 4), np.uint8)
    pixels[:, :] = [200, 40, 0, 255]
    pixels[3:6, :, 3], pixels[6:, :, 3] = 128, 0
    return Image.fromarray(pixels)


def assert_stripes(pixels: np.ndarray, expected: dict[int, list[int]]) -> None:
    for rows, alpha in ((slice(0, 3), 255), (slice(3, 6), 128), (slice(6, 9), 0)):
        assert (pixels[rows] == expected[alpha]).all(), (alpha, pixels[rows.start, 0])


def palette_stripes() -> Image.Image:
    picture = Image.fromarray(np.repeat(np.arange(9, dtype=np.uint8) // 3, 12).reshape(9, 12)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([200, 40, 0] * 3)
    return picture
