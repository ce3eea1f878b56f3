"""Every kind of picture that Pillow opens: what a viewer shows, or a refusal that says why."""

from __future__ import annotations

import io
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from semcorr.errors import ImageError
from semcorr.image import load_image, picture_size

tifffile = pytest.importorskip("tifffile", reason="tifffile, of scikit-image, writes what Pillow does not")


@pytest.fixture(scope="module")
def eye(cat: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cat[100:180, 100:220])  # (80, 120, 3)


@pytest.fixture(scope="module")
def grey(eye: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(eye).convert("L"))


def tiff(pixels: np.ndarray, photometric: str, order: str = "<", **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(
        file, pixels.astype(pixels.dtype.newbyteorder(order)), photometric=photometric, byteorder=order, **options
    )
    return file.getvalue()


def tiff_by_hand(grey: np.ndarray, bits: int, order: str, photometric: int, fill_order: int = 1) -> bytes:
    """Grey of any number of bits, packed."""
    height, width = grey.shape
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in grey.tolist()]
    text = "".join(row.ljust(-(-len(row) // 8) * 8, "0") for row in rows)
    parts = [text[i : i + 8] for i in range(0, len(text), 8)]
    data = bytes(int(part[::-1] if fill_order == 2 else part, 2) for part in parts)
    if bits == 16 and order == "<":
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (266, fill_order), (273, 8)]
    tags += [(277, 1), (278, height), (279, len(data))]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data))
    return start + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)


def png(grey: np.ndarray, bits: int, key: int | None) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + np.packbits([int(bit) for value in row for bit in f"{value:0{bits}b}"]).tobytes()
        for row in grey.tolist()
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], bits, 0, 0, 0, 0))
    transparent = b"" if key is None else chunk(b"tRNS", struct.pack(">H", key))
    return b"\x89PNG\r\n\x1a\n" + header + transparent + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    if expected.ndim == 2:
        expected = np.dstack([expected] * 3)
    return float(np.abs(found.astype(float) - expected).mean())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [None, "zlib"])
def test_tiff_of_every_depth_and_colour(order: str, packed: str | None, eye: np.ndarray, grey: np.ndarray):
    """Unless refused below, each is the picture itself, whatever the byte order and the compression."""
    deep, fine = eye.astype(np.uint16) * 257, grey.astype(np.uint16) * 257
    cmyk = np.asarray(Image.fromarray(eye).convert("CMYK"))
    opaque = np.full_like(grey, 255)
    palette = np.stack([np.arange(256)[::-1] * 257] * 3).astype(np.uint16)
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.fromarray(eye), to_lab)
    kinds = {
        "grey 8": (tiff(grey, "minisblack", order, compression=packed), grey),
        "white is zero 8": (tiff(255 - grey, "miniswhite", order, compression=packed), grey),
        "grey 16": (tiff(fine, "minisblack", order, compression=packed), grey),
        "grey 16 tiled": (tiff(fine, "minisblack", order, compression=packed, tile=(32, 32)), grey),
        "grey and alpha": (tiff(np.dstack([grey, opaque]), "minisblack", order, extrasamples=["unassalpha"]), grey),
        "RGB 8": (tiff(eye, "rgb", order, compression=packed), eye),
        "RGB 16": (tiff(deep, "rgb", order, compression=packed), eye),
        "RGB 8 planes": (tiff(eye.transpose(2, 0, 1), "rgb", order, planarconfig="separate", compression=packed), eye),
        "CMYK 8": (tiff(cmyk, "separated", order, compression=packed), eye),
        "CMYK 16": (tiff(cmyk.astype(np.uint16) * 257, "separated", order, compression=packed), eye),
        "palette": (tiff(255 - grey, "palette", order, colormap=palette, compression=packed), grey),
        "CIELAB": (tiff(np.asarray(lab), "cielab", order, compression=packed), eye),
    }
    if packed:
        ycbcr = np.asarray(Image.fromarray(eye).convert("YCbCr"))
        kinds["YCbCr"] = tiff(ycbcr, "ycbcr", order, subsampling=(1, 1), compression=packed), eye
    if not (packed and order == ">"):
        kinds["float"] = tiff(grey.astype(np.float32) / 255, "minisblack", order, compression=packed), grey
        white_is_zero = 1 - grey.astype(np.float32) / 255
        kinds["float, white is zero"] = tiff(white_is_zero, "miniswhite", order, compression=packed), grey
    if order == "<":
        kinds["white is zero 16"] = tiff(65535 - fine, "miniswhite", order, compression=packed), grey
    far = {name: value for name, (file, truth) in kinds.items() if (value := difference(load_image(file), truth)) > 1}
    assert not far


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("fill_order", [1, 2])
def test_tiff_of_every_number_of_bits(bits: int, order: str, photometric: int, fill_order: int, grey: np.ndarray):
    values = (grey.astype(int) * 257) >> (16 - bits)
    most = 2**bits - 1
    file = tiff_by_hand(values if photometric else most - values, bits, order, photometric, fill_order)
    try:
        found = load_image(file)
    except ImageError as error:  # 13 of these 48, by Pillow 12
        found, refusal = None, str(error)
    if found is None:
        assert bits >= 8
        assert fill_order == 2 or bits == 12 or photometric == 0
        assert "Pillow" in refusal or "raw mode" in refusal
    else:
        assert difference(found, np.rint(values * 255 / most)) < 0.01


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparent_grey_of_a_png_of_few_bits(bits: int, grey: np.ndarray):
    values, most = grey >> (8 - bits), 2**bits - 1
    expected = np.rint(values * (255 / most))
    assert difference(load_image(png(values, bits, None)), expected) == 0
    key = int(values[40, 60])
    expected[values == key] = 255
    file = png(values, bits, key)
    assert difference(load_image(file), expected) == 0
    with Image.open(io.BytesIO(file)) as picture:
        assert difference(load_image(picture), expected) == 0


