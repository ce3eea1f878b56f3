"""From a table of scores to sub-cell matches and their confidence, in both directions at once."""

from __future__ import annotations

from types import ModuleType
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from semcorr.geometry import Size
from semcorr.jit import import_compiled
from semcorr.matchers.confidence import agreement_of
from semcorr.matchers.scores import CellMatches, ScoredPairs

Decoding = Literal["soft-argmax", "argmax"]
"""Between the cells around the best one; or the centre of the best one, as NC-Net and ANC-Net are evaluated."""


class Peaks(NamedTuple):
    """The best match of each cell, ``(B, h, w, 2)``, and the share of probability around it, ``(B, h, w)``."""

    cells: Tensor
    share: Tensor


def decode(scores: Tensor | ScoredPairs, radius: int = 2, agreement: float = 1.0) -> tuple[CellMatches, CellMatches]:
    """Decode the best match of every cell, source to target and target to source.

    The position is the soft-argmax over the scored cells within ``radius`` of the best one. The confidence is the
    share of the probability (softmax over all scored cells) that lies in that window — how peaked the score is —
    times exp(-d²/2) for a round trip, there and back, that ends d · ``agreement`` cells from where it began.

    Args:
        scores: ``(B, hs, ws, ht, wt)``, log-probabilities up to a constant; -inf where a pair was not scored. Or only
            those that were.
        radius: Radius of the decoded window in cells; 0 takes the centre of the best cell.
        agreement: Round trips of this many cells lower the confidence by exp(-½).

    Returns:
        The matches of the source cells and those of the target cells.
    """
    if isinstance(scores, ScoredPairs):
        forward, backward = _peaks_of_pairs(scores, radius)
    else:
        forward, backward = _peaks(scores, radius), _peaks(scores.permute(0, 3, 4, 1, 2), radius)
    return _sure(forward, backward, agreement), _sure(backward, forward, agreement)


def _sure(there: Peaks, back: Peaks, agreement: float) -> CellMatches:
    return CellMatches(there.cells, there.share * agreement_of(there.cells, back.cells, agreement), there.share)


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
    row = best // width
    column = best - row * width  # a remainder by a size cannot be exported to ONNX
    steps = torch.arange(-radius, radius + 1, device=scores.device)
    dy, dx = torch.cartesian_prod(steps, steps).T if radius else steps.new_zeros(2, 1)
    y, x = row[:, None] + dy, column[:, None] + dx  # (N, window)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    window = flat.gather(1, index).masked_fill(~inside, -torch.inf)
    weights = window.softmax(dim=1)
    cells = torch.stack([(weights * x).sum(1), (weights * y).sum(1)], dim=1)
    return cells, (window.logsumexp(1) - flat.logsumexp(1)).exp()


def _peaks(scores: Tensor, radius: int) -> Peaks:
    batch, rows, columns = scores.shape[:3]
    cells, mass = soft_argmax(scores.flatten(0, 2), radius)
    return Peaks(cells.view(batch, rows, columns, 2), mass.view(batch, rows, columns))


def _peaks_of_pairs(scored: ScoredPairs, radius: int) -> tuple[Peaks, Peaks]:
    hs, ws, ht, wt = scored.shape
    forward, backward = [], []
    for pairs, scores in zip(scored.pairs, scored.scores, strict=True):
        p, q = pairs // (ht * wt), pairs % (ht * wt)
        forward.append(_soft_argmax_of_lists(p, q, scores, (hs, ws), wt, radius))
        backward.append(_soft_argmax_of_lists(q, p, scores, (ht, wt), ws, radius))
    there, back = (
        Peaks(*(torch.stack(tensors) for tensors in zip(*each, strict=True))) for each in (forward, backward)
    )
    if scored.certainty is not None:
        there, back = (
            Peaks(peaks.cells, peaks.share * certainty)
            for peaks, certainty in zip((there, back), scored.certainty, strict=True)
        )
    return there, back


def _soft_argmax_of_lists(
    cell: Tensor, other: Tensor, scores: Tensor, grid: Size, width: int, radius: int
) -> tuple[Tensor, Tensor]:
    """Do as `soft_argmax` for the cells of one grid; every entry (cell, other, score) is a scored pair."""
    usable = scores.device.type == "cpu" and scores.dtype == torch.float32 and not scores.requires_grad
    compiled = import_compiled("semcorr.matchers.decode_compiled") if usable else None
    if isinstance(compiled, ModuleType):
        lists = (tensor.contiguous().numpy() for tensor in (cell, other, scores))
        places, share = compiled.soft_argmax_of_lists(*lists, grid[0] * grid[1], width, radius)
        return torch.from_numpy(places).view(*grid, 2), torch.from_numpy(share).view(grid)
    return soft_argmax_of_lists(cell, other, scores, grid, width, radius)


def soft_argmax_of_lists(
    cell: Tensor, other: Tensor, scores: Tensor, grid: Size, width: int, radius: int
) -> tuple[Tensor, Tensor]:
    """Do as `semcorr.matchers.decode_compiled.soft_argmax_of_lists`, in torch."""
    count = grid[0] * grid[1]
    highest = scores.new_full((count,), -torch.inf).scatter_reduce_(0, cell, scores, "amax")
    at_best = scores == highest[cell]
    best = other.new_full((count,), 2**62).scatter_reduce_(0, cell[at_best], other[at_best], "amin")[cell]
    x, y = other % width, other // width
    near = ((x - best % width).abs() <= radius) & ((y - best // width).abs() <= radius)
    weights = (scores - highest[cell]).exp()
    total = scores.new_zeros(count).index_add_(0, cell, weights)
    window = weights * near
    sums = torch.stack([window, window * x, window * y], dim=1)  # (N, 3)
    mass, *places = scores.new_zeros(count, 3).index_add_(0, cell, sums).unbind(1)
    cells = torch.stack(places, dim=1) / mass[:, None]
    return cells.view(*grid, 2), (mass / total).view(grid)
