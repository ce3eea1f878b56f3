"""`semcorr.matchers.pmnc.voting` in torch, on any device."""

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
        filtered: Softly mutual-filtered correlations ``(hs, ws, ht, wt)``, 0 or more, of about 25 cells to a side:
            votes fade from cell to cell.

    Returns:
        ``(hs, ws, ht, wt)`` float32, between the logarithm of 0.02 and that of 1.02. No gradient flows through it.
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
    """Read votes at continuous source points, beyond the outermost centres on them.

    Args:
        votes: From `vote`, ``(hs, ws, ht, wt)``.
        cells: Source points ``(N, 2)`` (x, y) in cell coordinates.

    Returns:
        ``(N, ht, wt)``.
    """
    last = torch.tensor([votes.shape[1] - 1, votes.shape[0] - 1], device=cells.device)
    inner = torch.minimum(cells.clamp(min=0), last)
    return sample_rows(votes[None], inner, radius=0)[:, 0, 0]


def _spread(votes: Tensor, axis: int) -> Tensor:
    """Weigh every value and its two neighbours along an axis by 2, 1, 1."""
    moved = F.pad(votes.movedim(axis, 3), (1, 1))
    return (moved[..., :-2] + 2 * moved[..., 1:-1] + moved[..., 2:]).movedim(3, axis)


def _along(votes: Tensor, axis: int) -> Tensor:
    """Add up what lies on the same diagonal of a source axis and its target axis, fading with the distance.

    Rows are shifted until a diagonal is a column; then that is one matrix product.
    """
    moved = votes.movedim((axis, axis + 2), (2, 3)).flip(3)  # (_, _, n, m): now p + q is the same along a diagonal
    (*others, n, m), width = moved.shape, moved.shape[2] + moved.shape[3] - 1
    columns = F.pad(moved, (0, n)).flatten(2)[:, :, : n * width].reshape(*others, n, width)
    steps = torch.arange(n, device=votes.device)
    fading = FADING ** (steps[:, None] - steps).abs().float()
    summed = F.pad((fading @ columns).flatten(2), (0, n))
    return summed.reshape(*others, n, width + 1)[..., :m].flip(3).movedim((2, 3), (axis, axis + 2))
