"""Nearest neighbours: a cell goes where its feature vector has the highest cosine."""

from __future__ import annotations

from torch import Tensor

from semcorr.features.feature_map import FeatureMap
from semcorr.matchers.dense.correlation import cosine_correlation

TEMPERATURE = 0.05  # makes confidences of cosines comparable between pairs; the match itself does not depend on it


def nearest(source: FeatureMap, target: FeatureMap) -> Tensor:
    """Score every pair of cells by its cosine."""
    return cosine_correlation(source.tensor, target.tensor).float() / TEMPERATURE
