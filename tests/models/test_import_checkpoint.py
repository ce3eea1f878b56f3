"""Imported checkpoints compute the same as the authors' layout defines, and hostile files execute nothing."""

import argparse
import io
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from semcorr.cli.app import app
from semcorr.errors import ModelError
from semcorr.features import FeatureExtractor, FeatureMap
from semcorr.models.building import build
from semcorr.models.import_checkpoint import import_checkpoint
from semcorr.weights import write_weights


def filters(out, channels, *kernel):
    """4-D filters as their code keeps them: the first kernel axis first."""
    return torch.randn(kernel[0], out, channels, *kernel[1:]) * (channels * np.prod(kernel)) ** -0.5


def ncnet_state():
    shapes = {0: (4, 1, 5, 5, 5, 5), 2: (4, 4, 3, 3, 3, 3), 4: (1, 4, 3, 3, 3, 3)}
    state = {f"NeighConsensus.conv.{layer}.weight": filters(*shape) for layer, shape in shapes.items()}
    return state | {f"NeighConsensus.conv.{layer}.bias": torch.rand(shape[0]) for layer, shape in shapes.items()}


def ancnet_state():
    shapes = {"conv0.0": (3, 1, 3, 3, 5, 5), "conv1.0": (3, 1, 5, 5, 5, 5), "conv2.0": (6, 6, 5, 5, 5, 5)}
    shapes["conv2.2"] = (1, 6, 5, 5, 5, 5)
    state = {f"NeighConsensus.{name}.weight": filters(*shape) for name, shape in shapes.items()}
    state |= {f"NeighConsensus.{name}.bias": torch.rand(shape[0]) for name, shape in shapes.items()}
    for name, (out, inside) in {"conv": (64, 25), "conv1": (32, 64), "conv2": (32, 32)}.items():
        state |= {f"SS.{name}.weight": 0.1 * torch.randn(out, inside, 3, 3), f"SS.{name}.bias": torch.rand(out)}
    return state


