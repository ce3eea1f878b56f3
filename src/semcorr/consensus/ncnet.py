"""The consensus network of NC-Net: a stack of 4-D convolutions, made symmetric in the two pictures.

Rocco et al., Neighbourhood Consensus Networks, NeurIPS 2018, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from semcorr.consensus.conv4d import Conv4d, Kernel


def exchange(maps: Tensor) -> Tensor:
    """Exchange source and target of maps ``(B, C, hs, ws, ht, wt)``."""
    return maps.permute(0, 1, 4, 5, 2, 3)


def symmetric(network: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """Return f(x) + f(xᵀ)ᵀ: what is found does not depend on which picture is called the source.

    Because of the ReLUs between the layers, this is more than one pass with symmetric kernels (section 3.1).

    Args:
        network: f, from ``(B, C, hs, ws, ht, wt)`` to ``(B, D, hs, ws, ht, wt)``.
        maps: x.
    """
    return network(maps) + exchange(network(exchange(maps)))


def convolution_stack(channels: Sequence[int], kernels: Sequence[Kernel]) -> nn.Sequential:
    """Return 4-D convolutions with a ReLU after each.

    The kernels begin by passing the middle cell on, with half of torch's own start added. From torch's start alone the
    single last channel can be zero everywhere, and stays so.

    Args:
        channels: Of the input and of every layer, one more than there are kernels.
        kernels: One for each layer.

    Raises:
        ValueError: If the numbers do not fit each other.
    """
    if not kernels or len(channels) != len(kernels) + 1:
        raise ValueError(f"channels must be one more than kernels; got {len(channels)} and {len(kernels)}")
    layers: list[nn.Module] = []
    for inside, outside, kernel in zip(channels[:-1], channels[1:], kernels, strict=True):
        layer = Conv4d(inside, outside, kernel)
        k0, k1, k2, k3 = kernel
        with torch.no_grad():
            layer.weight.mul_(0.5)
            layer.weight[:, :, k0 // 2, k1 // 2, k2 // 2, k3 // 2] += 2 / inside
            layer.bias.zero_()
        layers += [layer, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class NeighbourhoodConsensus(nn.Module):
    """Judge every correspondence by those around it.

    Args:
        kernels: Kernel size of each layer, the same along the four axes.
        channels: Output channels of each layer; the last is 1.

    Raises:
        ValueError: If the numbers do not fit each other.
    """

    def __init__(self, kernels: Sequence[int] = (5, 5, 5), channels: Sequence[int] = (16, 16, 1)) -> None:
        super().__init__()
        if not channels or channels[-1] != 1:
            raise ValueError(f"the last layer must have 1 channel; got channels {tuple(channels)}")
        self.layers = convolution_stack((1, *channels), [(size,) * 4 for size in kernels])

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, 1, hs, ws, ht, wt)`` to the same shape, never negative."""
        return symmetric(self.layers, maps)
