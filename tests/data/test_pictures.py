"""Pictures of a data set: listed in every format, and with the size that they are shown at."""

import json
import subprocess

import numpy as np
import pytest
from PIL import Image

from semcorr.data.check import check_dataset
from semcorr.data.formats.keypoints import load_pairs
from semcorr.data.pictures import BrokenPictureError, Sizes, check_picture, list_pictures
from semcorr.image import load_image

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


def test_every_raster_format_in_either_case_is_listed(tmp_path):
    (tmp_path / "cat").mkdir()
    names = ["a.jpg", "b.JPG", "c.jpeg", "d.png", "e.PNG", "f.webp", "g.tif", "h.TIFF", "i.bmp", "j.gif", "k.ppm"]
    for name in names:
        Image.fromarray(PIXELS).save(tmp_path / "cat" / name)
    (tmp_path / "cat" / "._a.jpg").write_bytes(b"\0\5\x16\7")  # macOS leaves these beside pictures
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "cat" / "folder.jpg").mkdir()
    (tmp_path / "loose.jpg").write_bytes(b"")
    assert [path.name for path in list_pictures(tmp_path)] == sorted(names)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_data_set_is_right_as_it_is_shown(tmp_path, suffix, orientation):
    """Size and pixels come from one reader: annotations of the picture as shown are right."""
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {0x0112: orientation}} if suffix == ".tif" else {"exif": exif}
    entries = []
    for name in "ab":
        path = tmp_path / "images" / f"{name}{suffix}"
        Image.fromarray(PIXELS).save(path, **options)
        height, width = load_image(path).shape[:2]
        assert (height, width) == ((20, 30) if orientation < 5 else (30, 20))
        assert Sizes()(path, "test") == (height, width)
        points = {"nose": [width - 1, height - 1]}
        entries.append({"file": path.name, "category": "cat", "width": width, "height": height, "keypoints": points})
    (tmp_path / "test.json").write_text(json.dumps(entries))
    (tmp_path / "test_pairs.json").write_text(json.dumps([[entry["file"] for entry in entries]]))
    assert load_pairs(tmp_path)[0].source.size == (entries[0]["height"], entries[0]["width"])
    report = check_dataset("keypoints", tmp_path)
    assert report.sound
    assert not report.outside
    if orientation >= 5:  # its twin in the frame of the raw file
        for entry in entries:
            entry["width"], entry["height"] = entry["height"], entry["width"]
        (tmp_path / "test.json").write_text(json.dumps(entries))
        assert not check_dataset("keypoints", tmp_path).sound


@pytest.mark.parametrize("name", ["EPS", "PDF"])
def test_a_drawing_is_refused_and_no_program_runs(tmp_path, monkeypatch, name):
    path = tmp_path / "drawing.jpg"
    Image.fromarray(PIXELS).save(path, format=name)

    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    for read in (check_picture, Sizes()):
        with pytest.raises(BrokenPictureError, match=r"drawing\.jpg cannot be used"):
            read(path, "test")


def test_the_real_cases(request):
    """Sets of the kind that was once refused, or passed and scored 0, where the development machine has them."""
    from pathlib import Path

    cases = Path(__file__).resolve().parents[3] / "shared" / "cases"
    if not cases.is_dir():
        pytest.skip(f"{cases} is not here")
    assert check_dataset("keypoints", cases / "tiff_orientation_dataset").sound
    assert len(load_pairs(cases / "tiff_orientation_dataset")) > 0
    report = check_dataset("keypoints", cases / "eps_named_jpg")
    assert report.broken
