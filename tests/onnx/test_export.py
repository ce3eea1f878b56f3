"""The exported model gives the same as the model itself, on real photographs, in ONNX Runtime."""

import sys

import numpy as np
import pytest
import torch
from exported import Exported
from golden_answers import check

from semcorr.errors import ModelError, SemcorrError
from semcorr.image import load_image
from semcorr.models.torch_loading import load

pytest.importorskip("onnx", reason="onnx, of the extra torch, is not installed")
pytest.importorskip("onnxscript", reason="onnxscript, of the extra torch, is not installed")


@pytest.fixture(scope="module")
def matcher():
    return load("pmnc")


@pytest.fixture(scope="module")
def model_file(matcher, tmp_path_factory):
    from semcorr.onnx.export import export

    path = tmp_path_factory.mktemp("model") / "pmnc.onnx"
    export(matcher, path)
    return path


@pytest.fixture(scope="module")
def exported(model_file):
    return Exported(model_file)


def crops(cat, cheetah):
    """Landscape, portrait, narrow, and of odd sizes."""
    return {
        "whole": (cat, cheetah),
        "portrait": (cat[:, 100:251], cheetah),
        "narrow": (cat, cheetah[:, : cheetah.shape[0] // 6]),
        "odd": (cat[:, :313][:211], cheetah[:171, :471]),
    }


@pytest.mark.slow
def test_answers_are_as_recorded(exported):
    check("pmnc onnx", exported.match)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole", "portrait", "narrow", "odd"])
def test_same_as_in_torch(matcher, exported, cat, cheetah_path, name):
    from semcorr.onnx.export import FINE, JUDGED, OUTPUTS, FeatureGraph, MatchGraph

    pair = [np.ascontiguousarray(image) for image in crops(cat, load_image(cheetah_path))[name]]
    with torch.inference_mode():
        features = [FeatureGraph(matcher)(torch.from_numpy(exported.input_of(image))) for image in pair]
        expected = MatchGraph(matcher)(features[0][0], features[1][0])
    found = exported.run(*pair)
    assert list(found) == [*OUTPUTS, *JUDGED, *FINE]
    for key, values in zip((*OUTPUTS, *JUDGED), expected, strict=True):
        assert found[key].shape == values.shape
        # of nearly equal scores either may be the highest, which changes what is said of a cell's neighbours, too
        assert (np.abs(found[key] - values.numpy()) > 1e-3).mean() < 0.03, key


@pytest.mark.slow
def test_points_agree_with_the_default_search(matcher, exported, cat, cheetah_path):
    points = [(170, 115), (265, 243), (250, 40), (319, 137)]  # eyes, nose, forehead
    expected = matcher.match(cat, cheetah_path).transfer(points)
    answer = exported.match(cat, cheetah_path).transfer(points)
    assert answer.points == pytest.approx(expected.points, abs=1)
    assert answer.confidence == pytest.approx(expected.confidence, abs=0.15)


@pytest.mark.parametrize("name", ["ncnet", "ancnet"])
def test_four_dimensional_convolutions_are_refused_at_once(tmp_path, name):
    from semcorr.onnx.export import export

    with pytest.raises(ModelError, match=f"'{name}' cannot be exported: PyTorch's exporter does not finish"):
        export(load(name), tmp_path / "any.onnx")


def test_missing_extra_of_export(monkeypatch, tmp_path):
    from semcorr.onnx.export import export

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SemcorrError, match=r"pip install 'semcorr\[torch\]'"):
        export(None, tmp_path / "any.onnx")


def test_another_grid_is_refused(tmp_path):
    from semcorr.onnx.export import export

    with pytest.raises(ModelError, match="for a grid of 50 set the image size to 800; got 400"):
        export(load("nearest", grid=50), tmp_path / "any.onnx")
    with pytest.raises(ModelError, match="set the grid to 25"):
        export(load("pmnc-universal", grid=50, image_size=800), tmp_path / "any.onnx")


def test_another_precision_is_refused(tmp_path):
    from semcorr.onnx.export import export

    with pytest.raises(ModelError, match="only float32 models can be exported; got bfloat16"):
        export(load(precision="bfloat16"), tmp_path / "model.onnx")
