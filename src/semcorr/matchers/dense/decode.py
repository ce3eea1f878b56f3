"""Decode scores, in torch, into sub-cell matches and their confidence, in both directions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semcorr.geometry import Size
from semcorr.matchers.decode import soft_argmax as soft_argmax_of_pairs
from semcorr.matchers.dense.confidence import agreement_of
from semcorr.matchers.dense.scores import CellMatches, ScoredPairs


def decode(scores: Tensor | ScoredPairs, radius: int = 2, agreement: float = 1.0) -> tuple[CellMatches, CellMatches]:
    """Decode the best match of every cell, source to target and target to source.

    The position is the soft-argmax over the scored cells within ``radius`` of the best one. The confidence is the
    share of the probability (softmax over all scored cells) that lies in that window — how peaked the score is —
    times exp(-d²/2) for a round trip that ends d · ``agreement`` cells from where it started.

    Args:
        scores: A table ``(B, hs, ws, ht, wt)`` of log-probabilities up to a constant, -inf where a pair was not scored;
            or a list of the scored pairs.
        radius: Radius of the decoded window in cells; 0 returns the centre of the best cell.
        agreement: Round-trip error in cells that multiplies the confidence by exp(-½).

    Returns:
        The matches of the source cells and those of the target cells.
    """
    if isinstance(scores, ScoredPairs):
        forward, backward = _peaks_of_pairs(scores, radius)
    else:
        forward, backward = _peaks(scores, radius), _peaks(scores.permute(0, 3, 4, 1, 2), radius)
    return _with_agreement(forward, backward, agreement), _with_agreement(backward, forward, agreement)


class Peaks(NamedTuple):
    """The best match of each cell, ``(B, h, w, 2)``, and the share of the probability around it, ``(B, h, w)``."""

    cells: Tensor
    share: Tensor


def _with_agreement(forward: Peaks, backward: Peaks, agreement: float) -> CellMatches:
    confidence = forward.share * agreement_of(forward.cells, backward.cells, agreement)
    return CellMatches(forward.cells, confidence, forward.share)


def soft_argmax(scores: Tensor, radius: int = 2) -> tuple[Tensor, Tensor]:
    """Decode maps of scores around their highest cell.

    Args:
        scores: Log-probabilities up to a constant, ``(N, h, w)``; -inf has probability zero.
        radius: Radius of the decoded window in cells.

    Returns:
        Positions ``(N, 2)`` (x, y) in cell coordinates, and the share of the probability that lies in the window
        ``(N,)``.
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
        forward.append(_peaks_of_lists(p, q, scores, (hs, ws), (ht, wt), radius))
        backward.append(_peaks_of_lists(q, p, scores, (ht, wt), (hs, ws), radius))
    matches = [
        Peaks(*(torch.stack(tensors) for tensors in zip(*decoded, strict=True))) for decoded in (forward, backward)
    ]
    if scored.certainty is not None:
        matches = [
            Peaks(direction.cells, direction.share * certainty)
            for direction, certainty in zip(matches, scored.certainty, strict=True)
        ]
    return matches[0], matches[1]


def _peaks_of_lists(
    cell: Tensor, other: Tensor, scores: Tensor, grid: Size, other_grid: Size, radius: int
) -> tuple[Tensor, Tensor]:
    """Decode the cells of a grid from scored pairs, each an entry of ``cell``, ``other`` and ``scores``."""
    p, q, values = (tensor.detach().cpu().contiguous().numpy() for tensor in (cell, other, scores.float()))
    positions, share = soft_argmax_of_pairs(p, q, values, grid[0] * grid[1], other_grid, radius)
    decoded = torch.from_numpy(positions).view(*grid, 2), torch.from_numpy(share).view(grid)
    return decoded[0].to(scores.device), decoded[1].to(scores.device)
