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
from semcorr.metrics.selective import RiskCoverage, auroc, false_matches, risk_coverage

__all__ = [
    "ALPHAS",
    "CURVE",
    "Calibration",
    "RiskCoverage",
    "Scores",
    "Space",
    "Threshold",
    "area_under",
    "auroc",
    "axis_scales",
    "calibrate",
    "false_matches",
    "pck",
    "pck_curve",
    "pck_distances",
    "reference_length",
    "risk_coverage",
    "score",
]
