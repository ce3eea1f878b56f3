import pytest
import torch
from torch import nn

from semcorr.errors import ModelError
from semcorr.features import FeatureExtractor, FeatureOptions
from semcorr.features.pointwise import Pointwise, with_pointwise
from semcorr.features.stem import later_stages, stem, stem_blocks


@pytest.mark.parametrize("blocks", [0, 3, 5])
def test_both_parts_make_what_the_whole_network_makes(blocks):
    network = FeatureExtractor(FeatureOptions()).network
    stages = (3, 4) if blocks < 5 else (4,)
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts = later_stages(network, stem(network, pixels, blocks), blocks)
        for part, whole in zip(parts, network(pixels)[-len(stages) :], strict=True):
            torch.testing.assert_close(part, whole)


def test_other_networks_are_refused():
    with pytest.raises(ModelError, match="only EfficientNet and MobileNet backbones"):
        stem_blocks(FeatureExtractor(FeatureOptions(backbone="resnet18", weights="random")).network)


def test_matrix_products_are_what_the_convolutions_were():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Sequential(nn.Conv2d(6, 6, 1, groups=2), nn.Conv2d(6, 3, 3)))
    images = torch.randn(2, 4, 9, 7)
    before, names = network(images), list(network.state_dict())
    assert isinstance(with_pointwise(network)[0], Pointwise)
    assert type(network[1][0]) is type(network[1][1]) is nn.Conv2d  # neither grouped nor larger ones
    assert list(network.state_dict()) == names
    torch.testing.assert_close(network(images), before)
