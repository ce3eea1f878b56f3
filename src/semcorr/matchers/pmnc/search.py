"""The PatchMatch search of PMNC, plain, on one page.

What the paper does (Lee, DeGol, Fragoso, Sinha, CVPR 2021), and where each step stands:

1. Correlate L2-normalised features by cosine, and filter the 4-D map by NC-Net's soft mutual filter:
   `semcorr.matchers.correlation`.
2. Start from a match for every cell: `initial_places`.
3. Propagation: a match (p, q) proposes (p + d, q + d) to its neighbours: `propagate`. Local refinement of ±1 cell:
   `refine`. All cells are updated in parallel.
4. Score the candidates, and only them, with a learned function of the 4-D window around each pair:
   `semcorr.matchers.pmnc.scoring`, read through `semcorr.matchers.pmnc.windows`.
5. Keep the best and repeat 3 and 4: the loop in `search`.

What this library does differently, and why:

- It starts from the best-scored of the few highest filtered correlations of each cell, not from the argmax of the
  filtered map: the search then reaches the exhaustive optimum in more cells, and four propagation offsets do what the
  21 of the first author's public prototype (`PROTOTYPE`) did.
- Both directions share one table of scores. The scoring function is symmetric, so a pair that one direction scored
  is known to the other, and no pair is scored twice.
- Refinement proposes the 3×3 neighbours of both cells of a match: they are what sub-cell decoding reads.
- Votes from the whole picture (`semcorr.matchers.pmnc.voting`) are added to the score of a window.
- A scoring function may read part of its window only (``reach``), for a fraction of the products.
- The search ends as soon as nothing new is proposed; the paper's iterates a fixed number of times.

`semcorr.matchers.pmnc.cpu` and `semcorr.matchers.pmnc.gpu` do the same, faster. `exhaustive_search` is the oracle that
all of them are measured against.

A pair of cells (p, q) is one place ``p · Q + q`` of the flat table, for Q target cells. A list of correspondences is
``(N, 5)``: batch, source row, source column, target row, target column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semcorr.geometry import cell_centres
from semcorr.matchers.pmnc.scoring import ScoringFunction
from semcorr.matchers.pmnc.windows import cut_windows, pad_maps, sample_rows

CHUNK = 8192  # pairs gathered at once: 8192 windows of 2 × 625 float32 are 41 MB

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


Search = Callable[[Tensor, ScoringFunction, "SearchOptions", int, Tensor | None, Tensor | None], Tensor]


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


def initial_places(filtered: Tensor, count: int) -> Tensor:
    """List the ``count`` highest filtered correlations of every source cell and of every target cell.

    Args:
        filtered: Softly mutual-filtered map ``(B, hs, ws, ht, wt)``.
        count: Candidates for each cell.

    Returns:
        Pairs of cells as ``p · Q + q``, ``(B, N)``, int64; what is among both is listed twice.
    """
    flat = filtered.flatten(3).flatten(1, 2)  # (B, P, Q)
    sources, targets = flat.shape[1:]
    q = flat.topk(min(count, targets), dim=2).indices  # (B, P, count)
    p = flat.topk(min(count, sources), dim=1).indices  # (B, count, Q)
    forward = q + torch.arange(sources, device=flat.device)[:, None] * targets
    backward = p * targets + torch.arange(targets, device=flat.device)
    return torch.cat([forward.flatten(1), backward.flatten(1)], dim=1)


def best_pairs(scores: Tensor) -> Tensor:
    """List the best correspondence of every source cell, then that of every target cell.

    Args:
        scores: ``(B, hs, ws, ht, wt)``; -inf where a pair was never scored.

    Returns:
        ``(B·(P+Q), 5)``, int64.
    """
    batch, hs, ws, ht, wt = scores.shape
    flat = scores.reshape(batch, hs * ws, ht * wt)
    forward, backward = flat.argmax(2), flat.argmax(1)  # (B, P), (B, Q)
    p = torch.arange(hs * ws, device=scores.device).expand(batch, -1)
    q = torch.arange(ht * wt, device=scores.device).expand(batch, -1)
    source, target = torch.cat([p, backward], 1), torch.cat([forward, q], 1)  # (B, P+Q)
    b = torch.arange(batch, device=scores.device)[:, None].expand_as(source)
    return torch.stack([b, source // ws, source % ws, target // wt, target % wt], dim=2).flatten(0, 1)


def propagate(pairs: Tensor, mask: Tensor, offsets: Offsets = NEAREST) -> None:
    """Mark for each correspondence (p, q) its parallel ones (p + d, q + d).

    Seen from the cell p + d, its neighbour p proposes q compensated by the offset between them; seen from the target
    cell q + d, its neighbour q proposes p likewise: one list of pairs propagates both directions.

    Args:
        pairs: ``(N, 5)``.
        mask: ``(B, hs, ws, ht, wt)``, changed in place.
        offsets: The steps d.
    """
    steps = torch.tensor(offsets, dtype=torch.long, device=pairs.device).view(-1, 2)
    _mark(pairs, torch.cat([torch.zeros_like(steps[:, :1]), steps, steps], dim=1), mask)


def refine(pairs: Tensor, mask: Tensor) -> None:
    """Mark for each correspondence (p, q) the neighbours of q for p, and the neighbours of p for q.

    Args:
        pairs: ``(N, 5)``.
        mask: ``(B, hs, ws, ht, wt)``, changed in place.
    """
    steps = torch.arange(-1, 2, device=pairs.device)
    around = torch.cartesian_prod(steps, steps)
    still = torch.zeros_like(around)
    moves = torch.cat([torch.cat([still, around], 1), torch.cat([around, still], 1)])
    _mark(pairs, torch.cat([torch.zeros_like(moves[:, :1]), moves], dim=1), mask)


def _mark(pairs: Tensor, moves: Tensor, mask: Tensor) -> None:
    moved = (pairs[:, None] + moves).flatten(0, 1)  # (N·moves, 5)
    shape = torch.tensor(mask.shape, device=mask.device)
    inside = ((moved >= 0) & (moved < shape)).all(dim=1)
    mask[tuple(moved[inside].T)] = True


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
