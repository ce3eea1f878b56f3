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
    """Return the largest number of channels of a network's 4-D convolutions; 1 if it has none."""
    return max((layer.weight.shape[0] for layer in consensus.modules() if isinstance(layer, Conv4d)), default=1)


class NCNet(nn.Module):
    """Correlate, filter, convolve in 4-D, and filter again.

    Args:
        consensus: Such as `semcorr.matchers.dense.ncnet.NeighbourhoodConsensus`.
    """

    def __init__(self, consensus: nn.Module) -> None:
        super().__init__()
        self.consensus = consensus

    def bytes_per_pair(self, *_: object) -> float:
        """Return the peak bytes for each pair of cells, as measured; see `semcorr.models.memory`."""
        return 25.0 * widest(self.consensus)

    def consensus_map(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the filtered map ``(B, hs, ws, ht, wt)`` of L2-normalised features ``(B, C, h, w)``."""
        return filtered_consensus(self.consensus, cosine_correlation(source, target))

    def to_scores(self, values: Tensor) -> Tensor:
        """Take the map's values as log-probabilities up to a constant, as the softmax in the authors' code does."""
        return values

    def forward(self, source: FeatureMap, target: FeatureMap) -> Tensor:
        """Return the table of scores ``(B, hs, ws, ht, wt)``."""
        return self.to_scores(self.consensus_map(source.tensor, target.tensor))


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
