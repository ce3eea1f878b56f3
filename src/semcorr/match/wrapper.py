"""A match as the dictionary that wrappers of image-matching models work with."""

from __future__ import annotations

from typing import Any

import numpy as np

from semcorr.match.result import Match


def to_wrapper(match: Match, count: int = 200, min_visibility: float = 0.5) -> dict[str, Any]:
    """Return the best mutual matches under the names that wrappers of image-matching models use.

    Points follow their convention: 0,0 is the *centre* of the first pixel, half a pixel from that of `Match`.

    Args:
        match: The match of two images.
        count: Maximum number of matches, 1 or more.
        min_visibility: As for `Match.keypoints`.

    Returns:
        ``matched_kpts0`` and ``matched_kpts1`` ``(N, 2)`` x, y, and ``scores`` ``(N,)`` 0…1, also as
        ``matched_confidences``, all float32. As there is no detector, ``all_kpts0`` and ``all_kpts1`` are
        the same points, and ``all_desc0`` and ``all_desc1`` are empty.
        Matches of different things obey no homography: ``H`` is None, ``inlier_kpts0`` and ``inlier_kpts1`` are empty,
        and ``num_inliers`` is 0.
    """
    best = match.keypoints(count, min_visibility)
    source, target = best.source - np.float32(0.5), best.target - np.float32(0.5)
    nothing = np.empty((0, 2), dtype=np.float32)
    return {
        "num_inliers": 0,
        "H": None,
        "all_kpts0": source,
        "all_kpts1": target,
        "all_desc0": nothing,
        "all_desc1": nothing,
        "matched_kpts0": source,
        "matched_kpts1": target,
        "matched_confidences": best.confidence,
        "scores": best.confidence,
        "inlier_kpts0": nothing,
        "inlier_kpts1": nothing,
    }
