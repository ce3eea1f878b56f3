from __future__ import annotations

import io
import os
import random
import struct
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, ExifTags, Image, ImageFile, ImageOps, features

from semcorr.errors import ImageError
from semcorr.image import MAX_PIXELS, MIN_SIDE, RASTER_FORMATS, load_image, picture_size, to_tensor

pytestmark = pytest.mark.filterwarnings("error")  # ResourceWarning too: a file left open fails the test

WHITE = [255, 255, 255]


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


@pytest.fixture(scope="session")
def grey(cat: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(cat[100:180, 100:220]).convert("L"))  # (80, 120), an eye of the cat


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


# ---- load_image: files that are pictures


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


# Colour (200, 40, 0) at alpha 128 on white: 200 * 128 / 255 + 255 * 127 / 255 = 227.4, then 147.1 and 127.0.
SEE_THROUGH = {255: [200, 40, 0], 128: [227, 147, 127], 0: WHITE}


def rgba_stripes() -> Image.Image:
    pixels = np.zeros((9, 12, 4), np.uint8)
    pixels[:, :] = [200, 40, 0, 255]
    pixels[3:6, :, 3], pixels[6:, :, 3] = 128, 0
    return Image.fromarray(pixels)


def assert_stripes(pixels: np.ndarray, expected: dict[int, list[int]]) -> None:
    for rows, alpha in ((slice(0, 3), 255), (slice(3, 6), 128), (slice(6, 9), 0)):
        assert (pixels[rows] == expected[alpha]).all(), (alpha, pixels[rows.start, 0])


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


def palette_stripes() -> Image.Image:
    picture = Image.fromarray(np.repeat(np.arange(9, dtype=np.uint8) // 3, 12).reshape(9, 12)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([200, 40, 0] * 3)
    return picture


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


# ---- load_image: files that are not


def test_missing_file():
    for path in ("no/such/cat.jpg", Path("no/such/cat.jpg")):
        with pytest.raises(FileNotFoundError) as caught:
            load_image(path)
        assert str(caught.value) == "no file at 'no/such/cat.jpg'; expected a picture; check the path"


def test_missing_file_below_a_file(cheetah_path: Path):
    with pytest.raises(FileNotFoundError, match=r"cheetah1.jpg/cat.jpg'; expected"):
        load_image(cheetah_path / "cat.jpg")


def test_path_with_line_break_or_null():
    with pytest.raises(FileNotFoundError) as caught:
        load_image("cat\n\x1b[31m.jpg")
    assert str(caught.value).isprintable()
    refused("cat\0.jpg", "null")


def test_path_far_too_long():
    refused("cat" * 2000, "too long")


def test_folder(tmp_path: Path):
    refused(tmp_path, repr(str(tmp_path)), "folder", "one picture in it")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path / "pipe.jpg", "not an ordinary file")


def test_empty_file(tmp_path: Path):
    (tmp_path / "empty.jpg").touch()
    refused(tmp_path / "empty.jpg", "empty.jpg", "0 bytes")


def test_text_file(tmp_path: Path):
    (tmp_path / "text.jpg").write_text("This is not a picture.\n" * 50)
    refused(tmp_path / "text.jpg", "text.jpg", "holds no picture", "JPEG, PNG", "export")


def test_truncated_jpeg(cheetah_path: Path, tmp_path: Path):
    data = cheetah_path.read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "half.jpg", "half.jpg", "truncated", "export")


def test_broken_png(cat: np.ndarray, tmp_path: Path):
    data = bytearray(encoded(Image.fromarray(cat), "PNG"))
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    (tmp_path / "broken.png").write_bytes(data)
    refused(tmp_path / "broken.png", "broken.png", "cannot be read")


def test_damaged_files_raise_nothing_but_image_error(cat: np.ndarray, tmp_path: Path):
    rng, path, results = random.Random(0), tmp_path / "damaged", []
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM", "WEBP"):
        whole = encoded(Image.fromarray(cat[:32, :48]), kind)
        for case in range(60):
            data = bytearray(whole)
            for _ in range(case % 4):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data[: rng.randrange(1, len(data))] if case % 4 == 0 else data)
            results.append(attempt(path))
    errors = [str(result) for result in results if isinstance(result, ImageError)]
    assert all(error.isprintable() for error in errors)
    assert 0.1 < len(errors) / len(results) < 0.9, "the damage should spare some and break others"
    assert all(result.shape[2] == 3 for result in results if isinstance(result, np.ndarray))


def test_smallest_side(tmp_path: Path):
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(path)
    refused(path, "1 x 1 pixels", f"{MIN_SIDE} or more")
    Image.new("RGB", (100, MIN_SIDE - 1)).save(path)
    refused(path, f"100 x {MIN_SIDE - 1} pixels")
    Image.new("RGB", (100, MIN_SIDE)).save(path)
    assert load_image(path).shape == (MIN_SIDE, 100, 3)


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("a pixel was decoded"))


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize("pillow_limit", [Image.MAX_IMAGE_PIXELS, None])
@pytest.mark.parametrize("side", [40_000, 13_378])  # 13 378 squared is just above the limit
def test_decompression_bomb(side: int, pillow_limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert side * side > MAX_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, 8, 2, bytes(1000)))
    assert path.stat().st_size < 1000
    refused(path, "bomb.png", f"{MAX_PIXELS:,}", "smaller")
    assert pillow_limit == Image.MAX_IMAGE_PIXELS


