"""Loading images of any kind as RGB uint8 arrays, safely; every error is one line.

`semcorr.image.modes` describes how images that are not plain RGB are converted. In addition:

- A file, given as a path or as bytes, is rotated according to its EXIF orientation, as viewers do. Pixels that are
  already in memory (a PIL image, an array, a tensor) are used as they are, since they may have been rotated already.
- Of an animation, the first frame is read; of a PIL image, the current frame.
- Pillow's global settings are respected: ``Image.MAX_IMAGE_PIXELS``, ``ImageFile.LOAD_TRUNCATED_IMAGES``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semcorr.errors import ImageError
from semcorr.files import local_path
from semcorr.geometry import Size
from semcorr.image.files import (
    MAX_PIXELS,
    MIN_SIDE,
    RASTER_FORMATS,
    check_sides,
    opened,
    orientation,
    quiet,
    refusing,
    upright_size,
)
from semcorr.image.modes import decode
from semcorr.settings import default_errors

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | Tensor"
"""What `load_image` reads: a path, a file's bytes, a PIL image, an ``(H, W, 3)`` array or ``(3, H, W)`` tensor, RGB."""

__all__ = ["MAX_PIXELS", "MIN_SIDE", "RASTER_FORMATS", "ImageLike", "load_image", "picture_size", "resize", "to_tensor"]

