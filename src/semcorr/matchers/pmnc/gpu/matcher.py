"""PMNC as a torch module, which runs `semcorr.matchers.pmnc.matcher` on the CPU and torch on other devices."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from semcorr.features.feature_map import FeatureMap
from semcorr.geometry import Size
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation, soft_mutual_filter
from semcorr.matchers.dense.scores import ScoredPairs
from semcorr.matchers.pmnc.gpu.coarse import Plan, coarse_to_fine, search_banded, tiles_of
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.search import exhaustive_search, search_on_device
from semcorr.matchers.pmnc.gpu.voting import vote
from semcorr.matchers.pmnc.matcher import PatchMatcher, dilation_of, is_whole
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.native import core
from semcorr.threads import thread_count


class PMNC(nn.Module):
    """Correlate, filter, and search with PatchMatch for the correspondence of every cell with the highest score.

    Args:
        scoring: The learned local 4-D scoring function.
        trained_grid: Cells along each side of the grid that it was trained on; its window is dilated on finer grids.
        options: Options of the search.
        votes: Weight of the global votes that are added to the score; 0 disables them. In a search from coarse to fine,
            votes are added to the scores of tiles but not to those of cells.
        exhaustive: Score all pairs instead of searching; the reference for measurements of the search.
        compiled: On the CPU, search in native code if it is available; False searches in NumPy.
    """

    def __init__(
        self,
        scoring: ScoringFunction,
        trained_grid: int = 25,
        options: SearchOptions | None = None,
        votes: float = 0.0,
        exhaustive: bool = False,
        compiled: bool = True,
    ) -> None:
        super().__init__()
        self.scoring, self.trained_grid = scoring, trained_grid
        self.votes = votes
        self.options, self.exhaustive, self.compiled = options or SearchOptions(), exhaustive, compiled

    def on_arrays(self) -> PatchMatcher:
        """Return the equivalent matcher for NumPy arrays, which does not use torch."""
        return PatchMatcher(self.scoring.arrays(), self.trained_grid, self.options, self.votes, self.compiled)

    def dilation(self, source_grid: Size, target_grid: Size) -> int:
        """Return the dilation that keeps the extent of the window, relative to the image, that it was trained with."""
        return dilation_of(source_grid, target_grid, self.trained_grid)

    def bytes_per_pair(self, source_grid: Size, target_grid: Size, device: torch.device | str) -> float:
        """Return the peak memory in bytes per pair of cells; see `semcorr.models.memory`."""
        if self._on_arrays(torch.device(device)) and self.compiled and core() is not None:
            return 17.0 if self._is_whole(source_grid, target_grid) else 3.0
        return 60.0

    def forward(self, source: FeatureMap, target: FeatureMap) -> Tensor | ScoredPairs:
        """Return the table of scores ``(B, hs, ws, ht, wt)``; on the CPU, only the scored pairs."""
        if self._on_arrays(source.tensor.device):
            match, threads = self.on_arrays(), min(thread_count(), torch.get_num_threads())
            pairs = zip(_arrays(source.tensor), _arrays(target.tensor), strict=True)
            return ScoredPairs.of([match(*pair, threads) for pair in pairs])
        dilation, features = self.dilation(source.grid, target.grid), (source.tensor, target.tensor)
        if self.exhaustive:
            return self.score_all(*features, dilation)
        if is_whole(source.grid, target.grid, self.trained_grid, self.options):
            return self._match_whole(*features, dilation)
        return coarse_to_fine(
            *features, dilation, partial(self._match_whole, dilation=1), partial(self._match_cells, factor=dilation)
        )

    def _on_arrays(self, device: torch.device) -> bool:
        return device.type == "cpu" and self.scoring.channels == 2 and not self.exhaustive

    def _is_whole(self, source_grid: Size, target_grid: Size) -> bool:
        return self.exhaustive or is_whole(source_grid, target_grid, self.trained_grid, self.options)

    def score_all(self, source: Tensor, target: Tensor, dilation: int = 1, at_once: int | None = 64) -> Tensor:
        """Score every pair of cells of L2-normalised features ``(B, C, h, w)``; see `exhaustive_search`."""
        maps = correlation_channels(cosine_correlation(source, target))
        added = self._votes(source, target, dilation, maps[:, -1])
        return exhaustive_search(maps, self.scoring, dilation, added, at_once)

    def _match_whole(self, source: Tensor, target: Tensor, dilation: int) -> Tensor:
        maps = correlation_channels(cosine_correlation(source, target))
        added = self._votes(source, target, dilation, maps[:, -1])
        return search_on_device(maps, self.scoring, self.options, dilation, None, added)

    def _votes(self, source: Tensor, target: Tensor, dilation: int, filtered: Tensor) -> Tensor | None:
        """Return weighted votes ``(B, hs, ws, ht, wt)``; if the window is dilated, interpolated from those of tiles."""
        if not self.votes:
            return None
        if dilation > 1:
            filtered = soft_mutual_filter(cosine_correlation(tiles_of(source, dilation), tiles_of(target, dilation)))
        votes = self.votes * torch.stack([vote(pair) for pair in filtered])
        return votes if dilation == 1 else votes_of_cells(votes, dilation, (*source.shape[2:], *target.shape[2:]))

    def _match_cells(self, source: Tensor, target: Tensor, plan: Plan, factor: int) -> ScoredPairs:
        return search_banded(source, target, plan, self.scoring, self.options, factor)


def _arrays(features: Tensor) -> NDArray[np.float32]:
    return features.detach().float().numpy()


def votes_of_cells(votes: Tensor, factor: int, shape: tuple[int, ...]) -> Tensor:
    """Interpolate the votes of tiles ``(B, Hs, Ws, Ht, Wt)`` bilinearly, in both images, at the centres of cells."""
    batch, *tiles = votes.shape
    votes = F.interpolate(votes.flatten(1, 2), scale_factor=factor, mode="bilinear")  # (B, Hs·Ws, ht, wt)
    votes = votes[..., : shape[2], : shape[3]].flatten(2).transpose(1, 2).reshape(batch, -1, *tiles[:2])
    votes = F.interpolate(votes, scale_factor=factor, mode="bilinear")[..., : shape[0], : shape[1]]
    return votes.flatten(2).transpose(1, 2).reshape(batch, *shape)
