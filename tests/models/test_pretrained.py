"""Saved models: what a folder holds, and what is refused in one from a stranger."""

import json

import numpy as np
import pytest

import semcorr
from semcorr import from_pretrained, save_pretrained
from semcorr.errors import ModelError
from semcorr.weights import BACKBONES, FOLDER


def test_a_model_without_weights_and_one_with_a_backbone_are_saved_too(cat, tmp_path):
    assert from_pretrained(save_pretrained(tmp_path / "a", name="nearest", stages=(3,))).name == "nearest"
    file = FOLDER / BACKBONES["tf_efficientnet_lite0"].file
    options = {"backbone": "tf_efficientnet_lite0", "grid": 8}
    folder = save_pretrained(tmp_path / "b", name="nearest", backbone_weights=file, **options)
    assert sorted(path.name for path in folder.iterdir()) == ["backbone.safetensors", "config.json"]
    found = from_pretrained(folder).match(cat, cat[:, 9:])
    expected = semcorr.load("nearest", backbone_weights=file, **options).match(cat, cat[:, 9:])
    assert np.array_equal(found.forward.points, expected.forward.points)


def test_nothing_is_left_to_be_downloaded(tmp_path):
    with pytest.raises(ValueError, match="'resnet50' needs backbone_weights"):
        save_pretrained(tmp_path, name="pmnc-universal", backbone="resnet50")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"model": "x"},
        {"model": 5},
        {"sha256": {"../x": "0"}},
        {"sha256": {"weights": "0"}},
        {"sha256": 5},
        {"options": 5},
        {"options": {"stages": 5}},
    ],
)
def test_configurations_from_strangers(tmp_path, change):
    folder = save_pretrained(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError):
        from_pretrained(folder)
