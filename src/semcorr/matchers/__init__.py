"""Matchers: two feature maps in, one table of scores over all pairs of cells out.

A matcher is any callable ``(FeatureMap, FeatureMap) -> Tensor``. The tensor is ``(B, hs, ws, ht, wt)``, float32, on the
device of the features: log-probabilities up to a constant, -inf where a pair was not scored. A matcher that scores few
pairs may return them alone, as `semcorr.decode.ScoredPairs`. `semcorr.decode` turns either into sub-cell matches of
both directions, whatever the matcher.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from semcorr.decode import ScoredPairs
from semcorr.features.feature_map import FeatureMap

ScoreCells = Callable[[FeatureMap, FeatureMap], Tensor | ScoredPairs]
