"""Real photographs for the tests, from packages of the ``examples`` extra, and small data sets made of them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import layouts
import numpy as np
import pytest
from PIL import Image

from semcorr.cli import main
from semcorr.native.loader import LEVELS, core, levels


def _at_level(level, monkeypatch):
    if level != "off" and level not in levels():
        pytest.skip(f"this processor has no {level}" if levels() else "the native core is not compiled")
    monkeypatch.setenv("SEMCORR_NATIVE", level)
    core.cache_clear()
    yield level
    core.cache_clear()


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    """Run a test at every level of the native core."""
    yield from _at_level(request.param, monkeypatch)


@pytest.fixture(params=[*LEVELS, "off"])
def native(request, monkeypatch):
    """Run a test at every level of the native core, and without it."""
    yield from _at_level(request.param, monkeypatch)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium, one for all tests."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromedriver here to open the page in")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
        *("disable-background-networking", "disable-component-update", f"user-data-dir={profile}"),
        "use-fake-device-for-media-stream",  # a camera
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def cat() -> np.ndarray:
    """scikit-image's photograph of the cat Chelsea, (300, 451, 3) uint8."""
    data = pytest.importorskip("skimage.data", reason="scikit-image, with its photograph of a cat, is not installed")
    return np.array(data.chelsea())


def _gradio_photograph(name: str) -> Path:
    spec = importlib.util.find_spec("gradio")  # found, not imported: that takes seconds
    for folder in (spec and spec.submodule_search_locations) or []:
        if (path := Path(folder, name)).is_file():
            return path
    pytest.skip(f"gradio, with its photograph {name}, is not installed")


@pytest.fixture(scope="session")
def cheetah_path() -> Path:
    return _gradio_photograph("media_assets/images/cheetah1.jpg")


@pytest.fixture(scope="session")
def cheetah2_path() -> Path:
    return _gradio_photograph("test_data/cheetah2.jpg")


@pytest.fixture(scope="session")
def lion_path() -> Path:
    return _gradio_photograph("media_assets/images/lion.jpg")


@pytest.fixture(scope="session")
def shared_keypoints() -> Path:
    """Return the folder of real photographs with keypoints that development machines have beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "keypoints"
    folder = Path(os.environ.get("SEMCORR_KEYPOINTS", beside))
    if not (folder / "test.json").is_file():
        pytest.skip(f"no photographs with keypoints in {folder}: set SEMCORR_KEYPOINTS to their folder")
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory, cat):
    """Twelve pairs of four crops of one photograph: the truth is known to the pixel."""
    root = tmp_path_factory.mktemp("pairs")
    (root / "images").mkdir()
    entries = []
    for shift in (0, 10, 30, 50):
        Image.fromarray(np.ascontiguousarray(cat[:, shift : shift + 400])).save(root / "images" / f"{shift}.png")
        points = {"nose": [265 - shift, 243], "eye": [170 - shift, 115], "other_eye": [319 - shift, 137]}
        entries.append(
            {"file": f"{shift}.png", "category": "cat", "width": 400, "height": 300, "bbox": None, "keypoints": points}
        )
    names = [entry["file"] for entry in entries]
    (root / "test.json").write_text(json.dumps(entries))
    (root / "test_pairs.json").write_text(json.dumps([[a, b] for a in names for b in names if a != b]))
    return root


@pytest.fixture(scope="session")
def photographs(cat, cheetah_path, cheetah2_path, lion_path) -> dict[str, Image.Image]:
    """The photographs of `layouts`, in the sizes that it knows."""
    originals = {
        "tabby": Image.fromarray(cat),
        "cheetah": Image.open(cheetah_path),
        "lion": Image.open(lion_path),
        "cub": Image.open(cheetah2_path),
    }
    return {name: image.convert("RGB").resize(layouts.SIZES[name][::-1]) for name, image in originals.items()}


@pytest.fixture(scope="session")
def built(photographs, tmp_path_factory) -> dict[str, Path]:
    """Every public data set's layout, with the truth that `layouts` knows."""
    root = tmp_path_factory.mktemp("built")
    return {
        "keypoints": layouts.keypoints_json(root / "keypoints", photographs),
        "pf-pascal": layouts.pf_pascal(root / "pf-pascal", photographs),
        "pf-willow": layouts.pf_willow(root / "pf-willow", photographs),
        "spair-71k": layouts.spair(root / "spair-71k", photographs),
        "ap-10k": layouts.ap10k(root / "ap-10k", photographs),
    }


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in this process, in the test's folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["semcorr", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return run
