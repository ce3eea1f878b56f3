"""PCK, the percentage of correct keypoints.

A point transferred to ``p`` in the target, whose true position is ``t``, has the error::

    e = ‖s · (p − t)‖ / L        s = (1, 1) in native pixels, (1/width, 1/height) in the square

and is correct at α where ``e ≤ α``. ``L`` is the target's reference length in the same space: the longer side
of the image, of the object's box, or of the extent of the pair's keypoints. In the square, to which both pictures
are squashed, the image's ``L`` is the side of the square. Averages, the curve and its area are computed from ``e``
alone, without coordinates.

``per_image`` is the mean over pairs of the fraction of correct points of each pair, ``per_point`` the fraction of
correct points of all pairs together, and ``per_category`` the mean over categories of their ``per_image``. All are
percentages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semcorr.data.pairs import Pair
from semcorr.errors import DataError
from semcorr.metrics.calibration import Calibration, calibrate
from semcorr.metrics.selective import Ranking, rank

Numbers = NDArray[np.float64]
Threshold = Literal["image", "bbox", "keypoints"]
Space = Literal["native", "square"]

ALPHAS = (0.1, 0.05, 0.03, 0.01)
"""The thresholds that papers report."""

CURVE = tuple(step / 200 for step in range(41))
"""The α of a PCK curve: 0 to 0.2 in steps of 0.005."""


def axis_scales(size: tuple[int, int], space: Space) -> Numbers:
    """Return the factors for x and y of the target, ``(2,)`` float64: in the square, its side is 1."""
    height, width = size
    if space == "native":
        return np.ones(2)
    if space == "square":
        return 1.0 / np.array([width, height], np.float64)
    raise ValueError(f"space must be 'native' or 'square', got {space!r}")


def reference_length(pair: Pair, threshold: Threshold, space: Space = "native") -> float:
    """Return L, the length in the target that α is a fraction of, in the units of the space."""
    scales = axis_scales(pair.target.size, space)
    if threshold == "image":
        height, width = pair.target.size
        sides = np.array([width, height], np.float64)
    elif threshold == "bbox":
        if pair.target.bbox is None:
            raise DataError(f"{pair.target.path} has no box: choose the threshold 'image' or 'keypoints'")
        left, top, right, bottom = pair.target.bbox
        sides = np.array([right - left, bottom - top], np.float64)
    elif threshold == "keypoints":
        points = _truth(pair)
        sides = points.max(axis=0) - points.min(axis=0)
    else:
        raise ValueError(f"threshold must be 'image', 'bbox' or 'keypoints', got {threshold!r}")
    return float((sides * scales).max())


def pck_distances(predicted: ArrayLike, pair: Pair, threshold: Threshold = "image", space: Space = "native") -> Numbers:
    """Return the errors of transferred points, ``(K,)`` float64, in units of the reference length.

    Args:
        predicted: The positions of the pair's source points in the target, ``(K, 2)`` in native pixels, in the
            order of ``pair.points()``. NaN stands for a point that was not found: its error is infinite.
        pair: The pair; the keypoints of its target are the truth.
        threshold: The reference length: the target's ``"image"``, ``"bbox"`` or ``"keypoints"``.
        space: ``"native"`` pixels, or the ``"square"`` that both pictures are squashed to.
    """
    truth, found = _truth(pair), np.asarray(predicted, np.float64)
    if found.shape != truth.shape:
        expected = f"expected {truth.shape}: one (x, y) for each of the pair's {len(truth)} shared points"
        raise ValueError(f"predicted has shape {found.shape}, {expected}")
    scales = axis_scales(pair.target.size, space)
    distances = np.linalg.norm((found - truth) * scales, axis=1)  # (K,)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = distances / reference_length(pair, threshold, space)
    # 0/0 is correct: the keypoints have no extent. Any other NaN is a point that was not found.
    return np.nan_to_num(np.where(distances == 0, 0.0, errors), nan=np.inf, posinf=np.inf)


def _truth(pair: Pair) -> Numbers:
    names = pair.names
    if not names:
        raise DataError(f"{pair.source.path.name} and {pair.target.path.name} share no keypoint")
    return np.array([pair.target.keypoints[name] for name in names], np.float64)


def pck(errors: ArrayLike, alpha: float) -> float:
    """Return the percentage of errors within α.

    >>> pck([0.02, 0.1, 0.3, 0.04], 0.1)
    75.0
    """
    return float(pck_curve(errors, [alpha])[0])


def pck_curve(errors: ArrayLike, alphas: Sequence[float] = CURVE) -> Numbers:
    """Return the PCK at every α, ``(len(alphas),)`` in per cent."""
    found = np.asarray(errors)
    limits = np.asarray(alphas, found.dtype if found.dtype.kind == "f" else np.float64)[:, None]  # (alphas, 1)
    curve: Numbers = (found[None] <= limits).mean(axis=1) * 100.0
    return curve


def area_under(curve: ArrayLike, alphas: Sequence[float] = CURVE) -> float:
    """Return the mean height of a PCK curve by the trapezoidal rule, 0 to 100.

    >>> area_under([0.0, 100.0, 100.0], (0.0, 0.1, 0.2))
    75.0
    """
    if len(alphas) < 2 or list(alphas) != sorted(set(alphas)):
        raise ValueError(f"alphas must be two or more, in rising order, got {tuple(alphas)}")
    at, height = np.array(alphas, np.float64), np.asarray(curve, np.float64)
    return float((np.diff(at) * (height[1:] + height[:-1]) / 2).sum() / (at[-1] - at[0]))


@dataclass(frozen=True)
class Scores:
    """The scores of a set of predictions.

    Attributes:
        pairs: The number of pairs.
        points: The number of their points.
        per_image: α to the mean of the pairs' PCK.
        per_point: α to the PCK of all points together.
        per_category: α to the mean of the categories' PCK.
        categories: Category to α to the mean of its pairs' PCK.
        curve: The ``per_image`` PCK at every α of `CURVE`.
        area: The mean height of that curve.
        calibration: The calibration of the confidences at the largest α; None unless every point has a confidence.
        ranking: How well the confidences order the points, at the largest α; None unless every point has one.
    """

    pairs: int
    points: int
    per_image: dict[float, float]
    per_point: dict[float, float]
    per_category: dict[float, float]
    categories: dict[str, dict[float, float]]
    curve: tuple[float, ...]
    area: float
    calibration: Calibration | None
    ranking: Ranking | None


def score(
    errors: Sequence[ArrayLike],
    categories: Sequence[str],
    alphas: Sequence[float] = ALPHAS,
    confidences: Sequence[ArrayLike] | None = None,
) -> Scores:
    """Score predictions from their errors; cheap enough to repeat with other thresholds.

    Args:
        errors: For every pair the errors from `pck_distances`, each ``(K,)``.
        categories: The category of every pair.
        alphas: The thresholds.
        confidences: For every pair the confidences of its points, each ``(K,)``.

    Raises:
        ValueError: If there are no pairs, or not exactly one category for each.
    """
    if not errors or len(errors) != len(categories):
        raise ValueError(
            f"expected at least one pair, and a category for each pair, got {len(errors)} and {len(categories)}"
        )
    everything = np.concatenate([np.asarray(one) for one in errors])
    images = np.stack([pck_curve(pair, alphas) for pair in errors])  # (pairs, alphas)
    names = sorted(set(categories))
    members = [np.array([name == category for category in categories]) for name in names]
    rows = np.stack([images[member].mean(axis=0) for member in members])  # (categories, alphas)
    curve = np.stack([pck_curve(pair) for pair in errors]).mean(axis=0)

    def by_alpha(values: Numbers) -> dict[float, float]:
        return dict(zip(alphas, values.tolist(), strict=True))

    joined = np.concatenate([np.asarray(one, np.float64) for one in confidences]) if confidences else np.full(1, np.nan)
    correct, known = everything <= max(alphas), not np.isnan(joined).any()
    return Scores(
        pairs=len(errors),
        points=len(everything),
        per_image=by_alpha(images.mean(axis=0)),
        per_point=by_alpha(pck_curve(everything, alphas)),
        per_category=by_alpha(rows.mean(axis=0)),
        categories={name: by_alpha(row) for name, row in zip(names, rows, strict=True)},
        curve=tuple(curve.tolist()),
        area=area_under(curve),
        calibration=calibrate(joined, correct) if known else None,
        ranking=rank(joined, correct, len(errors)) if known else None,
    )
