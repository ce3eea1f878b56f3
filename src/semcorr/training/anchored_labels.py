"""Pseudo-labels between keypoints: matches of photographs with keypoints that move as the keypoints around them do.

Keypoints teach a model a few points of an object. Its own matches between them teach it the others, as far as the
keypoints vouch for them: dense self-distillation anchored at keypoints, as in MARCO (CVPR 2026).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from semcorr.data.pairs import Pair, Photo
from semcorr.errors import DataError
from semcorr.geometry import cell_centres_array, cells_to_pixels
from semcorr.match.result import Match
from semcorr.models.matcher import Matcher

Floats = NDArray[np.float64]

MIN_SHARED = 6
"""Keypoints that a pair must share."""

AROUND = 0.15
"""How far a match may be from where the keypoints around it go, in parts of the extent of the target's keypoints."""

RETURNED = 0.08
"""How far from its start its way back may end, in parts of the extent of the source's keypoints."""

SURE = 0.4
"""The least product of its visibility and its confidence."""

BORDER = 0.02  # points within this part of a side are left out
SOFTENED = 0.03  # distances to keypoints are softened by this part of their extent
RIGID = 0.15  # how strongly the affine map around a point is held to a similarity
TRIES = 50  # pairs that are tried for each one that is wanted


def anchored_labels(
    model: Matcher, photos: Sequence[Photo], pairs: int, points: int, fewest: int, rng: np.random.Generator
) -> Iterator[tuple[Photo, Photo, Floats]]:
    """Match photographs with keypoints, and keep the points that move as the keypoints around them do.

    Args:
        model: What matches.
        photos: The photographs; pairs are drawn within a category, each category equally often.
        pairs: How many pairs.
        points: Points of a pair at most.
        fewest: Pairs with fewer are left out.
        rng: Random numbers.

    Yields:
        Two photographs, and ``(N, 2, 2)``: source and target (x, y), in the unit square.

    Raises:
        DataError: If too few pairs of photographs share enough keypoints.
    """
    categories: dict[str, list[Photo]] = {}
    for photo in photos:
        categories.setdefault(photo.category, []).append(photo)
    listed = [members for members in categories.values() if len(members) > 1]
    encode = lru_cache(maxsize=256)(model.encode)
    found = 0
    for _ in range(TRIES * pairs if listed else 0):
        members = listed[rng.integers(len(listed))]
        first, second = rng.choice(len(members), 2, replace=False)
        pair = Pair(members[first], members[second])
        if len(pair.names) < MIN_SHARED:
            continue
        kept = anchored_points(model.match(encode(pair.source.path), encode(pair.target.path)), pair)
        if len(kept) >= fewest:
            yield pair.source, pair.target, kept[rng.permutation(len(kept))[:points]]
            found += 1
            if found == pairs:
                return
    raise DataError(
        f"only {found} of {pairs} pairs of photographs share {MIN_SHARED} keypoints or more and have enough matches "
        "between them: ask for fewer"
    )


def anchored_points(match: Match, pair: Pair) -> Floats:
    """Return the matched cells within the keypoints of a pair that move as those do, ``(N, 2, 2)`` as above."""
    source, target = (points.astype(np.float64) for points in pair.points())
    grid = match.forward.confidence.shape
    cells = cells_to_pixels(cell_centres_array(grid), match.source_size, grid).reshape(-1, 2).astype(np.float64)
    cells = cells[within(source, cells)]
    answer = match.transfer(cells)
    returned = match.inverse().transfer(answer.points).points
    extents = [float(np.ptp(points, axis=0).max()) for points in (source, target)]
    kept = np.linalg.norm(answer.points - moved_with(source, target, cells), axis=1) < AROUND * extents[1]
    kept &= np.linalg.norm(returned - cells, axis=1) < RETURNED * extents[0]
    kept &= match.visible(cells) * answer.confidence > SURE
    unit = np.stack([cells / match.source_size[::-1], answer.points / np.array(match.target_size[::-1])], axis=1)[kept]
    inside: Floats = unit[((unit > BORDER) & (unit < 1 - BORDER)).all(axis=(1, 2))]
    return inside


def within(points: Floats, others: Floats) -> NDArray[np.bool_]:
    """Return which of ``others`` ``(N, 2)`` lie in the convex hull of points ``(K, 2)``: ``(N,)``.

    >>> within(np.array([[0, 0], [2, 0], [0, 2], [0.5, 0.5]]), np.array([[0.6, 0.6], [1.5, 1.5]])).tolist()
    [True, False]
    """
    try:
        find: Any = Triangulation(points[:, 0], points[:, 1]).get_trifinder()
    except (RuntimeError, ValueError):  # all points on one line
        return np.zeros(len(others), bool)
    return np.asarray(find(others[:, 0], others[:, 1]) >= 0)


def moved_with(known: Floats, moved: Floats, points: Floats) -> Floats:
    """Return where points would go if they moved as known points around them do.

    Around each point, the affine map that fits the known ones best, weighted by 1 / distance² and held to a similarity:
    moving least squares (Schaefer, McPhail and Warren, SIGGRAPH 2006).

    Args:
        known: ``(K, 2)``.
        moved: Where those went, ``(K, 2)``.
        points: ``(N, 2)``.

    Returns:
        ``(N, 2)``.

    >>> known = np.array([[0.0, 0], [4, 0], [0, 4], [4, 4]])
    >>> moved_with(known, 2 * known + 1, np.array([[1.0, 2.0]])).round(6).tolist()
    [[3.0, 5.0]]
    """
    softened = (SOFTENED * np.ptp(known, axis=0).max()) ** 2
    weights = 1 / (((points[:, None] - known) ** 2).sum(axis=2) + softened)
    weights /= weights.sum(axis=1, keepdims=True)  # (N, K)
    centre, goal = weights @ known, weights @ moved
    a, b = known - centre[:, None], moved - goal[:, None]  # (N, K, 2)
    spread = np.einsum("nk,nki,nkj->nij", weights, a, a)
    size = np.trace(spread, axis1=1, axis2=2)
    along = np.einsum("nk,nki,nki->n", weights, a, b) / size
    across = np.einsum("nk,nk->n", weights, a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) / size
    similarity = np.stack([np.stack([along, across], 1), np.stack([-across, along], 1)], axis=1)  # for rows
    rest = np.einsum("nk,nki,nkj->nij", weights, a, b - a @ similarity)
    affine = similarity + np.linalg.solve(spread + RIGID * size[:, None, None] * np.eye(2), rest)
    found: Floats = np.einsum("ni,nij->nj", points - centre, affine) + goal
    return found
