"""PMNC: PatchMatch-based neighbourhood consensus (Lee, DeGol, Fragoso, Sinha, CVPR 2021)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from semcorr.consensus.scoring import ScoringFunction
from semcorr.correlation import correlation_channels, cosine_correlation
from semcorr.features.feature_map import FeatureMap
from semcorr.geometry import Size
from semcorr.patchmatch import SearchOptions, exhaustive_search, search


class PMNC(nn.Module):
    """Correlate, filter, and search with PatchMatch for the best-scored correspondence of every cell.

    Args:
        scoring: The learned local 4-D scoring function.
        trained_grid: Cells to a side of the grid that it was trained on; finer grids dilate its window.
        options: How to search.
        exhaustive: Score all pairs instead of searching: the oracle, for measurements.
    """

    def __init__(
        self,
        scoring: ScoringFunction,
        trained_grid: int = 25,
        options: SearchOptions | None = None,
        exhaustive: bool = False,
    ) -> None:
        super().__init__()
        self.scoring, self.trained_grid = scoring, trained_grid
        self.options, self.exhaustive = options or SearchOptions(), exhaustive

    def dilation(self, source_grid: Size, target_grid: Size) -> int:
        """Return the spacing that gives the window the extent, in the picture, that it was trained with."""
        side = math.sqrt(math.sqrt(math.prod(source_grid) * math.prod(target_grid)))
        return max(1, round(side / self.trained_grid))

    def forward(self, source: FeatureMap, target: FeatureMap) -> Tensor:
        """Return the table of scores ``(B, hs, ws, ht, wt)``."""
        maps = correlation_channels(cosine_correlation(source.tensor, target.tensor))
        dilation = self.dilation(source.grid, target.grid)
        if self.exhaustive:
            return exhaustive_search(maps, self.scoring, dilation)
        return search(maps, self.scoring, self.options, dilation)
