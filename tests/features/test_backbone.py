"""Backbones of other families are tested with random weights: theirs cannot be downloaded in a test."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semcorr.errors import ModelError
from semcorr.features import FeatureExtractor, FeatureMap, FeatureOptions


@pytest.fixture(scope="module")
def default() -> FeatureExtractor:
    return FeatureExtractor(FeatureOptions())


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_default_joins_stride_16_and_32(default):
    features = default.encode([picture(300, 400)])
    assert features.tensor.shape == (1, 112 + 320, 22, 29)
    assert features.image_sizes == ((300, 400),)
    assert features.strides[0] == pytest.approx((300 / 22, 400 / 29))
    norms = features.tensor.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    # each stage has half of the squared norm
    share = features.tensor[:, :112].square().sum(1)
    torch.testing.assert_close(share, torch.full_like(share, 0.5))


@pytest.mark.parametrize("size", [(313, 471), (64, 640), (640, 64), (8, 8), (2000, 1500)])
def test_any_picture_size(default, size):
    features = default.encode([picture(*size)])
    assert features.tensor.isfinite().all()
    assert features.grid[0] * features.grid[1] == pytest.approx(625, rel=0.1)


def test_batch_equals_one_by_one(default):
    pictures = [picture(300, 400, seed) for seed in (0, 1)]
    together = default.encode(pictures).tensor
    for row in (0, 1):
        torch.testing.assert_close(
            together[row : row + 1], default.encode([pictures[row]]).tensor, atol=1e-4, rtol=1e-3
        )


def test_batch_of_unlike_sizes_is_refused(default):
    with pytest.raises(ValueError, match="the same network size"):
        default.encode([picture(300, 400), picture(400, 300)])


def test_the_embedded_weights_know_a_cat(default, cat):
    """Features of a photograph and of its shifted copy agree cell by cell; those of noise do not."""
    shift = cat.shape[1] // 29 * 4
    a = default.encode([cat[:, :-shift]]).tensor
    b = default.encode([cat[:, shift:]]).tensor
    width = a.shape[3]
    cells = round(shift / ((cat.shape[1] - shift) / width))
    same = (a[..., cells:] * b[..., : width - cells]).sum(1).mean()
    other = (a[..., cells:] * default.encode([picture(300, 391)]).tensor[..., : width - cells]).sum(1).mean()
    assert same > 0.8 > other + 0.3


@pytest.mark.parametrize("grid", [16, 50])
def test_grid_is_the_callers_choice(grid):
    features = FeatureExtractor(FeatureOptions(grid=grid)).encode([picture(400, 400)])
    assert features.grid == (grid, grid)


@pytest.mark.parametrize(
    ("options", "channels", "grid"),
    [
        (FeatureOptions("resnet101", stages=(3,), weights="random"), 1024, (25, 25)),
        (FeatureOptions("resnet101", stages=(2,), grid=50, weights="random"), 512, (50, 50)),
        (FeatureOptions("resnet18", weights="random"), 256 + 512, (25, 25)),
        (FeatureOptions("vit_tiny_patch16_224", weights="random"), 192, (25, 25)),
        (FeatureOptions("convnext_atto", stages=(1, 2), weights="random"), 80 + 160, (25, 25)),
        (FeatureOptions("efficientvit_b0", weights="random"), 64 + 128, (25, 25)),
    ],
    ids=lambda value: value.backbone if isinstance(value, FeatureOptions) else "",
)
@pytest.mark.slow
def test_other_families(options, channels, grid):
    features = FeatureExtractor(options).encode([picture(400, 400)])
    assert features.tensor.shape == (1, channels, *grid)
    assert features.tensor.isfinite().all()


@pytest.mark.slow
def test_patch_14_gets_whole_patches():
    extractor = FeatureExtractor(FeatureOptions("vit_small_patch14_dinov2", image_size=196, weights="random"))
    height, width = extractor.input_size((300, 400))
    assert height % 14 == width % 14 == 0
    assert extractor.encode([picture(300, 400)]).tensor.shape == (1, 384, 22, 29)


def test_weights_from_a_file(tmp_path):
    import timm

    torch.manual_seed(5)
    network = timm.create_model("resnet18", pretrained=False)
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    extractor = FeatureExtractor(FeatureOptions("resnet18", weights=str(tmp_path / "resnet18.safetensors")))
    torch.testing.assert_close(extractor.network.state_dict()["conv1.weight"], network.conv1.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FeatureOptions("resnet_101"), r"unknown backbone 'resnet_101' — did you mean .*resnet101"),
        (FeatureOptions("resnet18", weights="none.safetensors"), "no backbone weights at none.safetensors"),
        (FeatureOptions("resnet18", stages=(9,), weights="random"), "cannot be built"),
        (FeatureOptions(stages=(0, 9)), "cannot be built"),
    ],
)
def test_what_cannot_be_built_is_said(options, message):
    with pytest.raises(ModelError, match=message) as caught:
        FeatureExtractor(options)
    assert "\n" not in str(caught.value)


def test_broken_weights_file(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot be built"):
        FeatureExtractor(FeatureOptions("resnet18", weights=str(tmp_path / "w.safetensors")))


def test_no_network_is_one_line():
    code = "from semcorr.features import *; FeatureExtractor(FeatureOptions('resnet18.a1_in1k'))"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": "no-such-cache"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    last = run.stderr.strip().splitlines()[-1]
    assert "ModelError: backbone 'resnet18.a1_in1k' cannot be built" in last
    assert "with no network, hand its weights in" in last


@pytest.mark.parametrize(("name", "value"), [("grid", 0), ("grid", 9999), ("image_size", 1), ("image_size", 2.5)])
def test_senseless_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        FeatureOptions(**{name: value})


def test_feature_map_checks_its_shape():
    with pytest.raises(ValueError, match="takes a"):
        FeatureMap(torch.zeros(2, 3, 4, 5), ((10, 10),))