@pytest.mark.parametrize(
    ("dtype", "options", "words"),
    [
        (np.int8, {"photometric": "minisblack"}, "a TIFF of signed integers"),
        (np.int16, {"photometric": "minisblack"}, "a TIFF of signed integers"),
        (np.uint32, {"photometric": "minisblack"}, "expected 0 to 65535"),
        (np.uint64, {"photometric": "minisblack"}, "a TIFF of a kind that Pillow does not read"),
        (np.float16, {"photometric": "minisblack"}, "a TIFF of a kind that Pillow does not read"),
        (np.float64, {"photometric": "minisblack"}, "a TIFF of a kind that Pillow does not read"),
        (np.float32, {"photometric": "minisblack", "order": ">", "compression": "zlib"}, "high byte first"),
        (np.int32, {"photometric": "minisblack", "order": ">", "compression": "zlib"}, "high byte first"),
        (np.uint16, {"photometric": "rgb", "planarconfig": "separate"}, "16-bit colours in planes of their own"),
        (np.uint8, {"photometric": "cielab", "planarconfig": "separate"}, "colours in planes of their own"),
        (np.float32, {"photometric": "rgb"}, "a TIFF of a kind that Pillow does not read"),
        (np.uint8, {"photometric": "ycbcr", "subsampling": (1, 1)}, "uncompressed YCbCr"),
        (np.uint8, {"photometric": "icclab"}, "a TIFF of a kind that Pillow does not read"),
    ],
)
def test_tiff_that_would_be_decoded_wrongly_is_refused(
    dtype: type, options: dict[str, object], words: str, eye: np.ndarray, grey: np.ndarray
):
    pixels = grey if options["photometric"] == "minisblack" else eye
    pixels = pixels.transpose(2, 0, 1) if options.get("planarconfig") else pixels
    pixels = pixels // 2 if np.dtype(dtype).kind == "i" else pixels
    scale = 1 if np.dtype(dtype).kind == "i" else 2 ** (8 * np.dtype(dtype).itemsize - 8) if dtype == np.uint32 else 1
    with pytest.raises(ImageError, match=words):
        load_image(tiff(pixels.astype(dtype) * dtype(scale), **options))


