"""Nearest neighbours in torch: each cell matches the cell whose feature vector has the highest cosine with its own."""

from __future__ import annotations

from torch import Tensor

from semcorr.features.feature_map import FeatureMap
from semcorr.matchers.dense.correlation import cosine_correlation
from semcorr.matchers.nearest import TEMPERATURE


def nearest(source: FeatureMap, target: FeatureMap) -> Tensor:
    """Score every pair of cells by its cosine, divided by `TEMPERATURE`: ``(B, hs, ws, ht, wt)`` float32."""
    return cosine_correlation(source.tensor, target.tensor).float() / TEMPERATURE
