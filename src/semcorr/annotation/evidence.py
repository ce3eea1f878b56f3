"""What a match says about points: the only place that looks into a match."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from semcorr.match.result import Match

Floats = NDArray[np.float64]


class Evidence(NamedTuple):
    """One exemplar's answer for its N points.

    Attributes:
        points: ``(N, 2)`` x, y in pixels of the target.
        confidence: ``(N,)`` probability that a point is right, 0 to 1.
        visibility: ``(N,)`` probability that the target has the point at all, 0 to 1; 1 where the model cannot tell.
        similarity: Whether both pictures show the same kind of thing, 0 to 1.
    """

    points: Floats
    confidence: Floats
    visibility: Floats
    similarity: float


def gather_evidence(match: Match, points: NDArray[np.float32]) -> Evidence:
    """Ask a match for points ``(N, 2)`` of its source, in pixels."""
    moved, visibility, similarity = match.transfer(points), match.visible(points), match.similarity
    if similarity is None:  # a model that does not estimate it
        similarity = float(moved.confidence.mean()) if len(points) else 0.0
    return Evidence(
        moved.points.astype(np.float64),
        moved.confidence.astype(np.float64),
        np.asarray(visibility, dtype=np.float64),
        float(similarity),
    )
