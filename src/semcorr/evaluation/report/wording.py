"""What reports say in words."""

from __future__ import annotations

from semcorr.evaluation.report.tables import counted
from semcorr.evaluation.results import Evaluation

LENGTHS = {
    "image": "the longer side of the target picture",
    "bbox": "the longer side of the target's box",
    "keypoints": "the longer side of the extent of the target's keypoints",
}
"""Threshold to the length that α is a fraction of."""
SPACES = {"native": "native pixels", "square": "pixels after squashing both pictures to a square"}
"""Space to what distances are counted in."""


def protocol(evaluation: Evaluation) -> str:
    """Say in one paragraph what was measured, so that no figure stands without its definition."""
    scores = evaluation.scores
    skipped = f"; broken and left out: {len(evaluation.skipped)}" if evaluation.skipped else ""
    return (
        f"{evaluation.dataset}: {counted(scores.pairs, 'pair')}, {counted(scores.points, 'point')}{skipped}. PCK in "
        "per cent; points go from the source to the target, and one is correct within α times "
        f"{LENGTHS[evaluation.threshold]}, in {SPACES[evaluation.space]}."
    )


def calibration_line(evaluation: Evaluation) -> str:
    """Say how honest the confidence is."""
    calibration = evaluation.scores.calibration
    if calibration is None:
        return f"{evaluation.model}: some points came without a confidence, so that it cannot be judged."
    alpha = max(evaluation.scores.per_image)
    count = sum(calibration.counts)
    said, right = (
        sum(n * value for n, value in zip(calibration.counts, values, strict=True) if n) / count
        for values in (calibration.confidence, calibration.accuracy)
    )
    return (
        f"{evaluation.model}: expected calibration error {100 * calibration.error:.1f} points at α = {alpha:g}. "
        f"The mean confidence is {100 * said:.1f} %, the share that is right {100 * right:.1f} %."
    )
