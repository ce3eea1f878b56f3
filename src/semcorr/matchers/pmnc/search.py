"""The PatchMatch search of PMNC in NumPy, on one page.

The steps of the paper (Lee, DeGol, Fragoso, Sinha, CVPR 2021), and where to find them:

1. Correlate L2-normalised features by cosine, and apply NC-Net's soft mutual filter to the 4-D map:
   `semcorr.matchers.correlation`.
2. Initialise a match for every cell: `initial_pairs`.
3. Propagation: a match (p, q) proposes (p + d, q + d) to its neighbours: `propagate`. Local refinement of ±1 cell:
   `refine`. All cells are updated in parallel.
4. Score the candidates, and only these, with a learned function of the 4-D window around each pair:
   `semcorr.matchers.pmnc.scoring`, with windows from `semcorr.matchers.pmnc.windows`.
5. Keep the best, and repeat 3 and 4: the loop in `search`.

What this library does differently, and why:

- The initial match is the one with the highest score among a few of the highest filtered correlations of each cell, not
  the argmax of the filtered map. The search then reaches the exhaustive optimum in more cells, and needs only four
  propagation offsets instead of the 20 in the first author's public prototype (`PROTOTYPE`).
- Both directions share one table of scores. The scoring function is symmetric, so a score computed in one direction is
  valid for the other, and no pair is scored twice.
- Refinement proposes the 3×3 neighbours of both cells of a match, because sub-cell decoding reads their scores.
- Votes from the whole image (`semcorr.matchers.pmnc.voting`) are added to the score of a window.
- A scoring function may read only a part of its window (``reach``), for a fraction of the cost.
- The search ends as soon as nothing new is proposed; the paper's runs a fixed number of iterations.
- Large grids are searched from coarse to fine (`semcorr.matchers.pmnc.coarse`): `search_banded`.

`semcorr.matchers.pmnc.cpu` and `semcorr.matchers.pmnc.gpu` are faster implementations, tested against this one.

A pair of a source cell p and one of Q target cells q is stored as its index in the flat table, ``p · Q + q``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semcorr.matchers.correlation import correlation_channels
from semcorr.matchers.pmnc.coarse import Plan, banded_correlation
from semcorr.matchers.pmnc.scoring import Scoring
from semcorr.matchers.pmnc.windows import cut_windows, windows_of
from semcorr.matchers.scored import Floats, Integers, Scored

Offsets = tuple[tuple[int, int], ...]
"""Steps (dy, dx) in cells."""

NEAREST: Offsets = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""The four neighbours; sufficient for propagation if the initial candidates are good."""

PROTOTYPE: Offsets = (
    *((0, 1), (0, -1), (0, 3), (0, -3), (0, 5), (0, -5)),
    *((1, 0), (-1, 0), (3, 0), (-3, 0), (5, 0), (-5, 0)),
    *((1, 2), (1, -2), (-1, 2), (-1, -2), (2, 1), (2, -1), (-2, 1), (-2, -1)),
)
"""The offsets in the public prototype of PMNC's first author."""

_AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
_AT_ONCE = 4096  # pairs: 4096 windows of 2 × 625 float32 are 20 MB


@dataclass(frozen=True)
class SearchOptions:
    """Options of the PatchMatch search.

    Attributes:
        candidates: Number of initial candidates of each cell: those with the highest filtered correlations.
        iterations: Maximum number of rounds of propagation and refinement; the search ends early if nothing new is
            proposed.
        offsets: Offsets (dy, dx), in cells, to the neighbours that matches are propagated from.
        largest: Cells along a side, in the geometric mean of both images, of the largest grid that is searched
            directly; larger ones are searched from coarse to fine.
    """

    candidates: int = 6
    iterations: int = 8
    offsets: Offsets = NEAREST
    largest: int = 64


def search(
    maps: Floats,
    scoring: Scoring,
    options: SearchOptions = SearchOptions(),
    dilation: int = 1,
    initial: Integers | None = None,
    votes: Floats | None = None,
) -> Scored:
    """Search for the correspondence of every cell with the highest score, in both directions at once.

    Args:
        maps: The correlation map and its filtered form, ``(2, hs, ws, ht, wt)`` float32.
        scoring: The scoring function.
        options: Options of the search.
        dilation: Spacing of the scoring window's cells.
        initial: Pairs to start from, ``p · Q + q``, ``(N,)`` int64; by default, those of `initial_pairs`.
        votes: Votes that are added to the scores, ``(hs, ws, ht, wt)``.

    Returns:
        All candidates, with their scores.
    """
    grid = (maps.shape[1], maps.shape[2], maps.shape[3], maps.shape[4])
    scores = np.full(grid, -np.inf, np.float32)
    windows = windows_of(maps, scoring.radius, dilation)
    candidates = initial_pairs(maps[1], options.candidates) if initial is None else initial
    for _ in range(options.iterations + 1):
        new = np.unique(candidates[np.isneginf(scores.ravel()[candidates])])
        if not len(new):
            break
        new_scores = score_pairs(windows, new, scoring)
        scores.ravel()[new] = new_scores if votes is None else new_scores + votes.ravel()[new]
        matches = best_pairs(scores)
        candidates = np.concatenate([propagate(matches, options.offsets, grid), refine(matches, grid)])
    pairs = np.flatnonzero(~np.isneginf(scores))
    return Scored(pairs, scores.ravel()[pairs], grid)


