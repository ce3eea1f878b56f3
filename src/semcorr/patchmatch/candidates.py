"""Which pairs of cells are worth scoring: the initial ones, and the moves from correspondences that are good already.

The initial ones are listed, as ``p · Q + q``; moves are marked in a mask over all pairs, ``(B, hs, ws, ht, wt)``.
Correspondences are lists of pairs ``(N, 5)``: batch, source row, source column, target row, target column.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
