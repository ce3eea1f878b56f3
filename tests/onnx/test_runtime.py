"""The exported model gives the same as the model itself, on real photographs, and runs without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import semcorr
from semcorr.errors import ModelError, SemcorrError
from semcorr.image import load_image
from semcorr.onnx.runtime import load

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def matcher():
    model = semcorr.load("pmnc")
    model.judge = None  # an exported model has none
    return model


@pytest.fixture(scope="module")
def model_file(matcher, tmp_path_factory):
    from semcorr.onnx.export import export

    path = tmp_path_factory.mktemp("model") / "pmnc.onnx"
    export(matcher, path)
    return path


@pytest.fixture(scope="module")
def exported(model_file):
    return load(model_file, threads=1)


def crops(cat, cheetah):
    """Landscape, portrait, narrow, and of odd sizes."""
    return {
        "whole": (cat, cheetah),
        "portrait": (cat[:, 100:251], cheetah),
        "narrow": (cat, cheetah[:, : cheetah.shape[0] // 6]),
        "odd": (cat[:, :313][:211], cheetah[:171, :471]),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole", "portrait", "narrow", "odd"])
def test_same_as_torch_scoring_all_pairs(matcher, exported, cat, cheetah_path, name):
    pair = [np.ascontiguousarray(image) for image in crops(cat, load_image(cheetah_path))[name]]
    matcher.score.exhaustive = True
    expected = matcher.match(*pair)
    matcher.score.exhaustive = False
    answer = exported.match(*pair)
    for own, other in ((answer, expected), (answer.inverse(), expected.inverse())):
        assert own.forward.points.shape == other.forward.points.shape
        off = np.abs(own.forward.points - other.forward.points).max(axis=2)
        assert off.max() < 1  # a position halfway between two fine cells may be corrected around either
        assert (off > 0.1).mean() < 1e-3
        assert own.forward.confidence == pytest.approx(other.forward.confidence, abs=1e-3)


@pytest.mark.slow
def test_points_agree_with_the_default_search(matcher, exported, cat, cheetah_path):
    points = [(170, 115), (265, 243), (250, 40), (319, 137)]  # eyes, nose, forehead
    expected = matcher.match(cat, cheetah_path).transfer(points)
    answer = exported.match(cat, cheetah_path).transfer(points)
    assert answer.points == pytest.approx(expected.points, abs=1)


@pytest.mark.slow
def test_one_colour_has_no_confidence(exported, cat):
    match = exported.match(cat, np.full((90, 60, 3), 128, np.uint8))
    assert match.forward.confidence.max() == match.backward.confidence.max() == 0


@pytest.mark.slow
def test_command_without_torch(model_file, cat, cheetah_path, tmp_path):
    Image.fromarray(cat).save(tmp_path / "cat.png")
    command = ["match", tmp_path / "cat.png", cheetah_path, "--runtime", "onnx", "--model-file", model_file]
    command += ["--point", "170,115", "--json", "--out", tmp_path / "match.png"]
    code = "import sys; from semcorr.cli.app import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points"][0]["source"] == [170, 115]
    assert (tmp_path / "match.png").is_file()


def test_no_file(tmp_path):
    with pytest.raises(ModelError, match=r"no model file found at .*: create one with `semcorr export"):
        load(tmp_path / "none.onnx")


def test_broken_file(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"broken\.onnx is not a readable ONNX file") as raised:
        load(tmp_path / "broken.onnx")
    assert "\n" not in str(raised.value)


def _identity(path, **metadata):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_another_onnx_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="was not written by `semcorr export`"):
        load(_identity(tmp_path / "other.onnx"))


def test_another_format_version_is_refused(tmp_path):
    with pytest.raises(ModelError, match="has format 3, but this semcorr reads 2: export the model again"):
        load(_identity(tmp_path / "later.onnx", semcorr='{"format": 3}'))


def test_missing_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SemcorrError, match=r"pip install 'semcorr\[onnx\]'"):
        load(tmp_path / "any.onnx")


def test_missing_extra_of_export(monkeypatch, tmp_path):
    from semcorr.onnx.export import export

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SemcorrError, match=r"pip install 'semcorr\[onnx\]'"):
        export(None, tmp_path / "any.onnx")


def test_another_grid_is_refused(tmp_path):
    from semcorr.onnx.export import export

    with pytest.raises(ModelError, match="for a grid of 50 set the image size to 800; got 400"):
        export(semcorr.load("nearest", grid=50), tmp_path / "any.onnx")
    with pytest.raises(ModelError, match="set the grid to 25"):
        export(semcorr.load("pmnc-universal", grid=50, image_size=800), tmp_path / "any.onnx")


def test_another_precision_is_refused(tmp_path):
    from semcorr.onnx.export import export

    with pytest.raises(ModelError, match="only float32 models can be exported; got bfloat16"):
        export(semcorr.load(precision="bfloat16"), tmp_path / "model.onnx")
