"""Files that `load_image` refuses, and what it leaves behind."""

from __future__ import annotations

import os
import random
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from picture_files import attempt, encoded, png, png_chunk, refused
from PIL import EpsImagePlugin, Image

from semcorr.errors import ImageError
from semcorr.image import MAX_PIXELS, MIN_SIDE, RASTER_FORMATS, load_image

pytestmark = pytest.mark.filterwarnings("error")  # ResourceWarning too: a file left open fails the test


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
    refused(path, "too large", "400 pixels at most", "Image.MAX_IMAGE_PIXELS")


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


# ---- what it leaves behind


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
