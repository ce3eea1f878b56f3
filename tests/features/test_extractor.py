"""Backbones of other families are tested with random weights, because tests cannot download theirs."""

import os
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from packaging.version import Version
from safetensors.torch import save_file

import semcorr
from semcorr.errors import ModelError
from semcorr.features import FeatureExtractor, FeatureMap, FeatureOptions
from semcorr.features.extractor import any_size
from semcorr.models.torch_loading import load


@pytest.fixture(scope="module")
def default() -> FeatureExtractor:
    return FeatureExtractor(FeatureOptions())


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_default_uses_stride_16_and_32(default):
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
def test_any_image_size(default, size):
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


def test_batch_of_different_sizes_is_refused(default):
    with pytest.raises(ValueError, match="the same input size and grid"):
        default.encode([picture(300, 400), picture(400, 300)])


def test_batch_of_different_grids_is_refused(default):
    extractor = FeatureExtractor(FeatureOptions(image_size=64))
    pictures = [picture(300, 300), picture(300, 320)]
    assert extractor.input_size((300, 300)) == extractor.input_size((300, 320))
    with pytest.raises(ValueError, match="the same input size and grid"):
        extractor.encode(pictures)


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


@pytest.mark.parametrize("model", ["pmnc", "nearest"])
def test_half_precision_gives_nearly_the_same_features(model, cat):
    exact, rough = (load(model, precision=name).encode(cat).features.tensor for name in ("float32", "bfloat16"))
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.norm(dim=1), torch.ones_like(rough[:, 0]), atol=1e-5, rtol=0)
    cosine = (exact * rough).sum(1)
    assert 0.99 < cosine.mean() < 0.99999


def test_key_depends_on_precision():
    keys = {FeatureExtractor(FeatureOptions(), precision=name).key for name in ("float32", "bfloat16", "float32")}
    assert len(keys) == 2
    with pytest.raises(ValueError, match="precision must be 'float32' or 'bfloat16'; got 'float16'"):
        FeatureExtractor(FeatureOptions(), precision="float16")


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


@pytest.mark.slow
def test_dinov2_works_by_its_name_alone(cat):
    match = semcorr.load(backbone="vit_small_patch14_dinov2", backbone_weights="random").match(cat, cat)
    assert match.forward.confidence.shape == (20, 31)


def test_a_plain_vit_gives_its_last_block():
    extractor = FeatureExtractor(FeatureOptions("vit_tiny_patch16_224", weights="random"))
    assert extractor.network.feature_info.out_indices == (11,)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "test_mambaout"])
@pytest.mark.slow
def test_channels_last_is_permuted(name):
    """Both stages of a picture of random squares change where the picture changes, and not elsewhere."""
    extractor = FeatureExtractor(FeatureOptions(name, weights="random"))
    first, second = picture(384, 384), picture(384, 384)
    second[:128, 256:] = 0
    a, b = (extractor.encode([image]).tensor for image in (first, second))
    assert a.shape == (1, sum(extractor.network.feature_info.channels()), 25, 25)
    change = (a - b).square().sum(1)[0]
    assert change[:7, 18:].mean() > 3 * change[13:, :12].mean()


@pytest.mark.parametrize("name", ["levit_128s", "test_maxvit"])
def test_a_network_of_fixed_size_is_refused(name):
    if name not in timm.list_models():
        pytest.skip(f"this timm has no {name}")
    with pytest.raises(ModelError, match=r"cannot process an image of \d+ × \d+ pixels: .*accepts images of any size"):
        FeatureExtractor(FeatureOptions(name, weights="random"))


@pytest.mark.slow
def test_a_network_that_requires_multiples_of_its_coarsest_stride():
    extractor = FeatureExtractor(FeatureOptions("dla46_c", weights="random"))
    assert extractor.input_size((300, 400)) == (320, 448)
    assert extractor.encode([picture(300, 400)]).grid == (22, 29)


class Pickled:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def weights_file(path, name="resnet18", drop=(), **changes):
    import timm

    torch.manual_seed(5)
    tensors = timm.create_model(name, pretrained=False).state_dict()
    save_file({key: value for key, value in (tensors | changes).items() if key not in drop}, path)
    return tensors, FeatureOptions(name, image_size=64, weights=str(path))


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("resnet18", "layer4.1.conv1.weight", "layer4.1.conv1.weight"),
        ("test_vit", "model.blocks.5.mlp.fc2.weight", "blocks.5.mlp.fc2.weight"),
        ("swinv2_cr_tiny_ns_224", "stages_3.blocks.1.mlp.fc2.weight", "stages.3.blocks.1.mlp.fc2.weight"),
    ],
)
def test_weights_from_a_file(tmp_path, name, ours, theirs):
    if name.startswith("swinv2_cr") and Version(timm.__version__) < Version("1.0.31"):
        pytest.skip("before timm 1.0.31, its Swin V2 CR accepts images of one size only")
    tensors, options = weights_file(tmp_path / "w.safetensors", name)
    network = FeatureExtractor(options).network
    torch.testing.assert_close(network.state_dict()[ours], tensors[theirs], atol=1e-4, rtol=1e-3)


