"""NC-Net: dense neighbourhood consensus over the whole correlation map (Rocco et al., NeurIPS 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from semcorr.features.feature_map import FeatureMap
from semcorr.matchers.dense.conv4d import Conv4d, Kernel
from semcorr.matchers.dense.correlation import cosine_correlation, soft_mutual_filter


def filtered_consensus(consensus: nn.Module, correlation: Tensor) -> Tensor:
    """Return M(N(M(C))): the consensus network N between two soft mutual filters M (section 3).

    Args:
        consensus: From ``(B, 1, hs, ws, ht, wt)`` to the same shape.
        correlation: ``(B, hs, ws, ht, wt)``.

    Returns:
        ``(B, hs, ws, ht, wt)``, never negative.
    """
    return soft_mutual_filter(consensus(soft_mutual_filter(correlation)[:, None])[:, 0])


def widest(consensus: nn.Module) -> int:
    """Return the largest number of output channels of a network's 4-D convolutions; 1 if it has none."""
    return max((layer.weight.shape[0] for layer in consensus.modules() if isinstance(layer, Conv4d)), default=1)


class NCNet(nn.Module):
    """Correlate, filter, convolve in 4-D, and filter again.

    Args:
        consensus: A network such as `NeighbourhoodConsensus`.
    """

    def __init__(self, consensus: nn.Module) -> None:
        super().__init__()
        self.consensus = consensus

    def bytes_per_pair(self, *_: object) -> float:
        """Return the measured peak memory in bytes per pair of cells; see `semcorr.models.memory`."""
        return 25.0 * widest(self.consensus)

    def consensus_map(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the filtered map ``(B, hs, ws, ht, wt)`` of L2-normalised features ``(B, C, h, w)``."""
        return filtered_consensus(self.consensus, cosine_correlation(source, target))

    def to_scores(self, values: Tensor) -> Tensor:
        """Return the values of the map as log-probabilities up to a constant, as the authors' softmax uses them."""
        return values

    def forward(self, source: FeatureMap, target: FeatureMap) -> Tensor:
        """Return the table of scores ``(B, hs, ws, ht, wt)``."""
        return self.to_scores(self.consensus_map(source.tensor, target.tensor))


def exchange(maps: Tensor) -> Tensor:
    """Exchange source and target of maps ``(B, C, hs, ws, ht, wt)``."""
    return maps.permute(0, 1, 4, 5, 2, 3)


def symmetric(network: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """Return f(x) + f(xᵀ)ᵀ, which does not depend on which image is the source.

    Because of the ReLUs between the layers, this is more than one pass with symmetric kernels (section 3.1).

    Args:
        network: f, from ``(B, C, hs, ws, ht, wt)`` to ``(B, D, hs, ws, ht, wt)``.
        maps: x.
    """
    return network(maps) + exchange(network(exchange(maps)))


def convolution_stack(channels: Sequence[int], kernels: Sequence[Kernel]) -> nn.Sequential:
    """Return 4-D convolutions with a ReLU after each.

    Kernels are initialised to pass on the middle cell, plus half of torch's default initialisation. With the default
    alone, the single last channel can be zero everywhere, and then it never learns.

    Args:
        channels: Channels of the input and of every layer, one more than there are kernels.
        kernels: Kernel sizes of each layer.

    Raises:
        ValueError: If the numbers of channels and kernels do not match.
    """
    if not kernels or len(channels) != len(kernels) + 1:
        raise ValueError(
            f"channels must have one entry more than kernels; got {len(channels)} and {len(kernels)} entries"
        )
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
    """Rate every correspondence by its neighbours with 4-D convolutions (section 3.1).

    Args:
        kernels: Kernel size of each layer, the same along all four axes; odd.
        channels: Output channels of each layer; the last is 1.

    Raises:
        ValueError: If the numbers of channels and kernels differ, or the last layer has more than one channel.
    """

    def __init__(self, kernels: Sequence[int] = (5, 5, 5), channels: Sequence[int] = (16, 16, 1)) -> None:
        super().__init__()
        if not channels or channels[-1] != 1:
            raise ValueError(f"the last layer must have 1 channel; got channels {tuple(channels)}")
        self.layers = convolution_stack((1, *channels), [(size,) * 4 for size in kernels])

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, 1, hs, ws, ht, wt)`` to the same shape, never negative."""
        return symmetric(self.layers, maps)
