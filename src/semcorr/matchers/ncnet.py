"""NC-Net: dense neighbourhood consensus over the whole correlation map (Rocco et al., NeurIPS 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from semcorr.consensus.conv4d import Conv4d
from semcorr.correlation import cosine_correlation, soft_mutual_filter
from semcorr.features.feature_map import FeatureMap


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
        consensus: Such as `semcorr.consensus.ncnet.NeighbourhoodConsensus`.
    """

    def __init__(self, consensus: nn.Module) -> None:
        super().__init__()
        self.consensus = consensus

    def bytes_per_pair(self, *_: object) -> float:
        """Return the peak bytes for each pair of cells, as measured; see `semcorr.memory`."""
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
