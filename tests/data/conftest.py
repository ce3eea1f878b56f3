"""The data sets of `layouts`, built once from photographs at hand and copied for every test."""

from __future__ import annotations

import shutil
from pathlib import Path

import layouts
import numpy as np
import pytest
from file_server import Server
from PIL import Image

from semcorr.data.download import http as transfer


@pytest.fixture(scope="session")
def photographs(cat, cheetah_path, cheetah2_path, lion_path) -> dict[str, Image.Image]:
    originals = {
        "tabby": Image.fromarray(np.asarray(cat)),
        "cheetah": Image.open(cheetah_path),
        "lion": Image.open(lion_path),
        "cub": Image.open(cheetah2_path),
    }
    return {
        name: image.convert("RGB").resize(layouts.SIZES[name][::-1], Image.Resampling.BICUBIC)
        for name, image in originals.items()
    }


@pytest.fixture(scope="session")
def built(photographs, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("built")
    return {
        "keypoints": layouts.keypoints_json(root / "keypoints", photographs),
        "pf-pascal": layouts.pf_pascal(root / "pf-pascal", photographs),
        "pf-willow": layouts.pf_willow(root / "pf-willow", photographs),
        "spair-71k": layouts.spair(root / "spair-71k", photographs),
        "ap-10k": layouts.ap10k(root / "ap-10k", photographs),
    }


@pytest.fixture
def dataset(built, tmp_path):
    """Return a fresh copy of a data set, to be damaged."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(built[name], tmp_path / name))

    return copy


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 0.01)
