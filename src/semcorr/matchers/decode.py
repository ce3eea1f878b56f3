"""From scored pairs to sub-cell matches and their confidence, in both directions at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcorr.geometry import Size, cell_centres_array
from semcorr.matchers.scored import Floats, Integers, Scored
from semcorr.native import core, points


class CellMatches(NamedTuple):
    """Where each cell of one picture went in the other.

    Attributes:
        cells: ``(h, w, 2)`` (x, y) in cell coordinates of the other picture's grid, float32.
        confidence: ``(h, w)``, 0…1, float32.
    """

    cells: Floats
    confidence: Floats


def decode(scored: Scored, radius: int = 2, agreement: float = 1.0) -> tuple[CellMatches, CellMatches]:
    """Decode the best match of every cell, source to target and target to source.

    The position is the soft-argmax over the scored cells within ``radius`` of the best one. The confidence is the
    share of the probability (softmax over all scored cells) that lies in that window — how peaked the score is —
    times exp(-d²/2) for a round trip, there and back, that ends d · ``agreement`` cells from where it began.

    Args:
        scored: Every cell of both pictures in it at least once.
        radius: Radius of the decoded window in cells; 0 takes the centre of the best cell.
        agreement: Round trips of this many cells lower the confidence by exp(-½).

    Returns:
        The matches of the source cells and those of the target cells.
    """
    hs, ws, ht, wt = scored.grid
    p, q = np.divmod(scored.pairs, ht * wt)
    there, back = (
        _peaks(soft_argmax(*arguments, radius), here)
        for arguments, here in (
            ((p, q, scored.scores, hs * ws, (ht, wt)), (hs, ws)),
            ((q, p, scored.scores, ht * wt, (hs, ws)), (ht, wt)),
        )
    )
    certain = scored.certainty or (np.float32(1), np.float32(1))
    forward = there.confidence * certain[0] * _agreement(there.cells, back.cells, agreement)
    backward = back.confidence * certain[1] * _agreement(back.cells, there.cells, agreement)
    return CellMatches(there.cells, forward), CellMatches(back.cells, backward)


def soft_argmax(
    cell: Integers, other: Integers, scores: Floats, cells: int, grid: Size, radius: int
) -> tuple[Floats, Floats]:
    """Decode the matches of the cells of one picture from a list of scored pairs; a cell without pairs gets NaN.

    Args:
        cell: Of each pair, the cell that is decoded, ``(N,)``.
        other: The cell of the other picture.
        scores: Log-probabilities up to a constant.
        cells: How many are decoded.
        grid: Rows and columns of the other picture.
        radius: Radius in cells of the window around the best one.

    Returns:
        Positions ``(cells, 2)`` (x, y) in cells of the other picture, and the share of all probability in the window.
    """
    if core() is None:
        return soft_argmax_plainly(cell, other, scores, cells, grid, radius)
    return points.soft_argmax(cell, other, scores, (cells, grid), radius)


def soft_argmax_plainly(
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
    mass, along, down = (np.bincount(cell, weights * near * each, cells) for each in (1, x, y))
    with np.errstate(invalid="ignore"):  # a cell without pairs gets NaN
        places, share = np.stack([along, down], axis=1) / mass[:, None], mass / total
    return places.astype(np.float32), share.astype(np.float32)


def _peaks(decoded: tuple[Floats, Floats], grid: Size) -> CellMatches:
    return CellMatches(decoded[0].reshape(*grid, 2), decoded[1].reshape(grid))


def _agreement(there: Floats, back: Floats, sigma: float) -> Floats:
    """Judge round trips: 1 where following ``there`` and then ``back`` ends where it began; outside, back is 0."""
    rows, columns = back.shape[:2]
    low = np.floor(there)
    part, low = there - low, low.astype(np.int64)
    returned: NDArray[np.float32] = np.zeros_like(there)
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = low[..., 0] + dx, low[..., 1] + dy
            weight = np.abs(1 - dx - part[..., 0]) * np.abs(1 - dy - part[..., 1])
            inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            value = back[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
            returned += (weight * inside)[..., None] * value
    away = ((returned - cell_centres_array((there.shape[0], there.shape[1]))) ** 2).sum(axis=2)
    agreement: Floats = np.exp(-away / np.float32(2 * sigma**2)).astype(np.float32)
    return agreement
