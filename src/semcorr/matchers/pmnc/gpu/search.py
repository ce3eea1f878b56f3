"""Torch version of `semcorr.matchers.pmnc.search` that never makes the host wait for the device.

The search there needs to know in every round how many pairs are new. Here, each round scores a list of fixed length,
limited by `NEW`; pairs that do not fit are left to later rounds, if they are proposed again. All rounds are run. The
scored pairs are the same as there, as long as they fit.
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
"""Number of pairs gathered at once: 8192 windows of 2 × 625 float32 are 41 MB."""

NEW = 6
"""Maximum number of pairs per cell of both images that are scored in a round; the first round has no limit."""

Score = Callable[[Tensor], Tensor]
"""Returns the scores ``(N,)`` of indices ``(N,)`` into the flat table; any value for an index equal to its length."""

Scorer = Callable[[Tensor, ScoringFunction, int, Tensor | None], Score]
"""Returns a `Score`, given the correlation channels, the scoring function, the dilation and the votes."""


def plain_scorer(maps: Tensor, scoring: ScoringFunction, dilation: int, votes: Tensor | None) -> Score:
    """Return a `Score` that gathers windows and scores them in torch, on any device."""
    padded, shape = pad_maps(maps, scoring.radius * dilation), maps[:, 0].shape
    last = shape.numel() - 1
    added = None if votes is None else votes.flatten()

    def score(indices: Tensor) -> Tensor:
        parts = []
        indices = indices.clamp(max=last)
        for part in torch.split(indices, CHUNK):
            pairs, rest = [], part
            for size in reversed(shape):
                pairs.append(rest % size)
                rest = rest // size
            windows = cut_windows(padded, torch.stack(pairs[::-1], 1), scoring.radius, dilation)
            parts.append(scoring.score_windows(windows))
        scores = torch.cat(parts)
        return scores if added is None else scores + added[indices]

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
    """Search for the correspondence of every cell with the highest score, in both directions at once.

    Args:
        maps: Correlation channels ``(B, channels, hs, ws, ht, wt)``; the last channel is the filtered map.
        scoring: The scoring function.
        options: Options of the search.
        dilation: Spacing of the scoring window's cells.
        initial: Pairs to start from, ``p · Q + q``, ``(B, N)`` int64; by default, those of `initial_pairs`.
        votes: Votes that are added to the scores, ``(B, hs, ws, ht, wt)``.
        scorer: Gathers windows and scores them.

    Returns:
        Scores ``(B, hs, ws, ht, wt)`` of all candidates; -inf elsewhere.
    """
    batch, _, hs, ws, ht, wt = maps.shape
    flat = maps.new_full((maps[:, 0].numel() + 1,), -torch.inf)  # the last entry belongs to no pair
    table, unused = flat[:-1].view(batch, hs, ws, ht, wt), len(flat) - 1
    score = scorer(maps, scoring, dilation, votes)

    def fill(indices: Tensor) -> None:
        flat[indices] = score(indices).to(flat.dtype)
        flat[unused:].fill_(-torch.inf)

    first = initial_pairs(maps[:, -1], options.candidates) if initial is None else initial
    fill((first + torch.arange(batch, device=maps.device)[:, None] * table[0].numel()).flatten())
    moves, limit = _moves(options.offsets, maps.device), NEW * batch * (hs * ws + ht * wt)
    for _ in range(options.iterations):
        proposed = torch.zeros_like(flat, dtype=torch.bool)
        proposed.index_fill_(0, _moved(best_pairs(table), moves, table.shape), True)
        fill(_first_marked(proposed[:unused] & table.isneginf().flatten(), limit))
    return table


@lru_cache(maxsize=16)
def _moves(offsets: Offsets, device: torch.device) -> Tensor:
    """Return the moves of propagation and refinement, ``(M, 4)``; cached, to copy them to the device only once."""
    steps = torch.tensor(offsets, dtype=torch.long).view(-1, 2)
    range_ = torch.arange(-1, 2)
    neighbours = torch.cartesian_prod(range_, range_)
    zeros = torch.zeros_like(neighbours)
    moves = [torch.cat(pair, 1) for pair in ((steps, steps), (zeros, neighbours), (neighbours, zeros))]
    return torch.cat(moves).to(device)


def _moved(pairs: Tensor, moves: Tensor, shape: torch.Size) -> Tensor:
    """Move pairs ``(N, 5)`` by each of ``(M, 4)``; return indices into the flat table, its length for those outside."""
    moved = pairs[:, None] + F.pad(moves, (1, 0))  # (N, M, 5)
    index, inside = torch.zeros_like(moved[..., 0]), torch.ones_like(moved[..., 0], dtype=torch.bool)
    for axis, size in enumerate(shape):
        index = index * size + moved[..., axis]
        inside &= (moved[..., axis] >= 0) & (moved[..., axis] < size)
    return index.masked_fill(~inside, shape.numel()).flatten()


def _first_marked(marked: Tensor, limit: int) -> Tensor:
    """Return the first marked indices, ``(limit,)``, padded with the length: `nonzero` with a size that is known."""
    counts = marked.cumsum(0, dtype=torch.int32)
    return torch.searchsorted(counts, torch.arange(1, limit + 1, dtype=torch.int32, device=marked.device))


def initial_pairs(filtered: Tensor, count: int) -> Tensor:
    """List the ``count`` highest filtered correlations of every source cell and of every target cell.

    Args:
        filtered: Soft-mutual-filtered map ``(B, hs, ws, ht, wt)``.
        count: Number of candidates for each cell.

    Returns:
        Pairs of cells as ``p · Q + q``, ``(B, N)``, int64, possibly with duplicates.
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


def exhaustive_search(
    maps: Tensor, scoring: ScoringFunction, dilation: int = 1, votes: Tensor | None = None, at_once: int | None = 64
) -> Tensor:
    """Score every pair of cells, as a reference for the search: ``(B, hs, ws, ht, wt)``.

    ``at_once`` source cells are scored together; None scores all of them together, as an exported graph must.
    """
    cells = cell_centres((maps.shape[2], maps.shape[3]), maps.device).flatten(0, 1)
    tables = []
    for channels in maps:
        parts = [
            scoring.score_rows(sample_rows(channels, part, scoring.radius, dilation), dilation)
            for part in ([cells] if at_once is None else torch.split(cells, at_once))
        ]
        tables.append(torch.cat(parts).reshape(channels.shape[1:]))
    return torch.stack(tables) if votes is None else torch.stack(tables) + votes
