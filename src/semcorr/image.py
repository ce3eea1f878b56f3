"""Any picture, safely, to an RGB uint8 picture: whatever is wrong with it is said in one line.

How pictures that are not plain RGB are read:

- EXIF orientation is honoured; colour profiles are not applied.
- Transparency (alpha channel, transparent palette entry or colour) is composited on white.
- Of an animation, the first frame is read; of a PIL image, the frame that its owner has chosen.
- Grey in 16 bits, and in Pillow's 32-bit mode ``I``, is white at 65535 and is scaled to 8 bits, not clipped.
- Grey in floating point is white at the first of 1, 255 and 65535 that no value exceeds.
"""

from __future__ import annotations

import os
import stat
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from semcorr.errors import ImageError
from semcorr.geometry import Size

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[np.uint8] | Tensor"
"""What `load_image` reads: a path, a PIL image, an ``(H, W, 3)`` array or a ``(3, H, W)`` tensor."""

MIN_SIDE = 8
"""Shortest side, in pixels, of a picture that is accepted: below it there is nothing to match."""

MAX_PIXELS = 178_956_970
"""Most pixels in a picture that is accepted: the number above which Pillow itself suspects an attack."""

RASTER_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""File formats that are read (AVIF where Pillow has it; MPO comes with JPEG); none of them runs a program."""

_UPRIGHT = {  # EXIF orientation to what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# `warnings.catch_warnings` swaps a list that all threads share: two threads inside it can leave the user's
# warnings switched off for good. Reading pictures one at a time is the price of leaving them as they were.
_warnings_lock = threading.Lock()


def load_image(image: ImageLike) -> NDArray[np.uint8]:
    """Read a picture of any accepted kind as RGB.

    Args:
        image: A path to a file in one of `RASTER_FORMATS`, whatever its suffix; a PIL image of any mode, not
            changed or closed (loaded, if it was opened lazily); an ``(H, W, 3)`` uint8 array; or a
            ``(3, H, W)`` tensor on any device, uint8 or floating point from 0 to 1. Sides of `MIN_SIDE` or
            more, `MAX_PIXELS` in all at most: checked before any pixel of a file is decoded.

    Returns:
        A contiguous, writable ``(H, W, 3)`` uint8 array, 0 to 255, which shares no memory with the input.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: Anything else that is wrong; a `ValueError` with a one-line message.

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
    with _refusing(kind):
        if isinstance(image, np.ndarray):
            _check_array(image)
            return np.array(image, order="C")
        if is_tensor(image):
            return _from_tensor(image)
        if isinstance(image, Image.Image):
            return _from_pil(image, f"a PIL image of mode {image.mode}")
        if isinstance(image, (str, os.PathLike)) and isinstance(path := os.fspath(image), str):
            return _from_path(Path(path), repr(path))
    advice = "bytes of a file are opened with PIL.Image.open(io.BytesIO(data))"
    raise ImageError(f"{kind} is not a picture; expected a path, PIL image, array or tensor; {advice}")


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Say whether a value is a torch tensor, without importing torch: where nobody has, there are none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def resize(image: NDArray[np.uint8], size: Size) -> NDArray[np.float32]:
    """Resize a picture with Pillow's antialiased bilinear filter; deterministic.

    Args:
        image: ``(H, W, 3)`` uint8, as `load_image` returns it.
        size: Height and width ``(h, w)`` wanted, in pixels; the aspect ratio may change.

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
    """Do as `resize`, and return a tensor on the CPU."""
    import torch

    return torch.from_numpy(resize(image, size))


def is_blank(image: NDArray[np.uint8]) -> bool:
    """Say whether a picture ``(H, W, 3)`` has a single colour: then only its borders give features to match."""
    colour = image[0, 0]
    return bool((image[0] == colour).all() and (image == colour).all())


@contextmanager
def _refusing(name: str) -> Iterator[None]:
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
def _quiet() -> Iterator[None]:
    """Keep Pillow's remarks on odd files from the user; `ResourceWarning` stays: it would be our fault."""
    with _warnings_lock, warnings.catch_warnings():
        for category in (UserWarning, RuntimeWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        yield


def _check_sides(height: int, width: int, name: str) -> None:
    given = f"{name} is {width} x {height} pixels"
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{given}; expected sides of {MIN_SIDE} or more; enlarge it")
    if height * width > MAX_PIXELS:
        raise ImageError(f"{given}; expected {MAX_PIXELS:,} in all at most; make it smaller first")


def _check_array(image: NDArray[np.uint8]) -> None:
    name = f"an array of shape {image.shape} and type {image.dtype}"
    if image.dtype != np.uint8:
        raise ImageError(f"{name}; expected uint8, 0 to 255; scale it to that range, then .astype(np.uint8)")
    if image.ndim != 3 or image.shape[2] != 3:
        advice = "grey: np.dstack([a] * 3), RGBA: PIL.Image.fromarray(a), (3, H, W): a.transpose(1, 2, 0)"
        raise ImageError(f"{name}; expected (H, W, 3), RGB; {advice}")
    _check_sides(image.shape[0], image.shape[1], name)


def _from_tensor(image: Tensor) -> NDArray[np.uint8]:
    import torch

    name = f"a {image.dtype} tensor"
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ImageError(f"{name}; expected uint8, 0 to 255, or floating point, 0 to 1; use .to(torch.uint8)")
    if image.ndim != 3 or image.shape[0] != 3:
        advice = "grey: t.expand(3, -1, -1), batch: t[0], (H, W, 3): t.permute(2, 0, 1)"
        raise ImageError(f"{name} of shape {tuple(image.shape)}; expected (3, H, W), RGB; {advice}")
    _check_sides(image.shape[1], image.shape[2], name)
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


def _from_path(path: Path, name: str) -> NDArray[np.uint8]:
    with _refusing(name), _quiet():
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise ImageError(f"{name} is a folder; expected a file; give the path of one picture in it")
            if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
                raise ImageError(f"{name} is not an ordinary file; expected a picture; save it as one first")
            if status.st_size == 0:
                raise ImageError(f"{name} is empty (0 bytes); expected a picture; copy or download it again")
            stream = path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"no file at {name}; expected a picture; check the path") from None
        except PermissionError:
            advice = "ask its owner, or copy it to a folder of yours"
            raise ImageError(f"{name} may not be read; expected permission to read it; {advice}") from None
        with stream, _open(stream, name) as picture:
            return _decode(picture, name)


