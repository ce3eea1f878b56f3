"""Confidence calibration: reliability bins and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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


def calibrate(confidence: Tensor, correct: Tensor, bins: int = 10) -> Calibration:
    """Compare the confidence of matches with their correctness, in bins of equal width.

    Args:
        confidence: Confidences from 0 to 1, ``(N,)``. The upper edge of a bin belongs to it; 0 belongs to the first.
        correct: Whether each match is correct, ``(N,)`` bool.
        bins: The number of bins.

    Raises:
        ValueError: If the shapes differ, a confidence is outside 0 to 1, or ``bins`` is less than 1.

    >>> result = calibrate(torch.tensor([0.9, 0.9, 0.2, 0.4]), torch.tensor([True, False, False, False]), 2)
    >>> result.counts, result.accuracy, round(result.error, 3)
    ((2, 2), (0.0, 0.5), 0.35)
    """
    if confidence.shape != correct.shape or confidence.ndim != 1:
        shapes = f"{tuple(confidence.shape)} and {tuple(correct.shape)}"
        raise ValueError(f"confidence and correct must both have the shape (N,), got {shapes}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    given, right = confidence.detach().cpu().double(), correct.detach().cpu().double()
    if not bool(((given >= 0) & (given <= 1)).all()):
        raise ValueError(f"confidence must be from 0 to 1, got {given.min():g} to {given.max():g}")
    edges = torch.arange(bins + 1, dtype=torch.float64) / bins
    # 0.6 in single precision is slightly above 0.6, and still belongs to the bin below
    index = (torch.bucketize(given - 1e-6, edges) - 1).clamp(min=0)  # (N,)
    counts = torch.bincount(index, minlength=bins)
    mean_confidence = torch.bincount(index, weights=given, minlength=bins) / counts
    mean_accuracy = torch.bincount(index, weights=right, minlength=bins) / counts
    gaps = ((mean_confidence - mean_accuracy).abs() * counts).nan_to_num(0.0)
    return Calibration(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        confidence=tuple(mean_confidence.tolist()),
        accuracy=tuple(mean_accuracy.tolist()),
        error=float(gaps.sum() / max(1, len(given))),
    )