def initial_pairs(filtered: Floats, count: int) -> Integers:
    """List the ``count`` highest filtered correlations of every source cell and of every target cell.

    Args:
        filtered: Soft-mutual-filtered map ``(hs, ws, ht, wt)``.
        count: Number of candidates for each cell.

    Returns:
        Pairs of cells as ``p · Q + q``, ``(N,)``, possibly with duplicates.
    """
    hs, ws, ht, wt = filtered.shape
    flat = filtered.reshape(hs * ws, ht * wt)
    by_source, by_target = min(count, ht * wt), min(count, hs * ws)
    q = np.argpartition(-flat, by_source - 1, axis=1)[:, :by_source]  # (P, count)
    p = np.argpartition(-flat, by_target - 1, axis=0)[:by_target]  # (count, Q)
    forward, backward = np.arange(hs * ws)[:, None] * (ht * wt) + q, p * (ht * wt) + np.arange(ht * wt)
    return np.concatenate([forward.ravel(), backward.ravel()])


def best_pairs(scores: Floats) -> Integers:
    """List the best correspondence of every source cell, then that of every target cell: ``(P + Q, 4)``.

    A pair is listed as source row and column, target row and column.
    """
    hs, ws, ht, wt = scores.shape
    flat = scores.reshape(hs * ws, ht * wt)
    p, q = np.arange(hs * ws), np.arange(ht * wt)
    source, target = np.concatenate([p, flat.argmax(axis=0)]), np.concatenate([flat.argmax(axis=1), q])
    return np.stack([*np.divmod(source, ws), *np.divmod(target, wt)], axis=1)


def propagate(matches: Integers, offsets: Offsets, grid: tuple[int, int, int, int]) -> Integers:
    """Propose the parallel pairs (p + d, q + d) for each match (p, q).

    For the cell p + d, this is the match of its neighbour p, shifted by the offset between them. For the target cell
    q + d it is that of its neighbour q, so one list of pairs propagates both directions.
    """
    return _moved(matches, [(dy, dx, dy, dx) for dy, dx in offsets], grid)


def refine(matches: Integers, grid: tuple[int, int, int, int]) -> Integers:
    """Propose, for each match (p, q), the neighbours of q for p and the neighbours of p for q."""
    moves = [(0, 0, *step) for step in _AROUND] + [(*step, 0, 0) for step in _AROUND]
    return _moved(matches, moves, grid)


def _moved(matches: Integers, moves: Sequence[tuple[int, ...]], grid: tuple[int, int, int, int]) -> Integers:
    """Move matches ``(N, 4)`` by each of the moves; return those inside both images as ``p · Q + q``."""
    moved = (matches[:, None] + np.array(moves, np.int64).reshape(-1, 4)).reshape(-1, 4)
    inside = ((moved >= 0) & (moved < grid)).all(axis=1)
    pairs: Integers = np.ravel_multi_index(tuple(moved[inside].T), grid).astype(np.int64)
    return pairs


def score_pairs(windows: Floats, pairs: Integers, scoring: Scoring) -> Floats:
    """Score pairs ``(N,)``, given the windows from `semcorr.matchers.pmnc.windows.windows_of`: ``(N,)``."""
    parts = np.split(pairs, range(_AT_ONCE, len(pairs), _AT_ONCE))
    return np.concatenate([scoring.score(cut_windows(windows, part)) for part in parts])


def search_banded(
    source: Floats, target: Floats, plan: Plan, scoring: Scoring, options: SearchOptions, factor: int
) -> Scored:
    """Search the cells of tiles that were matched before, in a banded map that is held in memory as a whole.

    Args:
        source: L2-normalised features ``(C, hs, ws)`` of whole tiles.
        target: Likewise, ``(C, ht, wt)``.
        plan: The plan from the match of the tiles.
        scoring: The scoring function.
        options: Options of the search.
        factor: Cells along each side of a tile, and the spacing of the scoring window's cells.

    Returns:
        The scored pairs.
    """
    maps = correlation_channels(banded_correlation(source, target, plan.near, factor))
    return search(maps, scoring, options, factor, plan.initial)
