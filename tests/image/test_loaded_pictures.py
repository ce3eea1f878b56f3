"""`load_image` of PIL images, arrays, tensors, and of anything else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import SEE_THROUGH, STORED, assert_stripes, mean_difference, palette_stripes, png, refused
from PIL import ExifTags, Image, ImageOps

from semcorr.image import load_image

pytestmark = pytest.mark.filterwarnings("error")  # ResourceWarning too: a file left open fails the test

# ---- PIL images


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_every_mode_of_pil_is_read_and_left_alone(mode: str, cat: np.ndarray):
    picture = Image.fromarray(cat[100:180, 100:220])
    picture = (picture.quantize(256) if mode in ("P", "PA") else picture).convert(mode)
    before = picture.copy()
    pixels = load_image(picture)
    assert pixels.flags.writeable
    assert mean_difference(pixels, np.asarray(before.convert("RGB"))) == 0
    if mode not in ("1", "L", "LA"):  # in colour, and so like the photograph
        assert mean_difference(pixels, cat[100:180, 100:220]) < 5
    pixels[:] = 7
    assert picture == before
    assert picture.info == before.info


def test_transparent_palette_of_the_caller_is_left_alone():
    picture = palette_stripes()
    picture.info["transparency"] = bytes([255, 128, 0])
    before = picture.im.getpalette("RGBA", "RGBA")
    assert_stripes(load_image(picture), SEE_THROUGH)
    assert picture.im.getpalette("RGBA", "RGBA") == before
    assert picture.info == {"transparency": bytes([255, 128, 0])}


def test_a_picture_that_its_owner_turned_is_not_turned_again(cat: np.ndarray, tmp_path: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "phone.jpg"
    Image.fromarray(np.ascontiguousarray(STORED[6](cat))).save(path, exif=exif, quality=95)
    with Image.open(path) as picture:
        for changed in (
            picture.rotate(-90, expand=True),
            picture.transpose(Image.Transpose.ROTATE_270),
            picture.crop((10, 20, 200, 300)),
            ImageOps.exif_transpose(picture),
            picture.resize((150, 225)),
            picture,
        ):
            assert np.array_equal(load_image(changed), np.asarray(changed))
        assert picture.size == (300, 451)
        assert picture.getexif()[ExifTags.Base.Orientation] == 6
        upright = load_image(ImageOps.exif_transpose(picture))
    assert np.array_equal(load_image(path), upright)
    assert np.array_equal(load_image(picture_bytes := path.read_bytes()), upright)
    assert np.array_equal(load_image(memoryview(picture_bytes)), upright)


def test_lazily_opened_image_stays_open(cheetah_path: Path):
    with Image.open(cheetah_path) as picture:
        pixels = load_image(picture)
        assert np.array_equal(np.asarray(picture), pixels)
        assert picture.filename == str(cheetah_path)


def test_pil_images_that_cannot_be_used(cheetah_path: Path):
    with Image.open(cheetah_path) as picture:
        pass
    refused(picture, "JpegImageFile", "cannot be read")
    refused(Image.new("RGB", (0, 0)), "0 x 0 pixels")
    refused(Image.new("L", (3, 30)), "mode L", "3 x 30 pixels")
    picture = palette_stripes()
    picture.info["transparency"] = "none"
    refused(picture, "ransparency")


@pytest.mark.usefixtures("no_decoding")
def test_bomb_opened_by_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(png(40_000, 40_000, 8, 2, b""))
    with Image.open(path) as picture:
        refused(picture, "40000 x 40000 pixels")


# ---- arrays


def test_array_is_copied(cat: np.ndarray):
    given = cat.copy()
    pixels = load_image(given)
    assert np.array_equal(pixels, cat)
    assert not np.shares_memory(pixels, given)


@pytest.mark.parametrize("view", [lambda a: a[:, ::-1], lambda a: a[::2, 1:], np.asfortranarray])
def test_array_in_any_memory_order(view, cat: np.ndarray):
    pixels = load_image(view(cat))
    assert np.array_equal(pixels, view(cat))
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((20, 20), np.uint8, ["(20, 20)", "(H, W, 3)", "np.dstack"]),
        ((20, 20, 1), np.uint8, ["(20, 20, 1)", "np.dstack"]),
        ((20, 20, 4), np.uint8, ["(20, 20, 4)", "PIL.Image.fromarray"]),
        ((3, 20, 20), np.uint8, ["(3, 20, 20)", "transpose(1, 2, 0)"]),
        ((1, 20, 20, 3), np.uint8, ["(1, 20, 20, 3)"]),
        ((), np.uint8, ["()"]),
        ((20, 20, 3), np.float32, ["float32", "uint8", "astype"]),
        ((20, 20, 3), np.int64, ["int64"]),
        ((20, 20, 3), bool, ["bool"]),
        ((20, 20, 3), object, ["object"]),
        ((0, 0, 3), np.uint8, ["0 x 0 pixels"]),
        ((20, 0, 3), np.uint8, ["0 x 20 pixels"]),
        ((7, 20, 3), np.uint8, ["20 x 7 pixels"]),
    ],
)
def test_array_refused(shape: tuple[int, ...], dtype: type, words: list[str]):
    refused(np.zeros(shape, dtype), *words)


def test_array_with_too_many_pixels():
    refused(np.broadcast_to(np.uint8(0), (40_000, 40_000, 3)), "40000 x 40000 pixels")  # takes one byte


# ---- tensors


def test_uint8_tensor(cat: np.ndarray):
    tensor = torch.from_numpy(cat).permute(2, 0, 1)
    pixels = load_image(tensor)
    assert np.array_equal(pixels, cat)
    assert pixels.flags.c_contiguous
    assert not np.shares_memory(pixels, cat)
    flipped = load_image(tensor.contiguous().flip(2))
    assert np.array_equal(flipped, cat[:, ::-1])
    assert flipped.flags.c_contiguous


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floating_tensor_holds_every_level(dtype: torch.dtype):
    levels = torch.arange(256).reshape(16, 16)
    tensor = torch.stack([levels, 255 - levels, levels]).to(dtype) / 255  # (3, 16, 16)
    pixels = load_image(tensor.requires_grad_())
    assert np.array_equal(pixels[..., 0], levels.numpy())
    assert np.array_equal(pixels[..., 1], 255 - levels.numpy())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_coarse_floating_tensor(dtype: torch.dtype):
    tensor = torch.tensor([0, 1, 0.75]).to(dtype)[:, None, None].expand(3, 9, 12)
    assert (load_image(tensor) == [0, 255, 191]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_tensor_on_the_gpu(cat: np.ndarray):
    assert np.array_equal(load_image(torch.from_numpy(cat).permute(2, 0, 1).cuda()), cat)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensor_not_finite(bad: float, dtype: torch.dtype):
    tensor = torch.zeros(3, 9, 9, dtype=dtype)
    tensor[1, 2, 3] = bad
    refused(tensor, "NaN or infinity", "0 to 1")


def test_tensor_out_of_range():
    tensor = torch.zeros(3, 9, 9)
    tensor[0, 0, 0] = 254
    refused(tensor, "from 0 to 254", "0 to 1", "divide it by 255")
    tensor[0, 0, 0] = 1.01
    refused(tensor, "from 0 to 1.01")
    tensor[1, 1, 1] = -2.5
    refused(tensor, "from -2.5 to 1.01", "normalisation")
    tensor[0, 0, 0] = 1
    refused(tensor, "from -2.5 to 1;", "normalisation")


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((20, 20), torch.float32, ["(20, 20)", "(3, H, W)", "expand"]),
        ((1, 20, 20), torch.uint8, ["(1, 20, 20)", "expand"]),
        ((1, 3, 20, 20), torch.uint8, ["(1, 3, 20, 20)", "t[0]"]),
        ((20, 20, 3), torch.uint8, ["(20, 20, 3)", "permute(2, 0, 1)"]),
        ((4, 20, 20), torch.uint8, ["(4, 20, 20)"]),
        ((), torch.float32, ["()"]),
        ((3, 20, 20), torch.int64, ["int64", "uint8"]),
        ((3, 20, 20), torch.bool, ["bool"]),
        ((3, 20, 20), torch.complex64, ["complex64"]),
        ((3, 0, 20), torch.float32, ["20 x 0 pixels"]),
        ((3, 20, 7), torch.float32, ["7 x 20 pixels"]),
    ],
)
def test_tensor_refused(shape: tuple[int, ...], dtype: torch.dtype, words: list[str]):
    refused(torch.zeros(shape, dtype=dtype), *words)


def test_tensor_without_pixels():
    refused(torch.zeros(3, 9, 9, device="meta"), "Tensor", "meta")
    refused(torch.zeros(3, 9, 9).to_sparse(), "Tensor")


# ---- anything else


@pytest.mark.parametrize("thing", [None, 3, 2.5, ["cat.jpg"], {}, object(), Image, io.BytesIO(b"x")])
def test_not_a_picture(thing: object):
    refused(thing, type(thing).__name__, "path, bytes, PIL image, array or tensor", "file.read()")


def test_bytes_that_are_no_file():
    refused(b"cat.jpg", "a file of 7 bytes", "holds no picture")
    refused(b"", "a file of 0 bytes", "holds no picture")


def test_odd_path_like():
    class OfBytes:
        def __fspath__(self) -> bytes:
            return b"cat.jpg"

    class Broken:
        def __fspath__(self) -> str:
            raise RuntimeError("first line\nsecond \x1b line")

    refused(OfBytes(), "OfBytes", "expected a path")
    refused(Broken(), "first line second line")
