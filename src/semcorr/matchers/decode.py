"""Decode scored pairs into sub-cell matches and their confidence, in both directions."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcorr.geometry import Size, cell_centres_array
from semcorr.matchers.scored import Floats, Integers, Scored
from semcorr.native import core, points

Decoding = Literal["soft-argmax", "argmax"]
"""Soft-argmax around the best cell; or the centre of the best cell, as NC-Net and ANC-Net are evaluated."""

_AT_ONCE = 1 << 22  # scores of a table that are decoded at once


class CellMatches(NamedTuple):
    """The match of each cell of one image in the other.

    Attributes:
        cells: ``(h, w, 2)`` (x, y) in cell coordinates of the other image's grid, float32.
        confidence: ``(h, w)``, 0…1, float32.
        peak: ``(h, w)``, 0…1, float32: how peaked the scores are, which is the confidence before the round trip.
    """

    cells: Floats
    confidence: Floats
    peak: Floats


def decode(scored: Scored | Floats, radius: int = 2, agreement: float = 1.0) -> tuple[CellMatches, CellMatches]:
    """Decode the best match of every cell, source to target and target to source.

    The position is the soft-argmax over the scored cells within ``radius`` of the best one. The confidence is the
    share of the probability (softmax over all scored cells) that lies in that window — how peaked the score is —
    times exp(-d²/2) for a round trip that ends d · ``agreement`` cells from where it started.

    Args:
        scored: The scored pairs, in which every cell of both images occurs at least once; or a table of all pairs,
            ``(hs, ws, ht, wt)``, log-probabilities up to a constant.
        radius: Radius of the decoded window in cells; 0 returns the centre of the best cell.
        agreement: Round-trip error in cells that multiplies the confidence by exp(-½).

    Returns:
        The matches of the source cells and those of the target cells.
    """
    if not isinstance(scored, Scored):
        forward, backward = _peaks_of_table(scored, radius), _peaks_of_table(scored.transpose(2, 3, 0, 1), radius)
        return _rated(forward, backward, (forward[1], backward[1]), agreement)
    hs, ws, ht, wt = scored.grid
    p, q = np.divmod(scored.pairs, ht * wt)
    forward, backward = (
        _peaks(soft_argmax(*arguments, radius), grid)
        for arguments, grid in (
            ((p, q, scored.scores, hs * ws, (ht, wt)), (hs, ws)),
            ((q, p, scored.scores, ht * wt, (hs, ws)), (ht, wt)),
        )
    )
    certainty = scored.certainty or (np.float32(1), np.float32(1))
    return _rated(forward, backward, (forward[1] * certainty[0], backward[1] * certainty[1]), agreement)


def _rated(
    forward: tuple[Floats, Floats], backward: tuple[Floats, Floats], peaks: tuple[Floats, Floats], agreement: float
) -> tuple[CellMatches, CellMatches]:
    of_source = peaks[0] * _agreement(forward[0], backward[0], agreement)
    of_target = peaks[1] * _agreement(backward[0], forward[0], agreement)
    return CellMatches(forward[0], of_source, peaks[0]), CellMatches(backward[0], of_target, peaks[1])


def soft_argmax(
    cell: Integers, other: Integers, scores: Floats, cells: int, grid: Size, radius: int
) -> tuple[Floats, Floats]:
    """Decode the matches of the cells of one image from a list of scored pairs.

    Args:
        cell: The cell of each pair in this image, ``(N,)`` int64.
        other: The cell of each pair in the other image, ``(N,)`` int64.
        scores: Log-probabilities up to a constant, ``(N,)``.
        cells: Number of cells of this image.
        grid: Rows and columns of the other image.
        radius: Radius, in cells, of the window around the best cell.

    Returns:
        Positions ``(cells, 2)`` (x, y) in cells of the other image, NaN for a cell without pairs, and the share of the
        probability that lies in the window, ``(cells,)``.
    """
    if core() is None:
        return soft_argmax_plain(cell, other, scores, cells, grid, radius)
    return points.soft_argmax(cell, other, scores, (cells, grid), radius)


def soft_argmax_plain(
    cell: Integers, other: Integers, scores: Floats, cells: int, grid: Size, radius: int
) -> tuple[Floats, Floats]:
    """NumPy implementation of `soft_argmax`."""
    highest = np.full(cells, -np.inf, np.float32)
    np.maximum.at(highest, cell, scores)
    at_best = scores == highest[cell]
    best = np.full(cells, np.iinfo(np.int64).max)
    np.minimum.at(best, cell[at_best], other[at_best])
    (y, x), (best_y, best_x) = np.divmod(other, grid[1]), np.divmod(best[cell], grid[1])
    near = (np.abs(x - best_x) <= radius) & (np.abs(y - best_y) <= radius)
    weights = np.exp((scores - highest[cell]).astype(np.float64))
    total = np.bincount(cell, weights, cells)
    mass, sum_x, sum_y = (np.bincount(cell, weights * near * value, cells) for value in (1, x, y))
    with np.errstate(invalid="ignore"):  # NaN for a cell without pairs
        positions, share = np.stack([sum_x, sum_y], axis=1) / mass[:, None], mass / total
    return positions.astype(np.float32), share.astype(np.float32)


def _peaks_of_table(table: Floats, radius: int) -> tuple[Floats, Floats]:
    """Decode the cells of the first image from a table ``(h, w, h', w')``: ``(h, w, 2)`` and ``(h, w)``."""
    height, width, rows, columns = table.shape
    cells, share = np.empty((height, width, 2), np.float32), np.empty((height, width), np.float32)
    steps = np.arange(-radius, radius + 1)
    dy, dx = (step.ravel() for step in np.meshgrid(steps, steps, indexing="ij"))
    step = max(1, _AT_ONCE // (width * rows * columns))
    for begin in range(0, height, step):
        part = slice(begin, begin + step)
        scores = np.ascontiguousarray(table[part]).reshape(-1, rows * columns)
        best = scores.argmax(axis=1)[:, None]
        y, x = best // columns + dy, best % columns + dx  # (N, window)
        inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        near = np.clip(y, 0, rows - 1) * columns + np.clip(x, 0, columns - 1)
        highest = np.take_along_axis(scores, best, axis=1)
        weights = np.exp(np.take_along_axis(scores, near, axis=1) - highest) * inside
        mass = weights.sum(axis=1)
        position = np.stack([(weights * x).sum(axis=1), (weights * y).sum(axis=1)], axis=1) / mass[:, None]
        cells[part] = position.reshape(-1, width, 2)
        share[part] = (mass / np.exp(scores - highest).sum(axis=1)).reshape(-1, width)
    return cells, share


def _peaks(decoded: tuple[Floats, Floats], grid: Size) -> tuple[Floats, Floats]:
    return decoded[0].reshape(*grid, 2), decoded[1].reshape(grid)


def _agreement(forward: Floats, backward: Floats, sigma: float) -> Floats:
    """Rate round trips: 1 where ``forward`` followed by ``backward`` ends where it started.

    Outside its grid, ``backward`` counts as 0.
    """
    rows, columns = backward.shape[:2]
    low = np.floor(forward)
    part, low = forward - low, low.astype(np.int64)
    returned: NDArray[np.float32] = np.zeros_like(forward)
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = low[..., 0] + dx, low[..., 1] + dy
            weight = np.abs(1 - dx - part[..., 0]) * np.abs(1 - dy - part[..., 1])
            inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            value = backward[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
            returned += (weight * inside)[..., None] * value
    squared = ((returned - cell_centres_array((forward.shape[0], forward.shape[1]))) ** 2).sum(axis=2)
    agreement: Floats = np.exp(-squared / np.float32(2 * sigma**2)).astype(np.float32)
    return agreement
