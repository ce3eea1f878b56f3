"""Metrics: PCK, and how well confidences are calibrated and order matches."""

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
from semcorr.metrics.selective import Ranking, RiskCoverage, auroc, false_matches, rank, risk_coverage

__all__ = [
    "ALPHAS",
    "CURVE",
    "Calibration",
    "Ranking",
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
    "rank",
    "reference_length",
    "risk_coverage",
    "score",
]
