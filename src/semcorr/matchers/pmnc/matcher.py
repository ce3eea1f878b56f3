"""PMNC: PatchMatch-based neighbourhood consensus (Lee, DeGol, Fragoso, Sinha, CVPR 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from semcorr.geometry import Size
from semcorr.matchers.correlation import correlation_channels, cosine_correlation, soft_mutual_filter
from semcorr.matchers.pmnc import cpu
from semcorr.matchers.pmnc.coarse import Plan, coarse_to_fine, tiles_of
from semcorr.matchers.pmnc.scoring import Scoring
from semcorr.matchers.pmnc.search import SearchOptions, search, search_banded
from semcorr.matchers.pmnc.voting import vote, votes_of_cells
from semcorr.matchers.scored import Floats, Scored
from semcorr.native import core
from semcorr.threads import thread_count


def dilation_of(source_grid: Size, target_grid: Size, trained_grid: int) -> int:
    """Return the dilation that keeps the extent of the window, relative to the image, that it was trained with."""
    side = math.sqrt(math.sqrt(math.prod(source_grid) * math.prod(target_grid)))
    return max(1, round(side / trained_grid))


def is_whole(source_grid: Size, target_grid: Size, trained_grid: int, options: SearchOptions) -> bool:
    """Return whether grids of these sizes are searched directly; larger ones are searched from coarse to fine."""
    side = math.prod(source_grid + target_grid) ** 0.25
    return side <= options.largest or dilation_of(source_grid, target_grid, trained_grid) == 1


@dataclass(frozen=True, eq=False)
class PatchMatcher:
    """Correlate, filter, and search with PatchMatch for the correspondence of every cell with the highest score.

    Attributes:
        scoring: The learned local 4-D scoring function, with two channels.
        trained_grid: Cells along each side of the grid that it was trained on; its window is dilated on finer grids.
        options: Options of the search.
        votes: Weight of the global votes that are added to the score; 0 disables them. In a search from coarse to fine,
            votes are added to the scores of tiles but not to those of cells.
        compiled: Search in native code if it is available; False searches in NumPy.
    """

    scoring: Scoring
    trained_grid: int = 25
    options: SearchOptions = field(default_factory=SearchOptions)
    votes: float = 0.0
    compiled: bool = True

    def __call__(self, source: Floats, target: Floats, threads: int | None = None) -> Scored:
        """Match two images.

        Args:
            source: L2-normalised features ``(C, hs, ws)``, of any floating dtype.
            target: Likewise, ``(C, ht, wt)``.
            threads: Number of threads, as for `semcorr.threads.thread_count`.

        Returns:
            The scored pairs.

        Raises:
            ValueError: If the numbers of channels differ, or a grid is empty.
        """
        source, target = (np.ascontiguousarray(features, dtype=np.float32) for features in (source, target))
        if source.ndim != 3 or target.ndim != 3 or len(source) != len(target) or not source.size or not target.size:
            raise ValueError(f"features must be (C, h, w) with the same C; got {source.shape} and {target.shape}")
        grids = (source.shape[1], source.shape[2]), (target.shape[1], target.shape[2])
        dilation, count = dilation_of(*grids, self.trained_grid), thread_count(threads)
        if is_whole(*grids, self.trained_grid, self.options):
            return self._match_whole(source, target, dilation, count)

        def match_tiles(source: Floats, target: Floats) -> Scored:
            return self._match_whole(source, target, 1, count)

        def match_cells(source: Floats, target: Floats, plan: Plan) -> Scored:
            if self._runs_compiled():
                return cpu.search_banded(source, target, plan, self.scoring, self.options, dilation, count)
            return search_banded(source, target, plan, self.scoring, self.options, dilation)

        return coarse_to_fine(source, target, dilation, match_tiles, match_cells)

    def bytes_per_pair(self, source_grid: Size, target_grid: Size, device: str = "cpu") -> float:  # noqa: ARG002
        """Return the peak memory in bytes per pair of cells; see `semcorr.models.memory`."""
        if self._runs_compiled():
            return 17.0 if is_whole(source_grid, target_grid, self.trained_grid, self.options) else 3.0
        return 60.0

    def _runs_compiled(self) -> bool:
        return self.compiled and core() is not None

    def _match_whole(self, source: Floats, target: Floats, dilation: int, threads: int) -> Scored:
        if self._runs_compiled():
            return cpu.search(source, target, self.scoring, self.options, dilation, self.votes, threads)
        maps, added = correlation_channels(cosine_correlation(source, target)), None
        if self.votes:
            tiles = maps[1]
            if dilation > 1:
                tiles = soft_mutual_filter(cosine_correlation(tiles_of(source, dilation), tiles_of(target, dilation)))
            votes = np.float32(self.votes) * vote(tiles)
            grid = (maps.shape[1], maps.shape[2], maps.shape[3], maps.shape[4])
            added = votes if dilation == 1 else votes_of_cells(votes, dilation, grid)
        return search(maps, self.scoring, self.options, dilation, votes=added)
