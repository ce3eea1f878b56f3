"""Feature extraction: an image in, a `FeatureMap` out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semcorr.features.feature_map import FeatureMap
from semcorr.features.options import FeatureOptions, Precision

if TYPE_CHECKING:
    from semcorr.features.extractor import FeatureExtractor, join_stages

__all__ = ["FeatureExtractor", "FeatureMap", "FeatureOptions", "Precision", "join_stages"]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name not in ("FeatureExtractor", "join_stages"):
        raise AttributeError(f"module 'semcorr.features' has no attribute {name!r}")
    return getattr(import_module("semcorr.features.extractor"), name)
