"""Confidence calibration: reliability bins and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Calibration:
    """How well confidences predict correctness, in bins of confidence.

    Attributes:
        edges: The limits of the bins: one more than there are bins.
        counts: The number of matches in each bin.
        confidence: Their mean confidence, 0 to 1; NaN for an empty bin.
        accuracy: The fraction of them that is correct, 0 to 1; NaN for an empty bin.
        error: The expected calibration error: the mean of |confidence − accuracy| over matches, 0 to 1.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    error: float


def calibrate(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> Calibration:
    """Compare the confidence of matches with their correctness, in bins of equal width.

    Args:
        confidence: Confidences from 0 to 1, ``(N,)``. The upper edge of a bin belongs to it; 0 belongs to the first.
        correct: Whether each match is correct, ``(N,)`` bool.
        bins: The number of bins.

    Raises:
        ValueError: If the shapes differ, a confidence is outside 0 to 1, or ``bins`` is less than 1.

    >>> result = calibrate([0.9, 0.9, 0.2, 0.4], [True, False, False, False], 2)
    >>> result.counts, result.accuracy, round(result.error, 3)
    ((2, 2), (0.0, 0.5), 0.35)
    """
    given, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if given.shape != right.shape or given.ndim != 1:
        shapes = f"{given.shape} and {right.shape}"
        raise ValueError(f"confidence and correct must both have the shape (N,), got {shapes}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"confidence must be from 0 to 1, got {given.min():g} to {given.max():g}")
    edges = np.arange(bins + 1) / bins
    # 0.6 in single precision is slightly above 0.6, and still belongs to the bin below
    index = np.maximum(np.searchsorted(edges, given - 1e-6) - 1, 0)  # (N,)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):  # NaN for an empty bin
        mean_confidence = np.bincount(index, given, bins) / counts
        mean_accuracy = np.bincount(index, right, bins) / counts
    gaps = np.nan_to_num(np.abs(mean_confidence - mean_accuracy) * counts)
    return Calibration(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        confidence=tuple(mean_confidence.tolist()),
        accuracy=tuple(mean_accuracy.tolist()),
        error=float(gaps.sum() / max(1, len(given))),
    )
