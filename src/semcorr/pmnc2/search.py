"""PatchMatch over a learned 4-D scoring function: the algorithm of the paper, on one page of NumPy.

What the paper does (Lee, DeGol, Fragoso, Sinha, CVPR 2021), and where each step stands:

1. Correlate the features of both pictures, and weaken what is not mutual: `correlation_channels`.
2. Begin with the best of the filtered map for every cell: `initial_pairs`.
3. Let every cell try what the matches of its neighbours propose, compensated by the offset to them: `propagate`.
4. Let every cell try the cells around its match: `refine`.
5. Score what was proposed by the learned function, from the correlations in a window around both cells: `score_pairs`,
   `semcorr.pmnc2.scoring`. All cells at once; the best-scored candidate becomes the match.
6. Repeat 3 to 5, eight times.

What is done differently here, and why:

- *Both directions at once.* The scoring function is symmetric, so one table of scores serves both, and a match of either
  direction is a candidate of the other.
- *The six highest of the filtered map* of every cell, not the highest alone. From the highest, the paper's pattern found
  the best score of all in 85 % of the cells; from six, that of the four nearest neighbours finds it in 99 %.
- *The four nearest neighbours* propose, not 20 of up to five cells away: with good candidates to begin with, the others
  add work and no better scores. `PROTOTYPE` is the other pattern.
- *Scores are remembered*: a pair is scored once, and the search ends when nothing new is proposed.
- *Votes* of the whole picture may be added to the scores (`semcorr.pmnc2.voting`).
- *Large grids* are searched from coarse to fine (`semcorr.pmnc2.coarse`), in a map of which a band is as fine as the
  grid: `search_banded`.

`semcorr.pmnc2.cpu` does the same in native code and is tested against this page.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semcorr.pmnc2.coarse import Plan, banded_correlation
from semcorr.pmnc2.correlation import correlation_channels
from semcorr.pmnc2.scored import Floats, Integers, Scored
from semcorr.pmnc2.scoring import Scoring

Offsets = tuple[tuple[int, int], ...]
"""Steps (dy, dx) in cells."""

NEAREST: Offsets = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""The four neighbours: all that propagation needs once the initial candidates are good."""

PROTOTYPE: Offsets = (
    *((0, 1), (0, -1), (0, 3), (0, -3), (0, 5), (0, -5)),
    *((1, 0), (-1, 0), (3, 0), (-3, 0), (5, 0), (-5, 0)),
    *((1, 2), (1, -2), (-1, 2), (-1, -2), (2, 1), (2, -1), (-2, 1), (-2, -1)),
)
"""The pattern of the public prototype of PMNC's first author."""

_AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
_AT_ONCE = 4096  # windows of 2 × 625 float32: 20 MB


