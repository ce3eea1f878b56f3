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

from semcorr.matchers.pmnc.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import CHUNK, Offsets, SearchOptions, best_pairs, initial_places
from semcorr.matchers.pmnc.windows import cut_windows, pad_maps

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
