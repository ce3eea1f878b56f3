"""Is a match as sure as it says? Reliability in bins, and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """Is a match said to be 90 % sure right nine times in ten? One entry for each bin of confidence.

    Attributes:
        edges: the limits of the bins, one more than there are bins.
        counts: matches in each bin.
        confidence: their mean confidence, 0 to 1; NaN where a bin is empty.
        accuracy: the share of them that is correct, 0 to 1; NaN where a bin is empty.
        error: the expected calibration error: the mean of |confidence − accuracy| over matches, 0 to 1.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    error: float


def calibrate(confidence: Tensor, correct: Tensor, bins: int = 10) -> Calibration:
    """Compare what matches say of themselves with what is true of them, in bins of equal width.

    Args:
        confidence: between 0 and 1, ``(N,)``. The upper edge of a bin belongs to it; 0 belongs to the first.
        correct: whether each match is right, ``(N,)`` bool.
        bins: how many bins there are.

    >>> result = calibrate(torch.tensor([0.9, 0.9, 0.2, 0.4]), torch.tensor([True, False, False, False]), 2)
    >>> result.counts, result.accuracy, round(result.error, 3)
    ((2, 2), (0.0, 0.5), 0.35)
    """
    if confidence.shape != correct.shape or confidence.ndim != 1:
        shapes = f"{tuple(confidence.shape)} and {tuple(correct.shape)}"
        raise ValueError(f"confidence and correct must both have the shape (N,), got {shapes}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    said, right = confidence.detach().cpu().double(), correct.detach().cpu().double()
    if not bool(((said >= 0) & (said <= 1)).all()):
        raise ValueError(f"confidence must lie between 0 and 1, got {said.min():g} to {said.max():g}")
    edges = torch.arange(bins + 1, dtype=torch.float64) / bins
    # 0.6 in single precision is a hair above 0.6, and still belongs below it
    index = (torch.bucketize(said - 1e-6, edges) - 1).clamp(min=0)  # (N,)
    counts = torch.bincount(index, minlength=bins)
    mean_said = torch.bincount(index, weights=said, minlength=bins) / counts
    mean_right = torch.bincount(index, weights=right, minlength=bins) / counts
    gaps = ((mean_said - mean_right).abs() * counts).nan_to_num(0.0)
    return Calibration(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        confidence=tuple(mean_said.tolist()),
        accuracy=tuple(mean_right.tolist()),
        error=float(gaps.sum() / max(1, len(said))),
    )
