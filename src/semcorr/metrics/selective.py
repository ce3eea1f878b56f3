"""How well a score tells right matches from wrong ones and present points from absent ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Return the probability that a positive has a higher score than a negative, ties counting half.

    Args:
        positive: Scores of what should be high, ``(N,)``.
        negative: Scores of what should be low, ``(M,)``.

    Raises:
        ValueError: If there are none of either kind, or a score is not a number.

    >>> auroc([0.9, 0.6, 0.5], [0.5, 0.1])
    0.9166666666666666
    """
    high, low = _checked(positive), np.sort(_checked(negative))
    if len(high) == 0 or len(low) == 0:
        raise ValueError(f"AUROC needs scores of both kinds; got {len(high)} positive and {len(low)} negative")
    below, not_above = (np.searchsorted(low, high, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(low)))


@dataclass(frozen=True)
class RiskCoverage:
    """The share of wrong answers among the most confident ones.

    Attributes:
        coverage: The share of all points that is answered, rising to 1; one entry for each confidence that occurs.
        risk: The share of wrong ones among them.
        area: The mean risk over coverage: small if confidence orders well and if few are wrong at all.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Answer the most confident points alone, more and more of them, and see how many are wrong.

    Points of equal confidence are answered together.

    Args:
        confidence: ``(N,)``.
        correct: Whether each match is right, ``(N,)`` bool.

    Raises:
        ValueError: If the shapes differ, or there are no points.

    >>> result = risk_coverage([0.9, 0.8, 0.7, 0.7], [True, True, False, True])
    >>> result.coverage, result.risk, result.area
    ((0.25, 0.5, 1.0), (0.0, 0.0, 0.25), 0.125)
    """
    scores, right = _checked(confidence), np.asarray(correct, np.bool_)
    if scores.shape != right.shape or len(scores) == 0:
        raise ValueError(f"confidence and correct must both have one entry or more; got {len(scores)} and {len(right)}")
    order = np.argsort(-scores, kind="stable")
    wrong = (~right)[order].cumsum()
    last = np.append(np.diff(scores[order]) != 0, True)  # of each run of equal confidences
    answered = np.arange(1, len(scores) + 1)[last]
    risk, coverage = wrong[last] / answered, answered / len(scores)
    steps = np.diff(coverage, prepend=0.0)
    return RiskCoverage(tuple(coverage.tolist()), tuple(risk.tolist()), float((risk * steps).sum()))


def false_matches(right: ArrayLike, false: ArrayLike, pictures: int, kept: float = 0.9) -> float:
    """Return how many false matches a picture remain at the threshold that keeps a share of the right ones.

    Args:
        right: Scores of right matches, ``(N,)``.
        false: Scores of matches of points that the other picture lacks, or that are wrong, ``(M,)``.
        pictures: In how many pictures they are.
        kept: The share of right matches that must score at least the threshold.

    Raises:
        ValueError: If there are no right matches or pictures, or the share is not above 0 and at most 1.

    >>> false_matches(np.arange(10) / 10, [0.05, 0.1, 0.5], pictures=2)
    1.0
    """
    kept_scores, false_scores = _checked(right), _checked(false)
    count = len(kept_scores)
    if count == 0 or pictures < 1 or not 0 < kept <= 1:
        raise ValueError(
            f"expected right matches, a picture or more and a share above 0 and at most 1; got {count} right "
            f"matches, {pictures} pictures and a share of {kept}"
        )
    needed = -int(-kept * count // 1)  # rounded up
    threshold = np.sort(kept_scores)[-needed]
    return float((false_scores >= threshold).sum()) / pictures


@dataclass(frozen=True)
class Ranking:
    """How well the confidence orders the matches of a set of pairs.

    Attributes:
        auroc: Probability that a correct match has a higher confidence than a wrong one; None if all are alike.
        risk: Mean share of wrong matches among the most confident ones, over coverage; see `RiskCoverage`.
        false_matches: Wrong matches per pair at the threshold that keeps 90 % of the correct ones; None if none is.
    """

    auroc: float | None
    risk: float
    false_matches: float | None


def rank(confidence: ArrayLike, correct: ArrayLike, pairs: int) -> Ranking:
    """Measure how well confidences order matches.

    Args:
        confidence: ``(N,)``.
        correct: Whether each match is correct, ``(N,)`` bool.
        pairs: The number of pairs that they belong to.

    Raises:
        ValueError: If the shapes differ, or there are no matches or pairs.

    >>> rank([0.9, 0.8, 0.7], [True, False, True], 1)
    Ranking(auroc=0.5, risk=0.2777777777777778, false_matches=1.0)
    """
    risk = risk_coverage(confidence, correct).area
    scores, is_right = np.asarray(confidence), np.asarray(correct, np.bool_)
    right, wrong = scores[is_right], scores[~is_right]
    return Ranking(
        auroc(right, wrong) if len(right) and len(wrong) else None,
        risk,
        false_matches(right, wrong, pairs) if len(right) else None,
    )


def _checked(scores: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(scores, np.float64)
    if found.ndim != 1 or np.isnan(found).any():
        raise ValueError(f"scores must be numbers of the shape (N,); got {found.shape}")
    return found
