"""Feature extraction: an image in, a `FeatureMap` out."""

from semcorr.features.extractor import FeatureExtractor, join_stages
from semcorr.features.feature_map import FeatureMap
from semcorr.features.options import FeatureOptions, Precision

__all__ = ["FeatureExtractor", "FeatureMap", "FeatureOptions", "Precision", "join_stages"]
