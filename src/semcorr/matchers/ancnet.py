"""ANC-Net: neighbourhood consensus of features and of self-similarity (Li et al., CVPR 2020)."""

from __future__ import annotations

from torch import Tensor, nn

from semcorr.correlation import cosine_correlation
from semcorr.features.feature_map import FeatureMap
from semcorr.matchers.ncnet import filtered_consensus, widest

_NEVER = 1e-9  # what a pair of no support counts, so that every score is finite


class ANCNet(nn.Module):
    """Average the consensus over the features' correlation and the one over the self-similarities' correlation.

    Args:
        consensus: Such as `semcorr.consensus.ancnet.AdaptiveConsensus`; both correlations go through it.
        describe: Such as `semcorr.consensus.self_similarity.SelfSimilarity`.
    """

    def __init__(self, consensus: nn.Module, describe: nn.Module) -> None:
        super().__init__()
        self.consensus, self.describe = consensus, describe

    def bytes_per_pair(self, *_: object) -> float:
        """Return the peak bytes for each pair of cells, as measured; see `semcorr.memory`."""
        return 32.0 * widest(self.consensus)

    def consensus_map(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the averaged map ``(B, hs, ws, ht, wt)`` of L2-normalised features ``(B, C, h, w)``."""
        of_features = filtered_consensus(self.consensus, cosine_correlation(source, target))
        descriptors = self.describe(source), self.describe(target)
        of_descriptors = filtered_consensus(self.consensus, cosine_correlation(*descriptors))
        return (of_features + of_descriptors) / 2

    def to_scores(self, values: Tensor) -> Tensor:
        """Take the map's values, divided by their sum, as probabilities (section 3.4)."""
        return (values + _NEVER).log()

    def forward(self, source: FeatureMap, target: FeatureMap) -> Tensor:
        """Return the table of scores ``(B, hs, ws, ht, wt)``."""
        return self.to_scores(self.consensus_map(source.tensor, target.tensor))
