"""Several exemplars answer together: for each point, the place that most of the evidence speaks for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH = 0.08
"""Standard deviation of the agreement of two answers, as a share of the object's longer side; chosen on validation."""

_FAINT = 1e-9  # what an answer without any confidence still weighs, so that a place is always found
_STEPS = 3  # of mean shift


class Vote(NamedTuple):
    """The answer for each of N points.

    Attributes:
        points: ``(N, 2)`` x, y in pixels.
        confidence: ``(N,)`` 0 to 1: the mean confidence of the exemplars, each as far as it agrees.
        visibility: ``(N,)``, 0 to 1: the weighted mean over all exemplars, whether or not their positions agree.
        winner: ``(N,)`` index of the exemplar with the largest say.
    """

    points: Floats
    confidence: Floats
    visibility: Floats
    winner: NDArray[np.int64]


def vote(points: Floats, confidence: Floats, visibility: Floats, side: float) -> Vote:
    """Let E exemplars vote on N points.

    An answer weighs by the square of its confidence times its visibility, and by the square of the exemplar's mean
    confidence. The answer that the others support most leads, and a few steps of mean shift average what agrees.

    Args:
        points: ``(N, E, 2)``; NaN where an exemplar lacks the point.
        confidence: ``(N, E)``, 0 to 1.
        visibility: ``(N, E)``, 0 to 1.
        side: Longer side of the object in pixels: agreement is relative to it.

    Returns:
        The vote. A point that every exemplar lacks gets NaN and no confidence.
    """
    answered = ~np.isnan(points[..., 0])  # (N, E)
    filled = np.where(answered[..., None], points, 0.0)
    given = np.where(answered, confidence, 0.0)
    trust = given.sum(axis=0) / np.maximum(answered.sum(axis=0), 1)  # (E,)
    weights = np.where(answered, (given * visibility * trust) ** 2 + _FAINT, 0.0)
    width = WIDTH * side
    rows = np.arange(len(points))
    between = np.linalg.norm(filled[:, :, None] - filled[:, None], axis=3)  # (N, E, E)
    support = np.where(answered, (_agreement(between, width) * weights[:, None]).sum(axis=2), -1.0)
    place = filled[rows, support.argmax(axis=1)]
    for _ in range(_STEPS):
        share = weights * _agreement(_distance(filled, place), width)  # (N, E)
        total = np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
        place = (share[..., None] * filled).sum(axis=1) / total
    share = weights * _agreement(_distance(filled, place), width)
    total = np.maximum(weights.sum(axis=1), 1e-300)
    place = np.where(answered.any(axis=1, keepdims=True), place, np.nan)
    seen = (weights * np.where(answered, visibility, 0.0)).sum(axis=1) / total
    return Vote(place, (share * given).sum(axis=1) / total, seen, share.argmax(axis=1))


def _agreement(distance: Floats, width: float) -> Floats:
    agreement: Floats = np.exp(-0.5 * (distance / width) ** 2)
    return agreement


def _distance(points: Floats, place: Floats) -> Floats:
    distance: Floats = np.linalg.norm(points - place[:, None], axis=2)
    return distance
