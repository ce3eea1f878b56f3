"""Backbones: a picture in, a `FeatureMap` out."""

from semcorr.features.backbone import FeatureExtractor, FeatureOptions, Precision, join_stages
from semcorr.features.feature_map import FeatureMap

__all__ = ["FeatureExtractor", "FeatureMap", "FeatureOptions", "Precision", "join_stages"]
