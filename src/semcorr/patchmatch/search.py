"""The PatchMatch search, and the exhaustive one that it is measured against. Both return a table of scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semcorr.consensus.scoring import ScoringFunction, sample_rows
from semcorr.correlation import correlation_channels
from semcorr.decode import ScoredPairs, list_scored
from semcorr.geometry import cell_centres
from semcorr.patchmatch.candidates import NEAREST, Offsets, best_pairs, initial_places, propagate, refine
from semcorr.patchmatch.coarse import Plan, banded_correlation

CHUNK = 8192  # pairs gathered at once: 8192 windows of 2 × 625 float32 are 41 MB


Search = Callable[[Tensor, ScoringFunction, "SearchOptions", int, Tensor | None, Tensor | None], Tensor]


@dataclass(frozen=True)
class SearchOptions:
    """How PatchMatch searches.

    Attributes:
        candidates: Highest filtered correlations of each cell that are scored first.
        iterations: Rounds of propagation and refinement at most; the search on the CPU ends early once nothing new is
            proposed. Refinement also scores what sub-cell decoding reads most of: the neighbours of the matches.
        offsets: From which neighbours matches are propagated, (dy, dx) in cells.
        largest: Cells to a side, in the mean of both pictures, of the largest grid that is searched whole; larger ones
            are searched from coarse to fine.
    """

    candidates: int = 6
    iterations: int = 8
    offsets: Offsets = NEAREST
    largest: int = 64


def search(
    maps: Tensor,
    scoring: ScoringFunction,
    options: SearchOptions = SearchOptions(),
    dilation: int = 1,
    initial: Tensor | None = None,
    votes: Tensor | None = None,
) -> Tensor:
    """Search both directions at once for the best-scored correspondence of every cell.

    Args:
        maps: Correlation channels ``(B, channels, hs, ws, ht, wt)``; the last channel is the filtered map.
        scoring: The scoring function.
        options: How to search.
        dilation: Spacing of the scoring window's cells.
        initial: The pairs to begin with, ``p · Q + q``, ``(B, N)``, int64, in place of those of the filtered map.
        votes: Are added to the scores, ``(B, hs, ws, ht, wt)``.

    Returns:
        Scores ``(B, hs, ws, ht, wt)`` of all pairs that were tried; -inf elsewhere. The argmax over the last two
        dimensions is the match of each source cell, that over the first two the match of each target cell.
    """
    scores = torch.full_like(maps[:, 0], -torch.inf)
    padded = pad_maps(maps, scoring.radius * dilation)
    places = initial_places(maps[:, -1], options.candidates) if initial is None else initial
    first = torch.zeros(scores.flatten(1).shape, dtype=torch.bool, device=scores.device).scatter_(1, places, True)
    fill_scores(scores, first.view(scores.shape), padded, scoring, dilation, votes)
    for _ in range(options.iterations):
        candidates = torch.zeros_like(scores, dtype=torch.bool)
        pairs = best_pairs(scores)
        propagate(pairs, candidates, options.offsets)
        refine(pairs, candidates)
        if not fill_scores(scores, candidates, padded, scoring, dilation, votes):
            break
    return scores


def search_banded(
    source: Tensor,
    target: Tensor,
    made: Plan,
    scoring: ScoringFunction,
    options: SearchOptions,
    factor: int,
    run: Search = search,
) -> ScoredPairs:
    """Search the cells of tiles that were matched already, in a banded map that is held whole.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)`` of whole tiles.
        target: Likewise, ``(B, C, ht, wt)``.
        made: The plan.
        scoring: The scoring function.
        options: How to search.
        factor: Cells to a side of a tile, and the spacing of the scoring window's cells.
        run: `search`, or another with the same arguments and the same result.

    Returns:
        The pairs that were scored.
    """
    maps = correlation_channels(banded_correlation(source, target, made.near, factor).float())
    return list_scored(run(maps, scoring, options, factor, made.initial, None))


def pad_maps(maps: Tensor, reach: int) -> Tensor:
    """Put zeros around correlation channels, and the channels last, so that a window is read in few long runs.

    Args:
        maps: ``(B, channels, hs, ws, ht, wt)``.
        reach: Cells of zeros at each end of the last four dimensions.

    Returns:
        ``(B, hs + 2·reach, ws + 2·reach, ht + 2·reach, wt + 2·reach, channels)``, contiguous.
    """
    return torch.nn.functional.pad(maps, (reach,) * 8).movedim(1, -1).contiguous()


def fill_scores(
    scores: Tensor,
    candidates: Tensor,
    padded: Tensor,
    scoring: ScoringFunction,
    dilation: int,
    votes: Tensor | None = None,
) -> int:
    """Score the candidates that have no score yet, in place.

    Args:
        scores: ``(B, hs, ws, ht, wt)``, changed in place.
        candidates: Mask of the same shape.
        padded: The correlation channels, from `pad_maps` with the reach of the window.
        scoring: The scoring function.
        dilation: Spacing of the window's cells.
        votes: Are added to the scores, of the shape of these.

    Returns:
        The number of pairs that were scored.
    """
    pairs = (candidates & scores.isneginf()).nonzero()  # (N, 5)
    for part in torch.split(pairs, CHUNK):
        found = scoring.score_windows(cut_windows(padded, part, scoring.radius, dilation))
        found = found if votes is None else found + votes[tuple(part.T)]
        scores[tuple(part.T)] = found.to(scores.dtype)
    return len(pairs)


def cut_windows(padded: Tensor, pairs: Tensor, radius: int, dilation: int) -> Tensor:
    """Cut the windows around pairs out of padded maps.

    Args:
        padded: From `pad_maps` with a reach of ``radius · dilation``.
        pairs: ``(N, 5)``, in the coordinates of the maps before padding.
        radius: The window's radius in cells.
        dilation: Spacing of the window's cells.

    Returns:
        ``(N, S, S, channels)``, source offsets before target offsets.
    """
    side = 2 * radius + 1
    strides = padded.stride()[1:5]
    steps = [stride * dilation for stride in strides]
    # Every window that begins anywhere in memory, as a view: the index then copies whole windows.
    begins = padded.numel() - sum(step * (side - 1) for step in steps) - (padded.shape[5] - 1)
    windows = padded.as_strided((begins, *[side] * 4, padded.shape[5]), (1, *steps, 1))
    corners = pairs[:, 0] * padded.stride(0)  # (N,)
    for axis, stride in enumerate(strides, 1):
        corners = corners + pairs[:, axis] * stride
    return windows[corners].flatten(3, 4).flatten(1, 2)


def exhaustive_search(maps: Tensor, scoring: ScoringFunction, dilation: int = 1, votes: Tensor | None = None) -> Tensor:
    """Score every pair of cells: the oracle of `search`, with the same arguments and the same kind of table."""
    cells = cell_centres((maps.shape[2], maps.shape[3]), maps.device).flatten(0, 1)
    tables = []
    for one in maps:
        parts = [
            scoring.score_rows(sample_rows(one, part, scoring.radius, dilation), dilation)
            for part in torch.split(cells, 64)
        ]
        tables.append(torch.cat(parts).reshape(one.shape[1:]))
    return torch.stack(tables) if votes is None else torch.stack(tables) + votes
