"""Torch version of `semcorr.matchers.pmnc.voting`, for any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.matchers.pmnc.gpu.windows import sample_rows
from semcorr.matchers.pmnc.voting import FADING, FLOOR, POWER


@torch.no_grad()
def vote(filtered: Tensor) -> Tensor:
    """Return the logarithm of the votes, relative to the best of either cell.

    Args:
        filtered: Soft-mutual-filtered correlations ``(hs, ws, ht, wt)``, 0 or more. The decay per cell suits grids of
            about 25 cells along each side.

    Returns:
        ``(hs, ws, ht, wt)`` float32, from log 0.02 to log 1.02, without gradients.
    """
    votes = filtered.float() ** POWER
    with torch.autocast(votes.device.type, enabled=False):
        for axis in range(4):
            votes = _spread(votes, axis)
        for axis in range(2):
            votes = _along(votes, axis)
    flat = votes.flatten(2).flatten(0, 1)  # (hs·ws, ht·wt)
    best = (flat.amax(1, keepdim=True) * flat.amax(0)).sqrt().clamp(min=torch.finfo(flat.dtype).tiny)
    return (flat / best + FLOOR).log().reshape(votes.shape)


def votes_of_points(votes: Tensor, cells: Tensor) -> Tensor:
    """Interpolate votes bilinearly at continuous source points, clipped to the outermost cell centres.

    Args:
        votes: Output of `vote`, ``(hs, ws, ht, wt)``.
        cells: Source points ``(N, 2)`` (x, y) in cell coordinates.

    Returns:
        Votes ``(N, ht, wt)``.
    """
    last = torch.tensor([votes.shape[1] - 1, votes.shape[0] - 1], device=cells.device)
    inner = torch.minimum(cells.clamp(min=0), last)
    return sample_rows(votes[None], inner, radius=0)[:, 0, 0]


def _spread(votes: Tensor, axis: int) -> Tensor:
    """Smooth along an axis by the weights 1, 2, 1."""
    moved = F.pad(votes.movedim(axis, 3), (1, 1))
    return (moved[..., :-2] + 2 * moved[..., 1:-1] + moved[..., 2:]).movedim(3, axis)


def _along(votes: Tensor, axis: int) -> Tensor:
    """Sum votes along the diagonals of a source axis and its target axis, weighted by the decay with distance.

    Rows are shifted to turn diagonals into columns, so that the sum is one matrix product.
    """
    moved = votes.movedim((axis, axis + 2), (2, 3)).flip(3)  # (_, _, n, m): p + q is now constant along a diagonal
    (*others, n, m), width = moved.shape, moved.shape[2] + moved.shape[3] - 1
    columns = F.pad(moved, (0, n)).flatten(2)[:, :, : n * width].reshape(*others, n, width)
    steps = torch.arange(n, device=votes.device)
    fading = FADING ** (steps[:, None] - steps).abs().float()
    summed = F.pad((fading @ columns).flatten(2), (0, n))
    return summed.reshape(*others, n, width + 1)[..., :m].flip(3).movedim((2, 3), (axis, axis + 2))
