"""The search on a graphics device: the host waits for nothing, from the correlation map to the table of scores.

The plain search asks the device in every round how many pairs are new. Here a round scores as many as `NEW` allows, in
a list of fixed length, and what does not fit is left to later rounds, if it is still proposed; and all rounds are gone
through. So the same pairs are scored as in `semcorr.matchers.pmnc.search`, as long as they fit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.geometry import cell_centres
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.windows import cut_windows, pad_maps, sample_rows
from semcorr.matchers.pmnc.search import Offsets, SearchOptions

CHUNK = 8192
"""Pairs gathered at once: 8192 windows of 2 × 625 float32 are 41 MB."""

NEW = 6
"""Pairs for each cell of both pictures that are scored in a round at most; the first round takes all."""

Score = Callable[[Tensor], Tensor]
"""Returns the scores ``(N,)`` of places ``(N,)`` in the flat table, whatever of its length, which is no place."""

Scorer = Callable[[Tensor, ScoringFunction, int, Tensor | None], Score]
"""Makes a `Score` from the correlation channels, the scoring function, the dilation and the votes."""


def plain_scorer(maps: Tensor, scoring: ScoringFunction, dilation: int, votes: Tensor | None) -> Score:
    """Gather and score in plain torch, on any device."""
    padded, shape = pad_maps(maps, scoring.radius * dilation), maps[:, 0].shape
    last = shape.numel() - 1
    added = None if votes is None else votes.flatten()

    def score(places: Tensor) -> Tensor:
        found = []
        places = places.clamp(max=last)
        for part in torch.split(places, CHUNK):
            pairs, rest = [], part
            for size in reversed(shape):
                pairs.append(rest % size)
                rest = rest // size
            windows = cut_windows(padded, torch.stack(pairs[::-1], 1), scoring.radius, dilation)
            found.append(scoring.score_windows(windows))
        scores = torch.cat(found)
        return scores if added is None else scores + added[places]

    return score


def search_on_device(
    maps: Tensor,
    scoring: ScoringFunction,
    options: SearchOptions,
    dilation: int = 1,
    initial: Tensor | None = None,
    votes: Tensor | None = None,
    scorer: Scorer = plain_scorer,
) -> Tensor:
    """Do as `semcorr.matchers.pmnc.search.search`; ``scorer`` gathers the windows and scores them."""
    batch, _, hs, ws, ht, wt = maps.shape
    flat = maps.new_full((maps[:, 0].numel() + 1,), -torch.inf)  # the last value is of no pair
    table, none = flat[:-1].view(batch, hs, ws, ht, wt), len(flat) - 1
    score = scorer(maps, scoring, dilation, votes)

    def fill(places: Tensor) -> None:
        flat[places] = score(places).to(flat.dtype)
        flat[none:].fill_(-torch.inf)

    places = initial_places(maps[:, -1], options.candidates) if initial is None else initial
    fill((places + torch.arange(batch, device=maps.device)[:, None] * table[0].numel()).flatten())
    moves, most = _moves(options.offsets, maps.device), NEW * batch * (hs * ws + ht * wt)
    for _ in range(options.iterations):
        proposed = torch.zeros_like(flat, dtype=torch.bool)
        proposed.index_fill_(0, _moved(best_pairs(table), moves, table.shape), True)
        fill(_listed(proposed[:none] & table.isneginf().flatten(), most))
    return table


@lru_cache(maxsize=16)
def _moves(offsets: Offsets, device: torch.device) -> Tensor:
    """Return by how much propagation and refinement move a pair, ``(M, 4)``: copied to the device once."""
    steps = torch.tensor(offsets, dtype=torch.long).view(-1, 2)
    ones = torch.arange(-1, 2)
    around = torch.cartesian_prod(ones, ones)
    still = torch.zeros_like(around)
    moves = [torch.cat(pair, 1) for pair in ((steps, steps), (still, around), (around, still))]
    return torch.cat(moves).to(device)


def _moved(pairs: Tensor, moves: Tensor, shape: torch.Size) -> Tensor:
    """Move pairs ``(N, 5)`` by each of ``(M, 4)``; return places in the flat table, its length if outside."""
    moved = pairs[:, None] + F.pad(moves, (1, 0))  # (N, M, 5)
    place, inside = torch.zeros_like(moved[..., 0]), torch.ones_like(moved[..., 0], dtype=torch.bool)
    for axis, size in enumerate(shape):
        place = place * size + moved[..., axis]
        inside &= (moved[..., axis] >= 0) & (moved[..., axis] < size)
    return place.masked_fill(~inside, shape.numel()).flatten()


def _listed(marked: Tensor, most: int) -> Tensor:
    """Return the first places that are marked, ``(most,)``, filled up with the length: `nonzero` of a known size."""
    counted = marked.cumsum(0, dtype=torch.int32)
    return torch.searchsorted(counted, torch.arange(1, most + 1, dtype=torch.int32, device=marked.device))


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


def exhaustive_search(maps: Tensor, scoring: ScoringFunction, dilation: int = 1, votes: Tensor | None = None) -> Tensor:
    """Score every pair of cells: the oracle of the search, with the same kind of table."""
    cells = cell_centres((maps.shape[2], maps.shape[3]), maps.device).flatten(0, 1)
    tables = []
    for one in maps:
        parts = [
            scoring.score_rows(sample_rows(one, part, scoring.radius, dilation), dilation)
            for part in torch.split(cells, 64)
        ]
        tables.append(torch.cat(parts).reshape(one.shape[1:]))
    return torch.stack(tables) if votes is None else torch.stack(tables) + votes