@dataclass(frozen=True)
class SearchOptions:
    """How PatchMatch searches.

    Attributes:
        candidates: Highest filtered correlations of each cell that are scored first.
        iterations: Rounds of propagation and refinement at most; the search ends early once nothing new is proposed.
            Refinement also scores what sub-cell decoding reads most of: the neighbours of the matches.
        offsets: From which neighbours matches are propagated, (dy, dx) in cells.
        largest: Cells to a side, in the mean of both pictures, of the largest grid that is searched whole; larger ones
            are searched from coarse to fine.
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
    """Search both directions at once for the best-scored correspondence of every cell.

    Args:
        maps: The correlation map and its filtered form, ``(2, hs, ws, ht, wt)``.
        scoring: The scoring function.
        options: How to search.
        dilation: Spacing of the scoring window's cells.
        initial: The pairs to begin with, ``p · Q + q``, ``(N,)``, in place of those of the filtered map.
        votes: Are added to the scores, ``(hs, ws, ht, wt)``.

    Returns:
        All pairs that were tried, with their scores.
    """
    grid = (maps.shape[1], maps.shape[2], maps.shape[3], maps.shape[4])
    scores = np.full(grid, -np.inf, np.float32)
    candidates = initial_pairs(maps[1], options.candidates) if initial is None else initial
    for _ in range(options.iterations + 1):
        new = np.unique(candidates[np.isneginf(scores.ravel()[candidates])])
        if not len(new):
            break
        found = score_pairs(maps, new, scoring, dilation)
        scores.ravel()[new] = found if votes is None else found + votes.ravel()[new]
        matches = best_pairs(scores)
        candidates = np.concatenate([propagate(matches, options.offsets, grid), refine(matches, grid)])
    pairs = np.flatnonzero(~np.isneginf(scores))
    return Scored(pairs, scores.ravel()[pairs], grid)


def initial_pairs(filtered: Floats, count: int) -> Integers:
    """List the ``count`` highest filtered correlations of every source cell and of every target cell.

    Args:
        filtered: Softly mutual-filtered map ``(hs, ws, ht, wt)``.
        count: Candidates for each cell.

    Returns:
        Pairs of cells as ``p · Q + q``, ``(N,)``; what is among both is listed twice.
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
    """Propose for each match (p, q) its parallel ones (p + d, q + d).

    Seen from the cell p + d, its neighbour p proposes q compensated by the offset between them; seen from the target
    cell q + d, its neighbour q proposes p likewise: one list of pairs propagates both directions.
    """
    return _moved(matches, [(dy, dx, dy, dx) for dy, dx in offsets], grid)


def refine(matches: Integers, grid: tuple[int, int, int, int]) -> Integers:
    """Propose for each match (p, q) the neighbours of q for p, and the neighbours of p for q."""
    moves = [(0, 0, *step) for step in _AROUND] + [(*step, 0, 0) for step in _AROUND]
    return _moved(matches, moves, grid)


def _moved(matches: Integers, moves: list[tuple[int, ...]], grid: tuple[int, int, int, int]) -> Integers:
    """Move matches ``(N, 4)`` by each of the moves; return as ``p · Q + q`` what is inside both pictures."""
    moved = (matches[:, None] + np.array(moves, np.int64).reshape(-1, 4)).reshape(-1, 4)
    inside = ((moved >= 0) & (moved < grid)).all(axis=1)
    return np.ravel_multi_index(tuple(moved[inside].T), grid).astype(np.int64)


def score_pairs(maps: Floats, pairs: Integers, scoring: Scoring, dilation: int) -> Floats:
    """Score pairs ``p · Q + q``, ``(N,)``: read the window around each out of the maps; outside they are zero."""
    side, reach = 2 * scoring.radius + 1, scoring.radius * dilation
    extent = 2 * reach + 1
    padded = np.pad(maps, ((0, 0), *[(reach, reach)] * 4))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (extent,) * 4, axis=(1, 2, 3, 4))
    windows = windows[..., ::dilation, ::dilation, ::dilation, ::dilation]  # a view, of all pairs
    scores = np.empty(len(pairs), np.float32)
    for begin in range(0, len(pairs), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        found = windows[(slice(None), *np.unravel_index(pairs[part], maps.shape[1:]))]  # (2, N, side, side, side, side)
        scores[part] = scoring.score(found.swapaxes(0, 1).reshape(-1, len(maps), side**2, side**2))
    return scores


def search_banded(
    source: Floats, target: Floats, made: Plan, scoring: Scoring, options: SearchOptions, factor: int
) -> Scored:
    """Search the cells of tiles that were matched already, in a banded map that is held whole.

    Args:
        source: L2-normalised features ``(C, hs, ws)`` of whole tiles.
        target: Likewise, ``(C, ht, wt)``.
        made: The plan.
        scoring: The scoring function.
        options: How to search.
        factor: Cells to a side of a tile, and the spacing of the scoring window's cells.

    Returns:
        The pairs that were scored.
    """
    maps = correlation_channels(banded_correlation(source, target, made.near, factor))
    return search(maps, scoring, options, factor, made.initial)
