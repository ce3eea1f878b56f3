"""The loop of `semcorr.match.refine` compiled for the CPU by Numba: the same corrections, nothing gathered."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semcorr.jit import compile_loosely

Floats = NDArray[np.float32]


@compile_loosely
def correct_compiled(
    descriptors: Floats, target: Floats, begin: Floats, radius: int, sharpness: float, nearness: float
) -> Floats:
    """Move places ``(N, 2)`` in the cells of ``target (h, w, D)`` to the soft-argmax around them.

    Args:
        descriptors: ``(N, D)``.
        target: ``(h, w, D)``.
        begin: (x, y) in cells.
        radius: Of the window, in cells.
        sharpness: What a cosine of 1 is worth, as a log-probability.
        nearness: What a squared distance of 1 costs.
    """
    height, width, length = target.shape
    found = np.empty((len(begin), 2), np.float32)
    logits = np.empty((2 * radius + 1) ** 2, np.float32)
    for n in range(len(begin)):
        left, top = round(begin[n, 0]) - radius, round(begin[n, 1]) - radius
        first_x, last_x = max(left, 0), min(left + 2 * radius + 1, width)
        first_y, last_y = max(top, 0), min(top + 2 * radius + 1, height)
        highest, listed = np.float32(-np.inf), 0
        for y in range(first_y, last_y):
            for x in range(first_x, last_x):
                cosine = np.float32(0)
                for k in range(length):
                    cosine += descriptors[n, k] * target[y, x, k]
                away = (x - begin[n, 0]) ** 2 + (y - begin[n, 1]) ** 2
                logits[listed] = sharpness * cosine - nearness * away
                highest = max(highest, logits[listed])
                listed += 1
        total, along, down, listed = 0.0, 0.0, 0.0, 0
        for y in range(first_y, last_y):
            for x in range(first_x, last_x):
                weight = math.exp(logits[listed] - highest)
                total, along, down = total + weight, along + weight * x, down + weight * y
                listed += 1
        found[n, 0], found[n, 1] = along / total, down / total
    return found
