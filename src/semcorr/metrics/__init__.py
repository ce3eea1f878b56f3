"""Metrics: PCK and the calibration of confidences."""

from semcorr.metrics.calibration import Calibration, calibrate
from semcorr.metrics.pck import (
    ALPHAS,
    CURVE,
    Scores,
    Space,
    Threshold,
    area_under,
    axis_scales,
    pck,
    pck_curve,
    pck_distances,
    reference_length,
    score,
)

__all__ = [
    "ALPHAS",
    "CURVE",
    "Calibration",
    "Scores",
    "Space",
    "Threshold",
    "area_under",
    "axis_scales",
    "calibrate",
    "pck",
    "pck_curve",
    "pck_distances",
    "reference_length",
    "score",
]
