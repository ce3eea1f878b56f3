import torch
from torch import nn

from semcorr.features.pointwise import Pointwise, with_pointwise


def test_matrix_products_equal_the_convolutions():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Sequential(nn.Conv2d(6, 6, 1, groups=2), nn.Conv2d(6, 3, 3)))
    images = torch.randn(2, 4, 9, 7)
    before, names = network(images), list(network.state_dict())
    assert isinstance(with_pointwise(network)[0], Pointwise)
    assert type(network[1][0]) is type(network[1][1]) is nn.Conv2d  # neither grouped nor larger ones
    assert list(network.state_dict()) == names
    torch.testing.assert_close(network(images), before)