def test_a_classifier_may_be_missing_or_of_other_classes(tmp_path):
    _, options = weights_file(tmp_path / "none.safetensors", drop=("fc.weight", "fc.bias"))
    FeatureExtractor(options)
    _, options = weights_file(tmp_path / "other.safetensors", **{"fc.weight": torch.zeros(3, 512)})
    FeatureExtractor(options)


@pytest.mark.parametrize(
    ("drop", "changes", "message"),
    [
        (("layer3.0.conv1.weight", "layer4.0.conv1.weight"), {}, "layer3.0.conv1.weight and 1 more missing for"),
        ((), {"layer9.weight": torch.zeros(1)}, "layer9.weight not known to"),
        ((), {"conv1.weight": torch.zeros(64, 3, 3, 3)}, "conv1.weight of another shape than in"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, drop, changes, message):
    _, options = weights_file(tmp_path / "w.safetensors", drop=drop, **changes)
    with pytest.raises(ModelError, match=message):
        FeatureExtractor(options)


@pytest.mark.parametrize("ending", ["safetensors", "pth", "bin"])
def test_a_pickle_is_never_opened(tmp_path, ending):
    torch.save({"conv1.weight": Pickled(tmp_path / "run")}, tmp_path / f"w.{ending}")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        FeatureExtractor(FeatureOptions("resnet18", weights=str(tmp_path / f"w.{ending}")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FeatureOptions("resnet_101"), r"unknown backbone 'resnet_101' — did you mean .*resnet101"),
        (FeatureOptions("resnet18", weights="none.safetensors"), "no backbone weights found at none.safetensors"),
        (
            FeatureOptions("resnet18", stages=(9,), weights="random"),
            r"distinct stages from 0 to 4, .*\[2, 4, 8, 16, 32\]",
        ),
        (FeatureOptions("resnet18", stages=(-6,), weights="random"), "distinct stages from 0 to 4"),
        (FeatureOptions("resnet18", stages=(-1, 4), weights="random"), "distinct stages from 0 to 4"),
        (FeatureOptions("test_vit", stages=(6,), weights="random"), "distinct stages from 0 to 5"),
        (FeatureOptions(stages=(0, 9)), "distinct stages from 0 to 4"),
    ],
)
def test_build_errors_are_one_line(options, message):
    with pytest.raises(ModelError, match=message) as caught:
        FeatureExtractor(options)
    assert "\n" not in str(caught.value)
    assert "network" not in str(caught.value)


@pytest.mark.parametrize("stages", [(), (1.5,), ("3",), 3])
def test_invalid_stages_are_refused(stages):
    with pytest.raises(ValueError, match="stages must be one or more whole numbers"):
        FeatureOptions(stages=stages)


def test_stages_are_in_the_order_of_the_network():
    extractor = FeatureExtractor(FeatureOptions("resnet18", stages=(-1, 2), image_size=64, weights="random"))
    assert extractor.network.feature_info.channels() == [128, 512]


def test_without_network_access_the_error_is_one_line():
    code = "from semcorr.features import *; FeatureExtractor(FeatureOptions('resnet18.a1_in1k'))"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": "no-such-cache"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    last = run.stderr.strip().splitlines()[-1]
    assert "ModelError: the weights of backbone 'resnet18.a1_in1k' could not be downloaded" in last
    assert "--backbone-weights" in last


@pytest.mark.parametrize(("name", "value"), [("grid", 0), ("grid", 9999), ("image_size", 1), ("image_size", 2.5)])
def test_invalid_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        FeatureOptions(**{name: value})


def test_feature_map_checks_its_shape():
    with pytest.raises(ValueError, match="takes a"):
        FeatureMap(torch.zeros(2, 3, 4, 5), ((10, 10),))


def test_depthwise_convolutions_leave_cudnn_aside_on_a_gpu_alone(default):
    resnet = timm.create_model("resnet18")
    for network, device, cudnn in (
        (default.network, "cuda", False),
        (default.network, "cpu", True),
        (resnet, "cuda", True),
    ):
        with any_size(network, torch.device(device)):
            assert torch.backends.cudnn.enabled is cudnn
    assert torch.backends.cudnn.enabled
