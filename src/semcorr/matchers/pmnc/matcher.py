"""PMNC: PatchMatch-based neighbourhood consensus (Lee, DeGol, Fragoso, Sinha, CVPR 2021)."""

from __future__ import annotations

import logging
import math
from functools import lru_cache, partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.features.feature_map import FeatureMap
from semcorr.files import one_line
from semcorr.geometry import Size
from semcorr.jit import import_compiled
from semcorr.matchers.correlation import correlation_channels, cosine_correlation, soft_mutual_filter
from semcorr.matchers.pmnc.coarse import Plan, coarse_to_fine, search_banded, tiles_of
from semcorr.matchers.pmnc.gpu.search import search_on_device
from semcorr.matchers.pmnc.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import Search, SearchOptions, exhaustive_search, search
from semcorr.matchers.pmnc.voting import vote
from semcorr.matchers.scores import ScoredPairs


@lru_cache(maxsize=1)
def compiled_search() -> ModuleType | None:
    """Return `semcorr.matchers.pmnc.cpu.bands`, with both searches; None, and one line on stderr, without Numba."""
    found = import_compiled("semcorr.matchers.pmnc.cpu.bands")
    if isinstance(found, ModuleType):
        return found
    logging.getLogger("semcorr").warning(
        "semcorr: the search runs in plain torch, which is slower: Numba cannot be used here (%s)",
        one_line(found),
    )
    return None


class PMNC(nn.Module):
    """Correlate, filter, and search with PatchMatch for the best-scored correspondence of every cell.

    Args:
        scoring: The learned local 4-D scoring function.
        trained_grid: Cells to a side of the grid that it was trained on; finer grids dilate its window.
        options: How to search.
        votes: Weight of the votes of the whole picture beside the scoring function; 0 is without. On grids that are
            searched from coarse to fine, tiles have votes and cells have none.
        exhaustive: Score all pairs instead of searching: the oracle, for measurements.
        compiled: On the CPU, search in compiled code where Numba can be used; with False, in plain torch.
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

    def dilation(self, source_grid: Size, target_grid: Size) -> int:
        """Return the spacing that gives the window the extent, in the picture, that it was trained with."""
        side = math.sqrt(math.sqrt(math.prod(source_grid) * math.prod(target_grid)))
        return max(1, round(side / self.trained_grid))

    def bytes_per_pair(self, source_grid: Size, target_grid: Size, device: torch.device) -> float:
        """Return the peak bytes for each pair of cells; see `semcorr.models.memory`."""
        whole = self._is_whole(source_grid, target_grid)
        if self._compiled(device) is not None and not self.exhaustive:
            return 17.0 if whole else 3.0
        return 60.0

    def _is_whole(self, source_grid: Size, target_grid: Size) -> bool:
        side = math.prod(source_grid + target_grid) ** 0.25
        return self.exhaustive or side <= self.options.largest or self.dilation(source_grid, target_grid) == 1

    def forward(self, source: FeatureMap, target: FeatureMap) -> Tensor | ScoredPairs:
        """Return the table of scores ``(B, hs, ws, ht, wt)``, or, from the compiled search, only what was scored."""
        dilation = self.dilation(source.grid, target.grid)
        features = source.tensor, target.tensor
        if not self._is_whole(source.grid, target.grid):
            return coarse_to_fine(
                *features, dilation, partial(self._match_whole, dilation=1), partial(self._match_cells, factor=dilation)
            )
        return self._match_whole(*features, dilation)

    def _compiled(self, device: torch.device) -> ModuleType | None:
        usable = self.compiled and device.type == "cpu" and self.scoring.channels == 2
        return compiled_search() if usable else None

    def _plain(self, device: torch.device) -> Search:
        if device.type == "cpu":
            return search
        return search_on_device

    def _match_whole(self, source: Tensor, target: Tensor, dilation: int) -> Tensor | ScoredPairs:
        fast = self._compiled(source.device)
        if fast is not None and not self.exhaustive:
            scores: ScoredPairs = fast.search_compiled(source, target, self.scoring, self.options, dilation, self.votes)
            return scores
        maps = correlation_channels(cosine_correlation(source, target))
        added = self._votes(source, target, dilation, maps[:, -1])
        if self.exhaustive:
            return exhaustive_search(maps, self.scoring, dilation, added)
        return self._plain(source.device)(maps, self.scoring, self.options, dilation, None, added)

    def _votes(self, source: Tensor, target: Tensor, dilation: int, filtered: Tensor) -> Tensor | None:
        """Return the weighted votes ``(B, hs, ws, ht, wt)``; where the window is dilated, those of tiles."""
        if not self.votes:
            return None
        if dilation > 1:
            filtered = soft_mutual_filter(cosine_correlation(tiles_of(source, dilation), tiles_of(target, dilation)))
        votes = self.votes * torch.stack([vote(one) for one in filtered])
        return votes if dilation == 1 else votes_of_cells(votes, dilation, (*source.shape[2:], *target.shape[2:]))

    def _match_cells(self, source: Tensor, target: Tensor, made: Plan, factor: int) -> ScoredPairs:
        fast = self._compiled(source.device)
        run = partial(search_banded, run=self._plain(source.device))
        run = run if fast is None else fast.search_banded_compiled
        scores: ScoredPairs = run(source, target, made, self.scoring, self.options, factor)
        return scores


def votes_of_cells(votes: Tensor, factor: int, shape: tuple[int, ...]) -> Tensor:
    """Interpolate votes of tiles ``(B, Hs, Ws, Ht, Wt)`` bilinearly, in both pictures, for cells."""
    batch, *tiles = votes.shape
    there = F.interpolate(votes.flatten(1, 2), scale_factor=factor, mode="bilinear")  # (B, Hs·Ws, ht, wt)
    there = there[..., : shape[2], : shape[3]].flatten(2).transpose(1, 2).reshape(batch, -1, *tiles[:2])
    here = F.interpolate(there, scale_factor=factor, mode="bilinear")[..., : shape[0], : shape[1]]
    return here.flatten(2).transpose(1, 2).reshape(batch, *shape)