def test_large_picture_below_the_limit_does_not_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "large.png"
    Image.new("RGB", (30, 20), "red").save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(path).close()  # the premise
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert (load_image(path) == [255, 0, 0]).all()
    assert not heard
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # the user's own, stricter limit
    refused(path, "too large")


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_zip_bomb_in_a_text_chunk(kind: bytes, tmp_path: Path):
    bomb = zlib.compress(bytes(20_000_000), 9)
    header = b"note\0\0" if kind == b"zTXt" else b"note\0\x01\0\0\0"
    path = tmp_path / "text_bomb.png"
    path.write_bytes(png(8, 8, 8, 0, bytes(72), extra=png_chunk(kind, header + bomb)))
    assert "too large" in refused(path, "text_bomb.png").lower()


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: be somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has other permissions")
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_permission_denied(locked: str, cheetah_path: Path):
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        folder = Path(top, "folder")
        folder.mkdir()
        path = folder / "cheetah.jpg"
        path.write_bytes(cheetah_path.read_bytes())
        with as_nobody():
            assert load_image(path).shape == (256, 256, 3)
        (path if locked == "file" else folder).chmod(0)
        try:
            with as_nobody():
                refused(path, "cheetah.jpg", "may not be read", "permission")
        finally:
            folder.chmod(0o755)


def test_ghostscript_is_never_run(cat: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "cat.eps"
    Image.fromarray(cat[:20, :20]).save(path)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was run"))
    refused(path, "cat.eps", "a PostScript drawing (EPS)", "expected one of JPEG")
    with Image.open(path) as picture:
        refused(picture, "EPS", "PNG")


def test_formats_are_raster_only():
    assert not {"EPS", "WMF", "PDF", "PSD", "MPEG"} & set(RASTER_FORMATS)


# ---- load_image: what it leaves behind


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="open files cannot be counted here")
def test_no_file_is_left_open(cheetah_path: Path, tmp_path: Path):
    bad = tmp_path / "half.jpg"
    bad.write_bytes(cheetah_path.read_bytes()[:5000])
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    tiff = tmp_path / "cheetah.tif"
    tiff.write_bytes(encoded(Image.fromarray(load_image(cheetah_path)), "TIFF", compression="tiff_lzw"))
    before = sorted(os.listdir("/dev/fd"))  # noqa: PTH208
    results = [attempt(path) for path in (cheetah_path, tiff, bad, text) * 3]
    # The errors are still held here, and with them every frame of their tracebacks.
    assert sum(isinstance(result, ImageError) for result in results) == 6
    assert sorted(os.listdir("/dev/fd")) == before  # noqa: PTH208


def test_warning_filters_survive_threads(cheetah_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before = list(warnings.filters)
        threads = [threading.Thread(target=lambda: [load_image(cheetah_path) for _ in range(15)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(warnings.filters) == before


# ---- load_image: PIL images


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


# ---- load_image: arrays


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


# ---- load_image: tensors


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


# ---- load_image: anything else


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


# ---- to_tensor


def test_same_size_is_division_by_255(cat: np.ndarray):
    before = cat.copy()
    tensor = to_tensor(cat, (300, 451))
    assert tensor.shape == (3, 300, 451)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert torch.equal(tensor, torch.from_numpy(cat.astype(np.float32) / 255).permute(2, 0, 1))
    tensor.zero_()
    assert np.array_equal(cat, before)


@pytest.mark.parametrize("size", [(313, 471), (471, 313), (1, 1), (7, 900)])
def test_any_size_keeps_range_and_colour(size: tuple[int, int], cat: np.ndarray):
    tensor = to_tensor(cat, size)
    assert tensor.shape == (3, *size)
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    assert torch.allclose(
        tensor.mean((1, 2)) * 255, torch.tensor(cat.mean((0, 1))).float(), atol=4 if size != (1, 1) else 30
    )
    assert torch.equal(tensor, to_tensor(cat.copy(), size))


def test_size_is_height_then_width_and_channels_are_rgb():
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:10] = [255, 0, 0]
    picture[10:] = [0, 0, 255]
    tensor = to_tensor(picture, (4, 2))
    assert tensor[:, 0].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert tensor[:, 3].tolist() == [[0, 0], [0, 0], [1, 1]]


def test_resize_is_bilinear():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255
    ramp = (to_tensor(picture, (8, 16))[0, 0] * 255).round()  # weights of 1/4 and 3/4, and no overshoot
    assert ramp.tolist() == [0] * 7 + [64, 191] + [255] * 7


def test_resize_is_antialiased():
    # Sampled between the two middle columns of each four, stripes of 255, 0, 0, 255 would come out black.
    picture = np.zeros((16, 64, 3), np.uint8)
    picture[:, 0::4] = picture[:, 3::4] = 255
    assert torch.allclose(to_tensor(picture, (4, 16))[:, :, 1:-1], torch.tensor(0.5), atol=0.01)


def test_round_trip_with_load_image(cat: np.ndarray):
    assert np.array_equal(load_image(to_tensor(cat, (300, 451))), cat)


@pytest.mark.parametrize(
    "image", [None, "cat.jpg", np.zeros((9, 9, 3)), np.zeros((3, 9, 9), np.uint8), torch.zeros(3, 9, 9)]
)
def test_to_tensor_refuses_other_pictures(image: object):
    with pytest.raises(ImageError, match="expected"):
        to_tensor(image, (9, 9))


@pytest.mark.parametrize(
    "size", [(0, 9), (9, -1), (9,), (9, 9, 9), [9, 9], (9.0, 9), (True, 9), 9, None, (10**6, 10**6)]
)
def test_to_tensor_refuses_odd_sizes(size: object):
    with pytest.raises(ImageError, match=r"cannot resize to .* expected \(height, width\)"):
        to_tensor(np.zeros((9, 9, 3), np.uint8), size)