def test_the_same_picture_in_every_form_is_the_same(eye: np.ndarray, grey: np.ndarray, tmp_path: Path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "eye.png"
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for picture, truth in ((Image.fromarray(eye), eye), (Image.fromarray(grey), grey), (deep, grey)):
        picture.save(path)
        forms = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), Image.open(path), picture]
        for form in forms:
            assert difference(load_image(form), truth) == 0
        forms[4].close()
    for form in (eye, torch.from_numpy(eye).permute(2, 0, 1), torch.from_numpy(eye).permute(2, 0, 1) / 255):
        assert np.array_equal(load_image(form), eye)


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000")
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
def test_jpeg_2000(mode: str, eye: np.ndarray, grey: np.ndarray):
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    picture, file = deep if mode == "I;16" else Image.fromarray(eye).convert(mode), io.BytesIO()
    picture.save(file, "JPEG2000")
    assert difference(load_image(file.getvalue()), grey if mode in ("L", "I;16") else eye) == 0


def test_heic(eye: np.ndarray, tmp_path: Path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif, which writes HEIC, is not installed")
    path = tmp_path / "eye.heic"
    exif = Image.Exif()
    exif[274] = 6
    stored = Image.fromarray(np.ascontiguousarray(eye[::-1].swapaxes(0, 1)))  # stored lying, shown upright
    heif.from_pillow(stored).save(path, quality=-1, exif=exif.tobytes(), chroma=444)
    found = load_image(path)
    assert picture_size(path) == found.shape[:2]
    assert found.shape[:2] == (stored.height, stored.width)[::-1] == eye.shape[:2]
    turned = np.rot90(np.asarray(stored), -1)
    assert difference(found, turned) < 3
    assert np.array_equal(load_image(path.read_bytes()), found)


def test_heic_without_pillow_heif(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "OPEN", {name: entry for name, entry in Image.OPEN.items() if name != "HEIF"})
    with pytest.raises(ImageError, match=r"holds a HEIC picture; .*pip install pillow-heif"):
        load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "a PostScript drawing"),
        (b"\xc5\xd0\xd3\xc6" + bytes(60), "a PostScript drawing"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<!DOCTYPE html><title>404", "a web page"),
        (b"\xff\x0a" + bytes(30), "JPEG XL"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(content: bytes, words: str, tmp_path: Path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(content)
    for read in (load_image, picture_size):
        with pytest.raises(ImageError, match=words):
            read(path)


def test_no_program_is_run_on_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ghostscript, if it were asked, would leave a trace."""
    trace, gs = tmp_path / "trace", tmp_path / "bin" / "gs"
    gs.parent.mkdir()
    gs.write_text(f"#!/bin/sh\ntouch {trace}\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", str(gs.parent), prepend=":")
    assert shutil.which("gs") == str(gs)
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64), "red").save(path, "EPS")
    for read in (load_image, picture_size):
        with pytest.raises(ImageError, match="PostScript"):
            read(path)
    with Image.open(path) as picture, pytest.raises(ImageError, match="from a drawing, EPS"):
        load_image(picture)
    assert not trace.exists()


@pytest.mark.parametrize(
    "address",
    ["https://example.org/cat.jpg", "s3://bucket/cat.jpg", "file:///cat.jpg", "data:image/png;base64,iVBORw0KGgo="],
)
def test_addresses_are_not_read_and_said_so(address: str):
    with pytest.raises(ImageError, match=r"is an address; .*download it first"):
        load_image(address)
    if "//" in address:
        with pytest.raises(ImageError, match="is an address"):
            load_image(Path(address))  # which has lost a slash


def test_a_file_in_the_home_folder(eye: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Image.fromarray(eye).save(tmp_path / "eye.png")
    for path in ("~/eye.png", Path("~/eye.png")):
        assert np.array_equal(load_image(path), eye)
        assert picture_size(path) == (80, 120)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Image.fromarray(255 - eye).save("~eye.png")  # a name that only begins like a home folder
    assert np.array_equal(load_image("~eye.png"), 255 - eye)
    with pytest.raises((ImageError, FileNotFoundError)):
        load_image("~nobody-of-this-name/eye.png")


@pytest.mark.parametrize("turn", range(1, 9))
def test_size_of_a_turned_tiff(turn: int, eye: np.ndarray, tmp_path: Path):
    exif = Image.Exif()
    exif[274] = turn
    path = tmp_path / "eye.tif"
    Image.fromarray(eye).save(path, exif=exif)
    assert picture_size(path) == load_image(path).shape[:2] == ((80, 120) if turn < 5 else (120, 80))
