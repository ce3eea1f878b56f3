"""The network in ONNX Runtime computes what the torch modules compute."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import semcorr
from semcorr.errors import ModelError
from semcorr.features import FeatureExtractor, FeatureOptions
from semcorr.features.architecture import SCALES
from semcorr.features.light.extractor import LightExtractor, folded, resizing
from semcorr.features.light.graph import Graph
from semcorr.features.light.network import Architecture
from semcorr.models.torch_loading import load as load_on_torch

TOLERANCE = 2e-5
SIZES = [(400, 400), (352, 464), (208, 336), (112, 96), (48, 32)]
GRIDS = [(25, 25), (22, 29), (50, 50), (64, 48), (9, 13), (2, 3)]


@pytest.fixture(scope="module", params=["pmnc", "pmnc-universal"])
def both(request):
    return semcorr.load(request.param).features, load_on_torch(request.param).features


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("size", SIZES)
def test_features_are_those_of_torch(both, size, grid):
    light, network = both
    pixels = np.random.default_rng(0).random((3, *size), dtype=np.float32)
    with torch.inference_mode():
        expected = network.describe(torch.from_numpy(pixels)[None], grid)
    for own, other in zip(light.describe(pixels, grid), expected, strict=True):
        assert (own is None) == (other is None)
        if other is not None:
            np.testing.assert_allclose(own, other.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("stages", [None, (-1,), (0, 2), (1,), (3,)])
def test_any_stages_are_those_of_torch(cat, stages):
    light, network = (load("nearest", stages=stages) for load in (semcorr.load, load_on_torch))
    for image in (cat, np.ascontiguousarray(cat[:211, :173])):
        own, other = light.encode(image).features.tensor, network.encode(image).features.tensor
        np.testing.assert_allclose(own, other.numpy(), atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCALES if name != "tf_efficientnet_lite0"])
def test_other_scales_are_those_of_torch(name):
    options = FeatureOptions(name, image_size=96, grid=6, weights="random")
    network = FeatureExtractor(options)
    weights = {f"backbone.{key}": value.numpy() for key, value in network.network.state_dict().items()}
    light = LightExtractor(options, Architecture(name, (3, 4)), weights)
    pixels = np.random.default_rng(0).random((3, 96, 80), dtype=np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)[None], (6, 5))
    np.testing.assert_allclose(light.describe(pixels, (6, 5))[0], expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("size", "new"), [(25, 50), (13, 25), (25, 13), (7, 7), (50, 3), (1, 4), (4, 1), (29, 22)])
def test_resizing_is_that_of_torch(size, new, antialias):
    values = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.nn.functional.interpolate(values, (new, new), mode="bilinear", antialias=antialias)[0, 0]
    matrix = resizing(size, new, antialias)
    np.testing.assert_allclose(matrix @ values[0, 0].numpy() @ matrix.T, expected.numpy(), atol=1e-6)


def test_onnx_accepts_the_graph():
    onnx = pytest.importorskip("onnx", reason="onnx, of the extra torch, is not installed")
    from semcorr.features.light.network import describe

    described = describe(Architecture("tf_efficientnet_lite0", (3, 4), 256, 64, (0.4, 0.99)), 300)
    model = onnx.load_from_string(described.content)
    external = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer if tensor.external_data}
    assert external == described.weights
    dilations = [list(one.ints) for node in model.graph.node for one in node.attribute if one.name == "dilations"]
    assert dilations == [[300, 300]] * 2
    for tensor in model.graph.initializer:  # the checker would look for the files
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        if tensor.name in external:
            tensor.raw_data = bytes(4 * int(np.prod(tensor.dims)))
    onnx.checker.check_model(model, full_check=True)


def test_numbers_below_zero_are_written():
    onnx = pytest.importorskip("onnx", reason="onnx, of the extra torch, is not installed")
    graph = Graph()
    graph.output(graph.add("Flatten", "x", axis=-1), "y")
    model = onnx.load_from_string(graph.serialise({"x": 4}, {"y": 2}))
    assert model.graph.node[0].attribute[0].i == -1


def test_weights_that_do_not_fit():
    architecture, good = Architecture("tf_efficientnet_lite0", (3, 4)), semcorr.load("nearest").features._weights
    name = "backbone.blocks.3.0.conv_dw.weight"
    for weights, reason in (
        ({key: value for key, value in good.items() if key != name}, f"{name} is missing"),
        ({**good, name: good[name][:3]}, rf"{name} has shape \(3, 1, 3, 3\); expected \(240, 1, 3, 3\)"),
    ):
        with pytest.raises(ModelError, match=reason):
            LightExtractor(FeatureOptions(), architecture, weights)


def test_batch_norms_are_folded_as_torch_folds_them():
    from semcorr.weights import BACKBONES

    own = folded(BACKBONES["tf_efficientnet_lite0"].arrays().tensors)
    other = FeatureExtractor(FeatureOptions()).network.state_dict()
    assert own.keys() == other.keys()
    for name, values in own.items():
        np.testing.assert_allclose(values, other[name].numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["pmnc", "pmnc-universal", "nearest"])
def test_torch_is_not_imported(name):
    code = (
        "import sys, json, numpy as np, semcorr\n"
        "picture = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)\n"
        f"match = semcorr.load({name!r}).match(picture, picture, rotations=2)\n"
        "print(json.dumps([m for m in sys.modules if m.split('.')[0] in ('torch', 'timm', 'torchvision')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    "options",
    [
        {"name": "ncnet"},
        {"name": "ancnet"},
        {"precision": "bfloat16"},
        {"backbone": "resnet18"},
        {"device": "cuda"},
        {"name": "nearest", "backbone_weights": "random"},
    ],
)
def test_what_needs_torch_names_the_extra(options, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        semcorr.SemcorrError, match=r"^this needs torch, which is not installed: pip install 'semcorr\[torch\]'$"
    ):
        semcorr.load(**options)


def test_threads_share_a_model(cat, cheetah_path):
    from concurrent.futures import ThreadPoolExecutor

    model = semcorr.load()
    expected = model.match(cat, cheetah_path).forward.points
    with ThreadPoolExecutor(4) as pool:
        for match in pool.map(lambda _: model.match(cat, cheetah_path), range(8)):
            np.testing.assert_allclose(match.forward.points, expected, atol=1e-3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_forked_child_matches_and_exits(threads):
    """Its parent's threads are not there; neither matching nor leaving may wait for them."""
    code = (
        "import os, sys, numpy as np, semcorr\n"
        "picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)\n"
        "model = semcorr.load(grid=8, image_size=128)\n"
        "expected = model.match(picture, picture).forward.points\n"
        "child = os.fork()\n"
        "found = model.match(picture, picture).forward.points\n"
        "same = np.allclose(found, expected, atol=1e-3)\n"
        "sys.exit(0 if same and (child == 0 or os.waitpid(child, 0)[1] == 0) else 1)"
    )
    environment = os.environ | {"SEMCORR_NUM_THREADS": threads}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def test_a_copy_computes_the_same(cat):
    features = semcorr.load().features
    copy = pickle.loads(pickle.dumps(features))
    assert copy.key == features.key
    assert np.array_equal(copy.encode(cat).tensor, features.encode(cat).tensor)


def test_nothing_is_reported_to_anybody(tmp_path):
    """ONNX Runtime's telemetry would keep a file in the user's folder, and leave a thread behind."""
    code = (
        "import os, numpy as np, semcorr\n"
        "picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)\n"
        "before = len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 0\n"
        "semcorr.load(grid=8, image_size=128).match(picture, picture)\n"
        "after = len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 0\n"
        "print(after - before, 'ORT_DISABLE_TELEMETRY' in os.environ)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"SEMCORR_NUM_THREADS": "1", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["0", "False"]
    assert list(tmp_path.iterdir()) == []