def _open(stream: IO[bytes], name: str) -> Image.Image:
    Image.init()
    formats = [known for known in RASTER_FORMATS if known in Image.OPEN]
    try:
        return Image.open(stream, formats=formats)
    except UnidentifiedImageError:
        expected = f"expected one of {', '.join(formats)}, whatever its suffix"
        raise ImageError(
            f"{name} holds no picture, or a damaged one; {expected}; export it again as PNG or JPEG"
        ) from None
    except Image.DecompressionBombError as error:
        limit = f"expected {MAX_PIXELS:,} pixels at most"
        raise ImageError(f"{name} is too large ({error}); {limit}; make it smaller first") from None


def _from_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.format in ("EPS", "WMF"):  # Pillow runs Ghostscript, or asks Windows, to draw them
        raise ImageError(f"{name} from a drawing, {image.format}; expected pixels; export it as PNG first")
    with _quiet():
        return _decode(image, name)


def _decode(image: Image.Image, name: str) -> NDArray[np.uint8]:
    _check_sides(image.height, image.width, name)
    image.load()
    orientation = None
    with suppress(Exception):  # Damaged EXIF is no reason to refuse the pixels.
        if image.format != "TIFF":  # Pillow has set it upright, though before 10.1 the tag stays.
            orientation = image.getexif().get(ExifTags.Base.Orientation)
    rgb = _to_rgb(image, name)
    return np.array(rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_grey_to_rgb(image, name)
    palette_alpha = image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info or palette_alpha:
        # The copy: Pillow writes a palette's alpha into the picture it converts, which may be the caller's.
        rgba = (image.copy() if image.mode == "P" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _deep_grey_to_rgb(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image).astype(np.float32)  # (H, W); exact, 65535 fits in its 24 bits
    low, high = values.min(), values.max()
    whites = (1, 255, 65535) if image.mode == "F" else (65535,)
    white = next((white for white in whites if high <= white), None)  # none for NaN
    if white is None or low < 0:
        raise ImageError(f"{name} from {low:g} to {high:g}; expected 0 to {whites[-1]}; rescale it to 8 bits")
    grey = np.rint(values * (255 / white)).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")
