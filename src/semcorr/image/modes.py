"""Pictures of any of Pillow's modes as RGB in 8 bits.

- Transparency (alpha channel, transparent palette entry or colour) is composited on white.
- Grey in 16 bits, and in Pillow's 32-bit mode ``I``, is white at 65535 and is scaled to 8 bits, not clipped; a TIFF of
  12 bits is white at 4095.
- Grey in floating point is white at the first of 1, 255 and 65535 that no value exceeds.
- CIELAB is converted to sRGB; other colour profiles are not applied.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from semcorr.errors import ImageError

_BITS, _PHOTOMETRIC, _COMPRESSION = 258, 262, 259  # tags of TIFF
_WHITE_IS_ZERO, _YCBCR, _UNCOMPRESSED = 0, 6, 1


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a loaded picture to mode ``RGB``; the picture itself is not changed.

    Raises:
        ImageError: If it has values that no viewer would know how to show.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_grey_to_rgb(image, name)
    if image.mode == "LAB":
        return _lab_to_rgb(image, name)
    palette_alpha = image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info or palette_alpha:
        # The copy: Pillow writes a palette's alpha into the picture it converts, which may be the caller's.
        rgba = (image.copy() if image.mode == "P" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _tiff_tags(image: Image.Image) -> dict[int, Any]:
    return getattr(image, "tag_v2", None) or {}


def _deep_grey_to_rgb(image: Image.Image, name: str) -> Image.Image:
    tags = _tiff_tags(image)
    values = np.asarray(image).astype(np.float32)  # (H, W); exact, 65535 fits in its 24 bits
    low, high = values.min(), values.max()
    whites = (1, 255, 65535) if image.mode == "F" else (4095,) if tags.get(_BITS) == (12,) else (65535,)
    white = next((white for white in whites if high <= white), None)  # none for NaN
    if white is None or low < 0:
        raise ImageError(f"{name} from {low:g} to {high:g}; expected 0 to {whites[-1]}; rescale it to 8 bits")
    grey = np.rint(values * (255 / white)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts those of 8 bits, and no others
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
