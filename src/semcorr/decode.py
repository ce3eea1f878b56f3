"""From a table of scores to sub-cell matches and their confidence, in both directions at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.geometry import cell_centres, cells_to_sampling


class CellMatches(NamedTuple):
    """Where each cell of one picture went in the other.

    Attributes:
        cells: ``(B, h, w, 2)`` (x, y) in cell coordinates of the other picture's grid, float32.
        confidence: ``(B, h, w)``, 0…1, float32.
    """

    cells: Tensor
    confidence: Tensor


def decode(scores: Tensor, radius: int = 2, agreement: float = 1.0) -> tuple[CellMatches, CellMatches]:
    """Decode the best match of every cell, source to target and target to source.

    The position is the soft-argmax over the scored cells within ``radius`` of the best one. The confidence is the
    share of the probability (softmax over all scored cells) that lies in that window — how peaked the score is —
    times exp(-d²/2) for a round trip, there and back, that ends d · ``agreement`` cells from where it began.

    Args:
        scores: ``(B, hs, ws, ht, wt)``, log-probabilities up to a constant; -inf where a pair was not scored.
        radius: Radius of the decoded window in cells; 0 takes the centre of the best cell.
        agreement: Round trips of this many cells lower the confidence by exp(-½).

    Returns:
        The matches of the source cells and those of the target cells.
    """
    forward, backward = _peaks(scores, radius), _peaks(scores.permute(0, 3, 4, 1, 2), radius)
    return (
        CellMatches(forward.cells, forward.confidence * _agreement(forward.cells, backward.cells, agreement)),
        CellMatches(backward.cells, backward.confidence * _agreement(backward.cells, forward.cells, agreement)),
    )


def soft_argmax(scores: Tensor, radius: int = 2) -> tuple[Tensor, Tensor]:
    """Decode maps of scores around their highest cell.

    Args:
        scores: ``(N, h, w)``, log-probabilities up to a constant; -inf counts for nothing.
        radius: Radius of the decoded window in cells.

    Returns:
        Positions ``(N, 2)`` (x, y) in cell coordinates, and ``(N,)`` the share of all probability in the window.
    """
    height, width = scores.shape[-2:]
    flat = scores.flatten(1)
    best = flat.argmax(1)
    steps = torch.arange(-radius, radius + 1, device=scores.device)
    dy, dx = torch.cartesian_prod(steps, steps).T if radius else steps.new_zeros(2, 1)
    y, x = (best // width)[:, None] + dy, (best % width)[:, None] + dx  # (N, window)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    window = flat.gather(1, index).masked_fill(~inside, -torch.inf)
    weights = window.softmax(dim=1)
    cells = torch.stack([(weights * x).sum(1), (weights * y).sum(1)], dim=1)
    return cells, (window.logsumexp(1) - flat.logsumexp(1)).exp()


def _peaks(scores: Tensor, radius: int) -> CellMatches:
    batch, rows, columns = scores.shape[:3]
    cells, mass = soft_argmax(scores.flatten(0, 2), radius)
    return CellMatches(cells.view(batch, rows, columns, 2), mass.view(batch, rows, columns))


def _agreement(there: Tensor, back: Tensor, sigma: float) -> Tensor:
    """Judge round trips: 1 where following ``there`` and then ``back`` ends where it began."""
    places = cells_to_sampling(there, (back.shape[1], back.shape[2]))
    returned = F.grid_sample(back.movedim(3, 1), places, align_corners=False, padding_mode="zeros").movedim(1, 3)
    start = cell_centres((there.shape[1], there.shape[2]), there.device)
    return (-(returned - start).square().sum(3) / (2 * sigma**2)).exp()
