"""The package's own EfficientNet-Lite against timm's."""

import subprocess
import sys

import pytest
import timm
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from semcorr.errors import ModelError
from semcorr.features import FeatureExtractor, FeatureOptions
from semcorr.features.architecture import DEVIATION, MEAN, SCALES
from semcorr.features.efficientnet_lite import EfficientNetLite, trainable


@pytest.mark.parametrize("name", SCALES)
def test_timm_weights_give_timm_features(name):
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True).eval()
    for module in theirs.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = EfficientNetLite(name).eval()
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.randn(2, 3, 75, 96)  # odd sizes: padding differs on both sides
    with torch.no_grad():
        for a, b in zip(ours(pixels), theirs(pixels), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4 * float(b.abs().max()), rtol=1e-4)
    assert ours.feature_info.channels() == theirs.feature_info.channels()
    assert ours.feature_info.reduction() == theirs.feature_info.reduction()
    known = timm.get_pretrained_cfg(name)
    assert (known.mean, known.std) == (MEAN, DEVIATION)


def test_later_stages_are_not_built():
    network = EfficientNetLite("tf_efficientnet_lite0", (2, 3)).eval()
    assert [stage.shape for stage in network(torch.zeros(1, 3, 64, 32))] == [(1, 40, 8, 4), (1, 112, 4, 2)]
    assert len(network.blocks) == 5


def test_the_default_model_needs_no_timm():
    code = "import sys, semcorr; semcorr.load(); print('timm' in sys.modules, 'torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("blocks", [0, 3, 5, 6])
def test_stem_and_later_stages_equal_the_network(blocks):
    network = FeatureExtractor(FeatureOptions()).network
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts = network.later_stages(network.stem(pixels, blocks), blocks)
        whole = network(pixels)[1 if blocks == 6 else 0 :]  # the output of 5 groups of blocks is the first stage itself
        for part, expected in zip(parts, whole, strict=True):
            torch.testing.assert_close(part, expected)


def test_other_networks_have_no_fine_descriptors():
    network = FeatureExtractor(FeatureOptions(backbone="resnet18", weights="random")).network
    with pytest.raises(ModelError, match="fine descriptors need one of the backbones tf_efficientnet_lite0"):
        trainable(network)


@pytest.mark.parametrize("size", [(64, 96), (75, 33), (1, 1)])
def test_expansion_in_parts_equals_the_whole(size):
    network = FeatureExtractor(FeatureOptions()).network
    block = network.blocks[1][0]
    assert block.conv_pw.bias is not None  # batch norms are folded, so that the parts are used
    assert block.parts
    x = torch.randn(2, block.conv_pw.in_channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(block._expanded_in_parts(x), block._expanded(x))
