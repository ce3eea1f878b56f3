"""ANC-Net: neighbourhood consensus of features and of self-similarity (Li et al., CVPR 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.features.feature_map import FeatureMap
from semcorr.matchers.dense.correlation import cosine_correlation
from semcorr.matchers.dense.ncnet import convolution_stack, filtered_consensus, symmetric, widest

_NEVER = 1e-9  # added to every value, so that the score of a pair without support is finite


class ANCNet(nn.Module):
    """Average the consensus of the features' correlation map and that of the self-similarities' correlation map.

    Args:
        consensus: A network such as `AdaptiveConsensus`, applied to both correlation maps.
        describe: A module such as `SelfSimilarity`.
    """

    def __init__(self, consensus: nn.Module, describe: nn.Module) -> None:
        super().__init__()
        self.consensus, self.describe = consensus, describe

    def bytes_per_pair(self, *_: object) -> float:
        """Return the measured peak memory in bytes per pair of cells; see `semcorr.models.memory`."""
        return 32.0 * widest(self.consensus)

    def consensus_map(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the averaged map ``(B, hs, ws, ht, wt)`` of L2-normalised features ``(B, C, h, w)``."""
        of_features = filtered_consensus(self.consensus, cosine_correlation(source, target))
        descriptors = self.describe(source), self.describe(target)
        of_descriptors = filtered_consensus(self.consensus, cosine_correlation(*descriptors))
        return (of_features + of_descriptors) / 2

    def to_scores(self, values: Tensor) -> Tensor:
        """Return log-probabilities up to a constant: values divided by their sum are probabilities (section 3.4)."""
        return (values + _NEVER).log()

    def forward(self, source: FeatureMap, target: FeatureMap) -> Tensor:
        """Return the table of scores ``(B, hs, ws, ht, wt)``."""
        return self.to_scores(self.consensus_map(source.tensor, target.tensor))


class AdaptiveConsensus(nn.Module):
    """Rate every correspondence by neighbourhoods of two shapes.

    Args:
        small: Kernel size, along the source axes, of the non-isotropic half of the first layer.
        large: All other kernel sizes.
        channels: Output channels of the first layer, half from each shape, and of the second.

    Raises:
        ValueError: If ``channels`` is odd or a kernel size is even.
    """

    def __init__(self, small: int = 3, large: int = 5, channels: int = 16) -> None:
        super().__init__()
        if channels < 2 or channels % 2:
            raise ValueError(f"channels must be even, 2 or more; got {channels}")
        full = (large,) * 4
        self.unequal = convolution_stack((1, channels // 2), [(small, small, large, large)])
        self.equal = convolution_stack((1, channels // 2), [full])
        self.rest = convolution_stack((channels, channels, 1), [full, full])

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, 1, hs, ws, ht, wt)`` to the same shape, never negative."""
        first = torch.cat([symmetric(self.unequal, maps), symmetric(self.equal, maps)], dim=1)
        return symmetric(self.rest, first)


def self_similarity(features: Tensor, radius: int = 2) -> Tensor:
    """Correlate every cell with its neighbours in the same image.

    Args:
        features: L2-normalised features ``(B, C, h, w)``.
        radius: Radius of the window in cells.

    Returns:
        Cosines ``(B, (2r+1)², h, w)``, zero beyond the border. Offsets are ordered column by column, as in the authors'
        code, so that their weights can be used.
    """
    rows, columns = features.shape[2:]
    padded = F.pad(features, (radius,) * 4)
    steps = range(2 * radius + 1)
    windows = [(padded[:, :, y : y + rows, x : x + columns] * features).sum(1) for x in steps for y in steps]
    return torch.stack(windows, dim=1)


class SelfSimilarity(nn.Module):
    """Describe cells by their self-similarity at increasing scales: the window itself and two convolutions over it.

    Args:
        radius: Radius of the window in cells.
        channels: Output channels of the two 3×3 convolutions.
        normalised: L2-normalise descriptors, so that their correlations have the magnitude of the features' and do not
            dominate at the start of training; the authors do not.
    """

    def __init__(self, radius: int = 2, channels: tuple[int, int] = (64, 32), normalised: bool = False) -> None:
        super().__init__()
        self.radius, self.normalised = radius, normalised
        self.first = nn.Conv2d((2 * radius + 1) ** 2, channels[0], 3, padding=1)
        self.second = nn.Conv2d(channels[0], channels[1], 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map L2-normalised features ``(B, C, h, w)`` to descriptors ``(B, 25 + 64 + 32, h, w)``."""
        local = self_similarity(features, self.radius)
        wider = self.first(local).relu()
        descriptors = torch.cat([local, wider, self.second(wider).relu()], dim=1)
        return F.normalize(descriptors, dim=1) if self.normalised else descriptors
