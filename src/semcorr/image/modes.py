"""Conversion of images of any Pillow mode to 8-bit RGB.

- Transparency (alpha channel, transparent palette entry or colour) is composited on white.
- 16-bit greyscale, and Pillow's 32-bit mode ``I``, are scaled to 8 bits, not clipped: 65535 is white. In a 12-bit TIFF,
  4095 is white.
- In floating-point greyscale, white is the first of 1, 255 and 65535 that no value exceeds.
- CIELAB is converted to sRGB; other colour profiles are not applied.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from semcorr.errors import ImageError

_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 259, 262, 284, 339  # tags of TIFF
_WHITE_IS_ZERO, _RGB, _CMYK, _YCBCR = 0, 2, 5, 6  # values of `_PHOTOMETRIC`


def decode(image: Image.Image, name: str) -> Image.Image:
    """Load an image and convert it to mode ``RGB``; apart from being loaded, the image itself is not changed.

    Raises:
        ImageError: If the range of its values is unknown, or Pillow is known to decode this kind of file incorrectly.
    """
    if image.format == "TIFF":
        _check_tiff(_tiff_tags(image), name)
    key = _transparent_grey(image)
    image.load()
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_grey_to_rgb(image, name)
    if key is not None:
        grey = np.asarray(image)
        return Image.fromarray(np.where(grey == key, 255, grey).astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image, name)
    palette_alpha = image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info or palette_alpha:
        # A copy, because Pillow writes a palette's alpha into the image that it converts, which may be the caller's.
        rgba = (image.copy() if image.mode == "P" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _check_tiff(tags: Any, name: str) -> None:
    """Reject kinds of TIFF that Pillow opens but decodes incorrectly (determined by decoding every kind)."""
    bits, planes = tags.get(_BITS, (1,)), tags.get(_PLANES, 1)
    packed, photometric = tags.get(_COMPRESSION, 1) != 1, tags.get(_PHOTOMETRIC)
    problem = None
    if 2 in tags.get(_SAMPLE_FORMAT, (1,)) and max(bits) <= 16:
        problem = "signed integers"
    elif photometric == _YCBCR and not packed:
        problem = "uncompressed YCbCr"
    elif planes == 2 and len(bits) > 1 and not (photometric == _YCBCR or photometric in (_RGB, _CMYK)):
        problem = "colours in planes of their own"
    elif planes == 2 and max(bits) > 8 and not packed:
        problem = "16-bit colours in planes of their own"
    elif getattr(tags, "prefix", b"") == b"MM" and packed and max(bits) == 32 and sys.byteorder == "little":
        problem = "compressed 32-bit values, high byte first"
    if problem:
        raise ImageError(f"{name} is a TIFF of {problem}; expected a kind that Pillow reads; export it again as PNG")


def _transparent_grey(image: Image.Image) -> int | None:
    """Return the transparent grey of a PNG of 2 or 4 bits, not yet loaded, scaled to 8 bits (Pillow does not)."""
    key, tile = image.info.get("transparency"), getattr(image, "tile", None)
    if image.format != "PNG" or not isinstance(key, int) or not tile or tile[0][3] not in ("L;2", "L;4"):
        return None
    return key * (85 if tile[0][3] == "L;2" else 17)


def _tiff_tags(image: Image.Image) -> Any:
    tags = getattr(image, "tag_v2", None)
    return {} if tags is None else tags


def _deep_grey_to_rgb(image: Image.Image, name: str) -> Image.Image:
    tags = _tiff_tags(image)
    values = np.asarray(image).astype(np.float32)  # (H, W); exact, 65535 fits in its 24 bits
    low, high = values.min(), values.max()
    whites = (1, 255, 65535) if image.mode == "F" else (4095,) if tags.get(_BITS) == (12,) else (65535,)
    white = next((white for white in whites if high <= white), None)  # none for NaN
    if white is None or low < 0:
        raise ImageError(f"{name} from {low:g} to {high:g}; expected 0 to {whites[-1]}; rescale it to 8 bits")
    grey = np.rint(values * (255 / white)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts only 8-bit images
        grey = 255 - grey
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")


def _lab_to_rgb(image: Image.Image, name: str) -> Image.Image:
    try:
        from PIL import ImageCms
    except ImportError:
        raise ImageError(f"{name} in CIELAB; expected a Pillow with LittleCMS; export it as RGB first") from None
    converted = ImageCms.applyTransform(image, _lab_to_srgb())
    assert converted is not None
    return converted


@cache
def _lab_to_srgb() -> Any:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(*profiles, "LAB", "RGB")
