"""Nearest neighbours: each cell matches the cell whose feature vector has the highest cosine with its own."""

from __future__ import annotations

import numpy as np

from semcorr.matchers.correlation import multiply
from semcorr.matchers.scored import Floats

TEMPERATURE = 0.05  # turns cosines into log-probabilities; affects the confidence but not which cell is best


def nearest(source: Floats, target: Floats) -> Floats:
    """Score every pair of cells of features ``(C, h, w)`` by its cosine, divided by `TEMPERATURE`.

    Returns:
        ``(hs, ws, ht, wt)`` float32.
    """
    scores = multiply(source.reshape(len(source), -1).T, target.reshape(len(target), -1))
    scores /= np.float32(TEMPERATURE)
    return scores.reshape(*source.shape[1:], *target.shape[1:])
