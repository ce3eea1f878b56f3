"""Picture files of every kind that `load_image` reads."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from picture_files import (
    SEE_THROUGH,
    STORED,
    WHITE,
    assert_stripes,
    encoded,
    mean_difference,
    palette_stripes,
    png,
    png_chunk,
    refused,
    rgba_stripes,
    three,
)
from PIL import ExifTags, Image, features

from semcorr.image import load_image, picture_size

pytestmark = pytest.mark.filterwarnings("error")  # ResourceWarning too: a file left open fails the test


def test_photograph_is_what_pillow_decodes(cheetah_path: Path):
    pixels = load_image(cheetah_path)
    assert pixels.shape == (256, 256, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    with Image.open(cheetah_path) as picture:
        assert np.array_equal(pixels, np.asarray(picture))


def test_path_may_be_a_string_or_path_like(cheetah_path: Path):
    class Entry:
        def __fspath__(self) -> str:
            return str(cheetah_path)

    expected = load_image(cheetah_path)
    assert np.array_equal(load_image(str(cheetah_path)), expected)
    assert np.array_equal(load_image(Entry()), expected)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_are_exact_whatever_the_suffix(kind: str, cat: np.ndarray, tmp_path: Path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(encoded(Image.fromarray(cat), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert np.array_equal(load_image(path), cat)


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "WEBP", "AVIF"])
def test_lossy_formats_are_close(kind: str, cat: np.ndarray, tmp_path: Path):
    if kind == "AVIF" and "avif" not in features.get_supported():
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / "cat"
    path.write_bytes(encoded(Image.fromarray(cat), kind, quality=95))
    assert mean_difference(load_image(path), cat) < 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, kind: str, cat: np.ndarray, tmp_path: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = np.ascontiguousarray(STORED[orientation](cat))
    path = tmp_path / "turned"
    path.write_bytes(encoded(Image.fromarray(stored), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})))
    upright = load_image(path)
    assert upright.flags.c_contiguous
    assert mean_difference(upright, cat) < (3 if kind == "JPEG" else 1e-9)
    assert np.array_equal(load_image(path.read_bytes()), upright)
    assert picture_size(path) == upright.shape[:2]
    with Image.open(path) as picture:  # pixels in memory are taken as they are
        assert np.array_equal(load_image(picture), np.asarray(picture))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_unknown_exif_orientation_is_ignored(value: int, cat: np.ndarray, tmp_path: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    path = tmp_path / "odd.png"
    path.write_bytes(encoded(Image.fromarray(cat), "PNG", exif=exif))
    assert np.array_equal(load_image(path), cat)


def pixels_and_exif(path: Path) -> tuple[np.ndarray, Image.Exif]:
    with Image.open(path) as picture:
        return np.asarray(picture), picture.getexif()


def test_damaged_exif_neither_refuses_nor_warns(cheetah_path: Path, tmp_path: Path):
    path = tmp_path / "damaged_exif.jpg"
    with Image.open(cheetah_path) as picture:
        # Little-endian TIFF header, a directory of 9 entries, and then the end of the data.
        path.write_bytes(encoded(picture, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01"))
    with pytest.warns(UserWarning, match="EXIF"):  # the premise: left alone, Pillow does warn
        expected = pixels_and_exif(path)[0]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert np.array_equal(load_image(path), expected)
    assert not heard


def test_exif_that_pillow_cannot_read_at_all(cat: np.ndarray):
    picture = Image.fromarray(cat)
    picture.info["exif"] = b"Exif\0\0not a TIFF header"
    with pytest.raises(SyntaxError):
        picture.copy().getexif()  # the premise
    assert np.array_equal(load_image(picture), cat)


def test_grey_and_one_bit(grey: np.ndarray, tmp_path: Path):
    path = tmp_path / "grey.png"
    Image.fromarray(grey).save(path)
    assert np.array_equal(load_image(path), three(grey))
    Image.fromarray(grey > 128).save(path)
    assert np.array_equal(load_image(path), three(np.where(grey > 128, 255, 0)))


@pytest.mark.parametrize(
    ("dtype", "suffix", "modes"),  # older versions of Pillow read some of these as I
    [
        ("<u2", "png", {"I;16", "I"}),
        ("<u2", "tif", {"I;16"}),
        (">u2", "tif", {"I;16B"}),
        ("<i4", "tif", {"I"}),
        (">u2", "pgm", {"I;16", "I"}),
    ],
)
def test_16_bit_grey_is_the_8_bit_picture(dtype: str, suffix: str, modes: set[str], grey: np.ndarray, tmp_path: Path):
    path = tmp_path / f"deep.{suffix}"
    deep = (grey.astype(int) * 257).astype(dtype)
    if suffix == "pgm":
        path.write_bytes(b"P5 120 80 65535\n" + deep.tobytes())
    else:
        Image.fromarray(deep).save(path)
    with Image.open(path) as picture:
        assert picture.mode in modes
        assert np.array_equal(load_image(picture), three(grey))
    assert np.array_equal(load_image(path), three(grey))


def test_16_bit_grey_is_rounded():
    deep = np.full((9, 9), 65535, np.uint16)
    deep[0, :6] = [0, 128, 129, 385, 386, 65406]  # 8 bits are 257 apart
    assert load_image(Image.fromarray(deep))[0, :6, 1].tolist() == [0, 0, 1, 1, 2, 254]


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floating_grey(white: int, grey: np.ndarray, tmp_path: Path):
    values = grey.astype(np.float32) / 255 * white
    assert np.float32(values.max()) > white / 2, "the photograph must tell one white from the next"
    path = tmp_path / "float.tif"
    Image.fromarray(values).save(path)
    assert np.array_equal(load_image(path), three(grey))
    assert np.array_equal(load_image(Image.fromarray(values)), three(grey))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.5, 70000])
def test_floating_grey_out_of_range(bad: float):
    values = np.full((9, 9), 0.5, np.float32)
    values[4, 4] = bad
    refused(Image.fromarray(values), "mode F", "0 to 65535", f"{np.float32(bad):g}")


@pytest.mark.parametrize("bad", [-1, 65536, 2**31 - 1])
def test_integer_grey_out_of_range(bad: int):
    values = np.full((9, 9), 500, np.int32)
    values[4, 4] = bad
    refused(Image.fromarray(values), "mode I", "500", "0 to 65535")


def test_cmyk_jpeg_of_adobe_is_not_inverted(cheetah_path: Path, tmp_path: Path):
    path = tmp_path / "cmyk.jpg"
    expected = load_image(cheetah_path)
    path.write_bytes(encoded(Image.fromarray(expected).convert("CMYK"), "JPEG", quality=95))
    assert b"Adobe" in path.read_bytes()[:64]
    assert mean_difference(load_image(path), expected) < 3
    assert mean_difference(255 - load_image(path), expected) > 30


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_channel_is_composited_on_white(kind: str, tmp_path: Path):
    path = tmp_path / "rgba"
    path.write_bytes(encoded(rgba_stripes(), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
    assert_stripes(load_image(path), SEE_THROUGH)


def test_grey_alpha_is_composited_on_white(tmp_path: Path):
    path = tmp_path / "la.png"
    alpha = rgba_stripes().getchannel("A")
    stripes = Image.merge("LA", [Image.new("L", (12, 9), 40), alpha])
    stripes.save(path)
    expected = {255: [40] * 3, 128: [147] * 3, 0: WHITE}
    assert_stripes(load_image(path), expected)
    assert_stripes(load_image(stripes.convert("La")), expected)


def test_premultiplied_alpha_is_composited_on_white():
    # Premultiplying rounds 40 * 128 / 255 to 20, which is 39.8 again: no step away after compositing.
    assert_stripes(load_image(rgba_stripes().convert("RGBa")), SEE_THROUGH)


def test_palette_with_alpha_is_composited_on_white(tmp_path: Path):
    path = tmp_path / "palette.png"
    palette_stripes().save(path, transparency=bytes([255, 128, 0]))
    with Image.open(path) as picture:
        assert picture.mode == "P"
    assert_stripes(load_image(path), SEE_THROUGH)
    rgba_palette = palette_stripes()
    rgba_palette.putpalette([200, 40, 0, 255, 200, 40, 0, 128, 200, 40, 0, 0], "RGBA")
    assert_stripes(load_image(rgba_palette), SEE_THROUGH)


def test_palette_with_alpha_channel_is_composited_on_white():
    palette = palette_stripes().convert("PA")
    palette.putalpha(rgba_stripes().getchannel("A"))
    assert palette.mode == "PA"
    assert_stripes(load_image(palette), SEE_THROUGH)


def test_transparent_gif_colour_is_white(tmp_path: Path):
    path = tmp_path / "stripes.gif"
    palette_stripes().save(path, transparency=2, optimize=False)
    assert_stripes(load_image(path), {255: [200, 40, 0], 128: [200, 40, 0], 0: WHITE})


@pytest.mark.parametrize(
    ("bits", "colour", "sample", "key", "expected"),
    [
        (8, 0, ">B", (2,), [2, 2, 2]),
        (8, 2, ">BBB", (2, 2, 2), [2, 2, 2]),
        (16, 0, ">H", (2 * 257,), [2, 2, 2]),
    ],
)
def test_transparent_png_colour_is_white(
    bits: int, colour: int, sample: str, key: tuple[int, ...], expected: list[int], tmp_path: Path
):
    scale, samples = (257 if bits == 16 else 1), len(key)
    row = b"\0" + b"".join(struct.pack(sample, *[value * scale] * samples) for value in range(8))
    path = tmp_path / "keyed.png"
    path.write_bytes(png(8, 8, bits, colour, row * 8))
    assert load_image(path)[0, :4].tolist() == [[0] * 3, [1] * 3, expected, [3] * 3]
    path.write_bytes(png(8, 8, bits, colour, row * 8, extra=png_chunk(b"tRNS", struct.pack(f">{samples}H", *key))))
    assert load_image(path)[0, :4].tolist() == [[0] * 3, [1] * 3, WHITE, [3] * 3]


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_first_frame_of_an_animation(kind: str, options: dict[str, object], tmp_path: Path):
    red, blue = Image.new("RGB", (12, 9), "red"), Image.new("RGB", (12, 9), "blue")
    path = tmp_path / "animation"
    path.write_bytes(encoded(red, kind, save_all=True, append_images=[blue], **options))
    assert (load_image(path) == [255, 0, 0]).all()
    with Image.open(path) as picture:
        assert picture.n_frames == 2
        picture.seek(1)
        assert (load_image(picture) == [0, 0, 255]).all(), "the frame its owner chose"
        assert picture.tell() == 1