@pytest.fixture(scope="module")
def resnet():
    """torchvision's ResNet-101 to layer3 as their Sequential, with random weights and running statistics."""
    from torchvision.models import resnet101

    torch.manual_seed(0)
    whole = resnet101(weights=None)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    network = torch.nn.Sequential(*(getattr(whole, name) for name in names)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
            module.bias.data.uniform_(-0.1, 0.1)
    return network


def save(path, state, resnet=None, prefix="", **keywords):
    if resnet is not None:
        state = {f"FeatureExtraction.model.{key}": value for key, value in resnet.state_dict().items()} | state
    content = {
        "epoch": 5,
        "args": argparse.Namespace(lr=5e-4, ncons_kernel_sizes=[5, 5, 5], ncons_channels=[16, 16, 1], image_size=400),
        "state_dict": {prefix + key: value for key, value in state.items()},
        "best_test_loss": np.float64(-0.1),
        "train_loss": np.zeros(5),
    }
    torch.save(content, path, **keywords)
    return path


def their_conv4d(data, weight, bias):
    """The definition that their layout belongs to: slices of the first axis, each by one slice of the filter."""
    rows, reach = data.shape[2], weight.shape[0] // 2
    padding = [size // 2 for size in weight.shape[3:]]
    output = []
    for row in range(rows):
        total = torch.zeros(())
        for tap in range(weight.shape[0]):
            if 0 <= row + tap - reach < rows:
                total = total + F.conv3d(data[:, :, row + tap - reach], weight[tap], padding=padding)
        output.append(total + bias.view(-1, 1, 1, 1))
    return torch.stack(output, dim=2)


def their_mutual_matching(maps):
    best_a = maps.flatten(4).amax(4)[..., None, None] + 1e-5
    best_b = maps.flatten(2, 3).amax(2)[:, :, None, None] + 1e-5
    return maps * ((maps / best_a) * (maps / best_b))


def their_stack(state, maps, *names):
    for name in names:
        maps = F.relu(their_conv4d(maps, state[f"{name}.weight"], state[f"{name}.bias"]))
    return maps


def both_ways(run, maps):
    swap = (0, 1, 4, 5, 2, 3)
    return run(maps) + run(maps.permute(swap)).permute(swap)


def correlate(a, b):
    return torch.einsum("bchw,bcij->bhwij", a, b)[:, None]


def their_ncnet(state, a, b):
    names = [f"NeighConsensus.conv.{layer}" for layer in (0, 2, 4)]
    maps = both_ways(lambda x: their_stack(state, x, *names), their_mutual_matching(correlate(a, b)))
    return their_mutual_matching(maps)[:, 0]


def their_ancnet(state, a, b):
    def network(maps):
        first = [
            both_ways(lambda x, n=n: their_stack(state, x, f"NeighConsensus.{n}"), maps) for n in ("conv0.0", "conv1.0")
        ]
        rest = ("NeighConsensus.conv2.0", "NeighConsensus.conv2.2")
        return both_ways(lambda x: their_stack(state, x, *rest), torch.cat(first, 1))

    def descriptor(features):
        padded, (h, w) = F.pad(features, (2, 2, 2, 2)), features.shape[2:]
        local = torch.zeros(1, 25, h, w)
        for column in range(5):
            for row in range(5):
                local[:, column * 5 + row] = (padded[:, :, row : row + h, column : column + w] * features).sum(1)
        first = F.relu(F.conv2d(local, state["SS.conv.weight"], state["SS.conv.bias"], padding=1))
        second = F.relu(F.conv2d(first, state["SS.conv1.weight"], state["SS.conv1.bias"], padding=1))
        return torch.cat([local, first, second], 1)

    def ncnet(maps):
        return their_mutual_matching(network(their_mutual_matching(maps)))

    return (0.5 * ncnet(correlate(a, b)) + 0.5 * ncnet(correlate(descriptor(a), descriptor(b))))[:, 0]


@pytest.mark.parametrize(
    ("kind", "state", "definition", "prefix", "old"),
    [("ncnet", ncnet_state, their_ncnet, "", True), ("ancnet", ancnet_state, their_ancnet, "module.", False)],
)
@torch.inference_mode()
def test_converted_models_compute_what_their_layout_defines(tmp_path, resnet, kind, state, definition, prefix, old):
    torch.manual_seed(1)
    tensors = state()
    path = save(tmp_path / f"{kind}.pth.tar", tensors, resnet, prefix, _use_new_zipfile_serialization=not old)
    imported = import_checkpoint(kind, path)
    recipe, matcher, *_ = build(imported.model)
    images = torch.rand(2, 3, 96, 80)
    normalised = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    their_features = F.normalize(resnet(normalised), dim=1)
    write_weights(tmp_path / "backbone.safetensors", imported.backbone)
    extractor = FeatureExtractor(replace(recipe.features, weights=str(tmp_path / "backbone.safetensors")))
    ours = extractor(images, (6, 5))
    torch.testing.assert_close(ours, their_features, atol=1e-4, rtol=1e-3)
    source, target = (FeatureMap(feature[None], ((96, 80),)) for feature in ours)
    expected = definition(tensors, source.tensor, target.tensor)
    values = matcher.consensus_map(source.tensor, target.tensor)
    assert expected.amax() > 0
    assert (values - expected).abs().max() <= 1e-5 * expected.amax()
    assert matcher(source, target).flatten(3).argmax(3).equal(expected.flatten(3).argmax(3))


def test_the_command_writes_two_loadable_files(tmp_path, resnet):
    import semcorr

    path = save(tmp_path / "published.pth.tar", ncnet_state(), resnet)
    result = CliRunner().invoke(app, ["import", "ncnet", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    model, backbone = result.stdout.split()
    loaded = semcorr.load("ncnet", weights=model, backbone_weights=backbone, grid=4, image_size=64)
    assert loaded.features.options.backbone == "resnet101.tv_in1k"
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    assert loaded.match(picture, picture).forward.points.shape == (4, 4, 2)


class Trap:
    def __reduce__(self):
        import os

        return (os.mkdir, ("executed",))


class NamespaceTrap(argparse.Namespace):
    def __reduce__(self):
        return (exec, ("import os; os.mkdir('executed')",))


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")
    return buffer.getvalue()


def saved(content, **keywords):
    buffer = io.BytesIO()
    torch.save(content, buffer, **keywords)
    return buffer.getvalue()


GOOD = saved({"state_dict": ncnet_state()})
OLD = saved({"state_dict": ncnet_state()}, _use_new_zipfile_serialization=False)
HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "truncated": GOOD[: len(GOOD) // 2],
    "truncated old": OLD[: len(OLD) // 2],
    "cut by a byte": OLD[:-1],
    "pickle": pickle.dumps(Trap()),
    "pickle in a zip": zipped(pickle.dumps({"state_dict": Trap()})),
    "trap beside a state dict": saved({"state_dict": ncnet_state(), "args": Trap()}),
    "trap in the old format": saved({"args": Trap()}, _use_new_zipfile_serialization=False),
    "trap for the Namespace": saved({"state_dict": ncnet_state(), "args": NamespaceTrap()}),
    "no state dict": saved({"model": {}}),
    "a list": saved([1, 2]),
    "a tensor": saved(torch.zeros(3)),
    "numbered": saved({"state_dict": {0: torch.zeros(1)}}),
}


@pytest.mark.parametrize("kind", ["ncnet", "ancnet"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line_without_running(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ModelError) as caught:
        import_checkpoint(kind, path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(path) in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_the_hostile_files_run_when_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.load(io.BytesIO(HOSTILE["trap beside a state dict"]), weights_only=False)
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_huge_files_are_refused_without_reading_them(compression, tmp_path, monkeypatch):
    monkeypatch.setattr("semcorr.models.import_checkpoint.MAX_BYTES", 1 << 20)
    path = tmp_path / "huge.pth.tar"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 21))
    with pytest.raises(ModelError, match="GiB"):
        import_checkpoint("ncnet", path)


def without(key):
    return {name: value for name, value in ncnet_state().items() if name != key}


WEIGHT, BIAS = "NeighConsensus.conv.2.weight", "NeighConsensus.conv.2.bias"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "expected filters"),
        (without(WEIGHT), "found layers"),
        (without(BIAS), "conv.2.bias is missing"),
        (ncnet_state() | {WEIGHT: torch.zeros(3, 4, 4, 3, 3)}, "six axes"),
        (ncnet_state() | {WEIGHT: torch.zeros(2, 4, 4, 3, 3, 3)}, "odd kernel sizes"),
        (ncnet_state() | {WEIGHT: torch.zeros(3, 4, 4, 3, 3, 5)}, "differ between axes"),
        (ncnet_state() | {WEIGHT: torch.zeros(3, 4, 7, 3, 3, 3)}, "do not match"),
        (ncnet_state() | {BIAS: torch.zeros(5)}, r"must have shape \(4,\)"),
        (ncnet_state() | {WEIGHT: torch.full((3, 4, 4, 3, 3, 3), torch.nan)}, "not finite"),
        (ncnet_state() | {WEIGHT: torch.zeros(3, 4, 4, 3, 3, 3, dtype=torch.long)}, "floating point"),
        (ncnet_state() | {WEIGHT: torch.zeros(1).expand(11, 1 << 20, 1 << 20, 11, 11, 11)}, "contains fewer"),
        (ncnet_state(), "FeatureExtraction.model.0.weight is missing"),
        (ncnet_state() | {"FeatureExtraction.model.0.weight": torch.zeros(64, 3, 3, 3)}, "as in ResNet-101"),
    ],
)
def test_wrong_contents_are_described(state, message, tmp_path):
    with pytest.raises(ModelError, match=message) as caught:
        import_checkpoint("ncnet", save(tmp_path / "wrong.pth.tar", state))
    assert "\n" not in str(caught.value)


def test_one_kind_is_not_mistaken_for_the_other(tmp_path):
    with pytest.raises(ModelError, match="layout of a published ancnet checkpoint"):
        import_checkpoint("ancnet", save(tmp_path / "a.pth.tar", ncnet_state()))
    with pytest.raises(ModelError, match="layout of a published ncnet checkpoint"):
        import_checkpoint("ncnet", save(tmp_path / "b.pth.tar", ancnet_state()))


def test_missing_file_and_unknown_kind(tmp_path):
    with pytest.raises(FileNotFoundError):
        import_checkpoint("ncnet", tmp_path / "none.pth.tar")
    result = CliRunner().invoke(app, ["import", "pmnc", str(tmp_path)])
    assert result.exit_code == 2
