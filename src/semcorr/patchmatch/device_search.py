"""The search on a graphics device: the host waits for nothing, from the correlation map to the table of scores.

Candidates are lists of fixed length, in which pairs that leave a picture, that were scored before or that stand there
twice change nothing. So the host never has to know how many there are, as it does in `semcorr.patchmatch.search`,
whose results these are; and it goes through all rounds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.consensus.scoring import ScoringFunction
from semcorr.patchmatch.candidates import best_pairs, initial_places
from semcorr.patchmatch.search import CHUNK, SearchOptions, cut_windows, pad_maps

Score = Callable[[Tensor], None]
"""Scores the places ``(N,)`` of the flat table that have no score yet; -1 is no place."""

Scorer = Callable[[Tensor, Tensor, ScoringFunction, int, Tensor | None], Score]
"""Makes a `Score` from the correlation channels, the flat table, the scoring function, the dilation and the votes. The
table's last value is of no pair."""


def plain_scorer(maps: Tensor, flat: Tensor, scoring: ScoringFunction, dilation: int, votes: Tensor | None) -> Score:
    """Score in plain torch, on any device."""
    padded, shape = pad_maps(maps, scoring.radius * dilation), maps[:, 0].shape
    added = None if votes is None else votes.flatten()

    def score(places: Tensor) -> None:
        for part in torch.split(places, CHUNK):
            there = part.clamp(min=0)
            pairs = torch.stack(torch.unravel_index(there, shape), 1)
            found = scoring.score_windows(cut_windows(padded, pairs, scoring.radius, dilation)).to(flat.dtype)
            found = found if added is None else found + added[there]
            known = flat[there]
            flat[torch.where(part < 0, len(flat) - 1, part)] = torch.where(known.isneginf(), found, known)

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
    """Do as `semcorr.patchmatch.search.search`; ``scorer`` gathers the windows and scores them."""
    flat = maps.new_full((maps[:, 0].numel() + 1,), -torch.inf)
    table = flat[:-1].view(maps[:, 0].shape)
    score = scorer(maps, flat, scoring, dilation, votes)
    places = initial_places(maps[:, -1], options.candidates) if initial is None else initial
    score((places + torch.arange(len(maps), device=maps.device)[:, None] * table[0].numel()).flatten())
    steps, ones = _steps(options.offsets, maps.device), torch.arange(-1, 2, device=maps.device)
    around = torch.cartesian_prod(ones, ones)
    still = torch.zeros_like(around)
    moves = torch.cat([torch.cat([steps, steps], 1), torch.cat([still, around], 1), torch.cat([around, still], 1)])
    for _ in range(options.iterations):
        score(_moved(best_pairs(table), moves, table.shape))
    return table


def _steps(offsets: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    return torch.tensor(offsets, dtype=torch.long, device=device).view(-1, 2)


def _moved(pairs: Tensor, moves: Tensor, shape: torch.Size) -> Tensor:
    """Move pairs ``(N, 5)`` by each of ``(M, 4)``; return places in the flat table, -1 outside of it: ``(N · M,)``."""
    moved = pairs[:, None] + F.pad(moves, (1, 0))  # (N, M, 5)
    place, inside = torch.zeros_like(moved[..., 0]), torch.ones_like(moved[..., 0], dtype=torch.bool)
    for axis, size in enumerate(shape):
        place = place * size + moved[..., axis]
        inside &= (moved[..., axis] >= 0) & (moved[..., axis] < size)
    return torch.where(inside, place, -1).flatten()
