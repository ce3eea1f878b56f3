import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from semcorr.features.fold import fold_batch_norm


def with_statistics(network: nn.Module) -> nn.Module:
    """Give every norm statistics and weights that matter."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def fold(network: nn.Module) -> nn.Module:
    probe = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        return fold_batch_norm(network, probe, network(probe))


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv2_050", "vgg11_bn"])
def test_folded_features_are_the_same(name):
    network = with_statistics(timm.create_model(name, features_only=True))
    folded = fold(network)
    assert norms(network) > 0
    assert norms(folded) == 0
    pixels = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        for a, b in zip(network(pixels), folded(pixels), strict=True):
            torch.testing.assert_close(a, b, atol=1e-3 * float(a.abs().max()), rtol=1e-3)


class Misleading(nn.Module):
    """Lists its norm behind its convolution, but applies it before."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return [self.conv(torch.relu(self.norm(x)))]


def test_a_network_that_would_change_is_returned_unchanged():
    network = with_statistics(Misleading())
    assert fold(network) is network
    assert norms(network) == 1
