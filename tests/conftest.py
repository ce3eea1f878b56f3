"""Real photographs for the tests, from packages of the ``examples`` extra."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest


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