_UPRIGHT = {  # from an EXIF orientation to the transposition that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@default_errors
def load_image(image: ImageLike) -> NDArray[np.uint8]:
    """Load an image of any accepted kind as RGB.

    Args:
        image: A path to a file in one of `RASTER_FORMATS`, whatever its suffix (``~`` is the home folder), or the
            bytes of such a file, rotated according to its EXIF orientation; a PIL image of any mode, used as it is
            and not changed or closed (but loaded, if it was opened lazily); an ``(H, W, 3)`` uint8 array, RGB (OpenCV's
            are BGR: ``a[..., ::-1]``); or a ``(3, H, W)`` tensor on any device, RGB, uint8 or floating point from 0 to
            1. Each side must have at least `MIN_SIDE` pixels, and the image at most `MAX_PIXELS`; this is checked
            before any pixel of a file is decoded.

    Returns:
        A contiguous, writable ``(H, W, 3)`` uint8 array, 0 to 255, that shares no memory with the input.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: The image cannot be used for any other reason; a `ValueError` with a one-line message.

    >>> load_image(Image.new("L", (12, 9), 200)).shape
    (9, 12, 3)
    >>> import torch
    >>> load_image(torch.ones(3, 9, 12))[0, 0].tolist()
    [255, 255, 255]
    >>> load_image(torch.full((3, 9, 12), 128.0))
    Traceback (most recent call last):
    semcorr.errors.ImageError: a torch.float32 tensor from 128 to 128; expected 0 to 1; divide it by 255
    """
    kind = f"an object of type {type(image).__name__}"
    with refusing(kind):
        if isinstance(image, np.ndarray):
            _check_array(image)
            return np.array(image, order="C")
        if is_tensor(image):
            return _from_tensor(image)
        if isinstance(image, Image.Image):
            return _from_pil(image, f"a PIL image of mode {image.mode}")
        if isinstance(image, (bytes, bytearray, memoryview)):
            return _from_file(bytes(image), f"a file of {len(bytes(image))} bytes")
        if isinstance(image, (str, os.PathLike)) and isinstance(path := os.fspath(image), str):
            return _from_file(path, repr(path))
    advice = "read an open file first: file.read()"
    raise ImageError(f"{kind} is not a picture; expected a path, bytes, PIL image, array or tensor; {advice}")


def picture_size(path: str | os.PathLike[str]) -> Size:
    """Return the height and width of the image that `load_image` would return, from the header of its file.

    A PNG is decoded, because its orientation may be stored after the pixels.

    Args:
        path: The file, as for `load_image`.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: The file is not a readable image, or the image is too small or too large. Damaged pixels are
            detected only when the image is loaded.
    """
    name = repr(os.fspath(path))
    with opened(os.fspath(path), name) as picture:
        check_sides(picture.height, picture.width, name)
        return upright_size(picture)


def file_of(image: object) -> Path | None:
    """Return where `load_image` reads a picture from, if it is a file."""
    return local_path(os.fspath(image)) if isinstance(image, str | os.PathLike) else None


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Return whether a value is a torch tensor, without importing torch: if nobody has, there are no tensors."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def resize(image: NDArray[np.uint8], size: Size) -> NDArray[np.float32]:
    """Resize an image with Pillow's antialiased bilinear filter; deterministic.

    Args:
        image: ``(H, W, 3)`` uint8, as `load_image` returns it.
        size: The new height and width ``(h, w)`` in pixels; the aspect ratio may change.

    Returns:
        A contiguous ``(3, h, w)`` float32 array, 0 to 1, in steps of 1/255.

    Raises:
        ImageError: The array or the size is not as described.

    >>> resize(np.full((9, 12, 3), 255, np.uint8), (2, 4)).shape
    (3, 2, 4)
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an object of type {type(image).__name__}; expected an array; use load_image first")
    _check_array(image)
    is_pair = isinstance(size, tuple) and len(size) == 2 and all(type(side) is int for side in size)
    if not is_pair or min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        expected = f"expected (height, width), integers from 1, {MAX_PIXELS:,} pixels in all at most"
        raise ImageError(f"cannot resize to {size!r}; {expected}; choose another size")
    height, width = size
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    pixels: NDArray[np.float32] = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1).copy() / np.float32(255)
    return pixels


def to_tensor(image: NDArray[np.uint8], size: Size) -> Tensor:
    """Like `resize`, but return a tensor on the CPU."""
    import torch

    return torch.from_numpy(resize(image, size))


def is_blank(image: NDArray[np.uint8]) -> bool:
    """Return whether an image ``(H, W, 3)`` has a single colour, so that there is nothing to match."""
    colour = image[0, 0]
    return bool((image[0] == colour).all() and (image == colour).all())


def _check_array(image: NDArray[np.uint8]) -> None:
    name = f"an array of shape {image.shape} and type {image.dtype}"
    if image.dtype != np.uint8:
        raise ImageError(f"{name}; expected uint8, 0 to 255; scale it to that range, then .astype(np.uint8)")
    if image.ndim != 3 or image.shape[2] != 3:
        advice = "grey: np.dstack([a] * 3), RGBA: PIL.Image.fromarray(a), (3, H, W): a.transpose(1, 2, 0)"
        raise ImageError(f"{name}; expected (H, W, 3), RGB; {advice}")
    check_sides(image.shape[0], image.shape[1], name)


def _from_tensor(image: Tensor) -> NDArray[np.uint8]:
    import torch

    name = f"a {image.dtype} tensor"
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ImageError(f"{name}; expected uint8, 0 to 255, or floating point, 0 to 1; use .to(torch.uint8)")
    if image.ndim != 3 or image.shape[0] != 3:
        advice = "grey: t.expand(3, -1, -1), batch: t[0], (H, W, 3): t.permute(2, 0, 1)"
        raise ImageError(f"{name} of shape {tuple(image.shape)}; expected (3, H, W), RGB; {advice}")
    check_sides(image.shape[1], image.shape[2], name)
    pixels = image.detach().cpu()
    if pixels.dtype != torch.uint8:
        pixels = pixels.to(torch.float32)
        if not pixels.isfinite().all():
            raise ImageError(f"{name} with NaN or infinity in it; expected 0 to 1; find where they come from")
        low, high = pixels.min().item(), pixels.max().item()
        if low < 0 or high > 1:
            advice = "undo its normalisation" if low < 0 else "divide it by 255"
            raise ImageError(f"{name} from {low:g} to {high:g}; expected 0 to 1; {advice}")
        pixels = (pixels * 255).round().to(torch.uint8)
    return np.array(pixels.permute(1, 2, 0).numpy(), order="C")  # (H, W, 3)


def _from_file(file: str | bytes, name: str) -> NDArray[np.uint8]:
    with opened(file, name) as picture:
        check_sides(picture.height, picture.width, name)
        pixels = decode(picture, name)
        turn = _UPRIGHT.get(orientation(picture))
        return np.array(pixels if turn is None else pixels.transpose(turn))


def _from_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.format in ("EPS", "WMF"):  # Pillow runs Ghostscript, or asks Windows, to draw them
        raise ImageError(f"{name} from a drawing, {image.format}; expected pixels; export it as PNG first")
    with quiet():
        check_sides(image.height, image.width, name)
        return np.array(decode(image, name))
