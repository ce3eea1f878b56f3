"""The loop of `semcorr.match.blend.blend` compiled for the CPU by Numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semcorr.jit import compile_once

Floats = NDArray[np.float32]


@compile_once
def blend_compiled(
    cells: Floats,
    points: Floats,
    confidence: Floats,
    cell: Floats,
    size: tuple[float, float],
    faint: np.float32,
    same_part: float,
) -> tuple[Floats, Floats, Floats]:
    """Blend what the four cells around each place propose.

    Args:
        cells: Places ``(N, 2)`` (x, y) in cells.
        points: Matches of the cells, ``(rows, columns, 2)`` in pixels of the other picture.
        confidence: ``(rows, columns)``.
        cell: Width and height of a cell of the other picture in pixels, ``(2,)``.
        size: Width and height of the other picture.
        faint: What is added to every confidence.
        same_part: How far from the heaviest proposal others may be, in cells of the other picture.

    Returns:
        Points ``(N, 2)``, the mean confidence ``(N,)`` of the proposals that had a say, and their share ``(N,)``.
    """
    rows, columns = confidence.shape
    moved = np.empty((len(cells), 2), np.float32)
    mean, share = np.empty(len(cells), np.float32), np.empty(len(cells), np.float32)
    proposed, near, weight, sure = np.empty((4, 2)), np.empty(4), np.empty(4), np.empty(4, np.float32)
    for n in range(len(cells)):
        inner_x = max(min(float(cells[n, 0]), columns - 1.0), 0.0)  # 0 of what is no number
        inner_y = max(min(float(cells[n, 1]), rows - 1.0), 0.0)
        left, top, lead = int(inner_x), int(inner_y), 0
        for k in range(4):
            x, y = left + k % 2, top + k // 2
            near[k] = max(1 - abs(inner_x - x), 0.0) * max(1 - abs(inner_y - y), 0.0)
            i, j = min(y, rows - 1), min(x, columns - 1)
            sure[k] = confidence[i, j]
            weight[k] = near[k] * (sure[k] + faint)
            proposed[k, 0] = points[i, j, 0] + (cells[n, 0] - x) * cell[0]
            proposed[k, 1] = points[i, j, 1] + (cells[n, 1] - y) * cell[1]
            if weight[k] > weight[lead]:
                lead = k
        total, along, down, spoke, certain = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(4):
            away_x = (proposed[k, 0] - proposed[lead, 0]) / cell[0]
            away_y = (proposed[k, 1] - proposed[lead, 1]) / cell[1]
            if math.sqrt(away_x * away_x + away_y * away_y) <= same_part:
                total += weight[k]
                along, down = along + weight[k] * proposed[k, 0], down + weight[k] * proposed[k, 1]
                spoke, certain = spoke + near[k], certain + near[k] * sure[k]
        moved[n, 0] = min(max(along / total, 0.0), size[0])
        moved[n, 1] = min(max(down / total, 0.0), size[1])
        mean[n], share[n] = certain / spoke, spoke
    return moved, mean, share
