"""The PatchMatch search, and the exhaustive one that it is measured against. Both return a table of scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semcorr.consensus.scoring import ScoringFunction, sample_rows, window_offsets
from semcorr.geometry import cell_centres
from semcorr.patchmatch.candidates import best_pairs, initialise, propagate, refine

_CHUNK = 8192  # pairs gathered at once: 8192 windows of 2 × 625 float32 are 41 MB


@dataclass(frozen=True)
class SearchOptions:
    """How PatchMatch searches.

    Attributes:
        candidates: Highest filtered correlations of each cell that are scored first.
        iterations: Rounds of propagation and refinement at most; the search ends early once nothing new is proposed.
        decode_radius: Radius in cells around each final match that is scored for sub-cell decoding.
    """

    candidates: int = 16
    iterations: int = 8
    decode_radius: int = 2


def search(
    maps: Tensor, scoring: ScoringFunction, options: SearchOptions = SearchOptions(), dilation: int = 1
) -> Tensor:
    """Search both directions at once for the best-scored correspondence of every cell.

    Args:
        maps: Correlation channels ``(B, channels, hs, ws, ht, wt)``; the last channel is the filtered map.
        scoring: The scoring function.
        options: How to search.
        dilation: Spacing of the scoring window's cells.

    Returns:
        Scores ``(B, hs, ws, ht, wt)`` of all pairs that were tried; -inf elsewhere. The argmax over the last two
        dimensions is the match of each source cell, that over the first two the match of each target cell.
    """
    scores = torch.full_like(maps[:, 0], -torch.inf)
    fill_scores(scores, initialise(maps[:, -1], options.candidates), maps, scoring, dilation)
    for _ in range(options.iterations):
        candidates = torch.zeros_like(scores, dtype=torch.bool)
        pairs = best_pairs(scores)
        propagate(pairs, candidates)
        refine(pairs, candidates)
        if not fill_scores(scores, candidates, maps, scoring, dilation):
            break
    surroundings = torch.zeros_like(scores, dtype=torch.bool)
    refine(best_pairs(scores), surroundings, options.decode_radius)
    fill_scores(scores, surroundings, maps, scoring, dilation)
    return scores


def fill_scores(scores: Tensor, candidates: Tensor, maps: Tensor, scoring: ScoringFunction, dilation: int) -> int:
    """Score the candidates that have no score yet, in place.

    Args:
        scores: ``(B, hs, ws, ht, wt)``, changed in place.
        candidates: Mask of the same shape.
        maps: ``(B, channels, hs, ws, ht, wt)``.
        scoring: The scoring function.
        dilation: Spacing of the window's cells.

    Returns:
        The number of pairs that were scored.
    """
    pairs = (candidates & scores.isneginf()).nonzero()  # (N, 5)
    reach = scoring.radius * dilation
    padded = torch.nn.functional.pad(maps, (reach,) * 8)
    for part in torch.split(pairs, _CHUNK):
        scores[tuple(part.T)] = scoring.score_windows(cut_windows(padded, part, scoring.radius, dilation))
    return len(pairs)


def cut_windows(padded: Tensor, pairs: Tensor, radius: int, dilation: int) -> Tensor:
    """Cut the windows around pairs out of zero-padded maps.

    Args:
        padded: ``(B, channels, hs, ws, ht, wt)`` with ``radius · dilation`` zeros around the last four dimensions.
        pairs: ``(N, 5)``, in the coordinates of the maps before padding.
        radius: The window's radius in cells.
        dilation: Spacing of the window's cells.

    Returns:
        ``(N, channels, S, S)``.
    """
    strides = padded.stride()
    offsets = window_offsets(radius, dilation, padded.device) + radius * dilation  # (S, 2), never negative
    source = offsets @ torch.tensor(strides[2:4], device=padded.device)
    target = offsets @ torch.tensor(strides[4:6], device=padded.device)
    channel = torch.arange(padded.shape[1], device=padded.device) * strides[1]
    window = (channel[:, None, None] + source[:, None] + target).flatten()  # (channels·S·S,)
    corner = pairs @ torch.tensor([strides[0], *strides[2:]], device=padded.device)  # (N,)
    values = padded.view(-1).index_select(0, (corner[:, None] + window).flatten())
    return values.view(len(pairs), padded.shape[1], len(source), len(target))


def exhaustive_search(maps: Tensor, scoring: ScoringFunction, dilation: int = 1) -> Tensor:
    """Score every pair of cells: the oracle of `search`, with the same arguments and the same kind of table."""
    cells = cell_centres((maps.shape[2], maps.shape[3]), maps.device).flatten(0, 1)
    tables = []
    for one in maps:
        parts = [
            scoring.score_rows(sample_rows(one, part, scoring.radius, dilation), dilation)
            for part in torch.split(cells, 64)
        ]
        tables.append(torch.cat(parts).reshape(one.shape[1:]))
    return torch.stack(tables)
