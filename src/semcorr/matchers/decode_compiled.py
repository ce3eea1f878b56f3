"""The loops of `semcorr.matchers.decode` over lists of scored pairs, compiled for the CPU by Numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semcorr.jit import compile_once

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@compile_once
def soft_argmax_of_lists(
    cell: Integers, other: Integers, scores: Floats, count: int, width: int, radius: int
) -> tuple[Floats, Floats]:
    """Decode the matches of ``count`` cells from a list of scored pairs, each cell in it at least once.

    Args:
        cell: Of each pair, the cell that is decoded, ``(N,)``.
        other: The cell of the other picture.
        scores: Log-probabilities up to a constant.
        count: Cells that are decoded.
        width: Columns of the other picture's grid.
        radius: Radius in cells of the window around the best one.

    Returns:
        Positions ``(count, 2)`` (x, y) in cells of the other picture, and the share of all probability in the window.
    """
    highest, best = np.full(count, np.float32(-np.inf)), np.zeros(count, np.int64)
    for n in range(len(cell)):
        a, b = cell[n], other[n]
        if scores[n] > highest[a] or (scores[n] == highest[a] and b < best[a]):
            highest[a], best[a] = scores[n], b
    total, mass, places = np.zeros(count), np.zeros(count), np.zeros((count, 2))
    for n in range(len(cell)):
        a, b = cell[n], other[n]
        weight = math.exp(scores[n] - highest[a])
        total[a] += weight
        x, y = b % width, b // width
        if abs(x - best[a] % width) <= radius and abs(y - best[a] // width) <= radius:
            mass[a] += weight
            places[a, 0] += weight * x
            places[a, 1] += weight * y
    cells, share = np.empty((count, 2), np.float32), np.empty(count, np.float32)
    for a in range(count):
        cells[a, 0], cells[a, 1] = places[a, 0] / mass[a], places[a, 1] / mass[a]
        share[a] = mass[a] / total[a]
    return cells, share
