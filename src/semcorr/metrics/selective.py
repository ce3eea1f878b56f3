"""How well a score tells right matches from wrong ones and present points from absent ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Return the probability that a positive has a higher score than a negative, ties counting half.

    Args:
        positive: Scores of what should be high, ``(N,)``.
        negative: Scores of what should be low, ``(M,)``.

    Raises:
        ValueError: If there are none of either kind, or a score is not a number.

    >>> auroc(torch.tensor([0.9, 0.6, 0.5]), torch.tensor([0.5, 0.1]))
    0.9166666666666666
    """
    positive, negative = _checked(positive), _checked(negative)
    if len(positive) == 0 or len(negative) == 0:
        raise ValueError(f"AUROC needs scores of both kinds; got {len(positive)} positive and {len(negative)} negative")
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive, right=False).double()
    not_above = torch.searchsorted(ordered, positive, right=True).double()
    return float((below + not_above).mean() / (2 * len(negative)))


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


def risk_coverage(confidence: Tensor, correct: Tensor) -> RiskCoverage:
    """Answer the most confident points alone, more and more of them, and see how many are wrong.

    Points of equal confidence are answered together.

    Args:
        confidence: ``(N,)``.
        correct: Whether each match is right, ``(N,)`` bool.

    Raises:
        ValueError: If the shapes differ, or there are no points.

    >>> result = risk_coverage(torch.tensor([0.9, 0.8, 0.7, 0.7]), torch.tensor([True, True, False, True]))
    >>> result.coverage, result.risk, result.area
    ((0.25, 0.5, 1.0), (0.0, 0.0, 0.25), 0.125)
    """
    scores = _checked(confidence)
    if scores.shape != correct.shape or len(scores) == 0:
        raise ValueError(
            f"confidence and correct must both have one entry or more; got {len(scores)} and {len(correct)}"
        )
    order = scores.argsort(descending=True)
    wrong = (~correct.cpu().bool())[order].double().cumsum(0)
    last = torch.cat([scores[order].diff() != 0, torch.tensor([True])])  # of each run of equal confidences
    answered = torch.arange(1, len(scores) + 1, dtype=torch.float64)[last]
    risk, coverage = wrong[last] / answered, answered / len(scores)
    steps = coverage.diff(prepend=torch.zeros(1, dtype=torch.float64))
    return RiskCoverage(tuple(coverage.tolist()), tuple(risk.tolist()), float((risk * steps).sum()))


def false_matches(right: Tensor, false: Tensor, pictures: int, kept: float = 0.9) -> float:
    """Return how many false matches a picture remain at the threshold that keeps a share of the right ones.

    Args:
        right: Scores of right matches, ``(N,)``.
        false: Scores of matches of points that the other picture lacks, or that are wrong, ``(M,)``.
        pictures: In how many pictures they are.
        kept: The share of right matches that must score at least the threshold.

    Raises:
        ValueError: If there are no right matches or pictures, or the share is not above 0 and at most 1.

    >>> false_matches(torch.arange(10) / 10, torch.tensor([0.05, 0.1, 0.5]), pictures=2)
    1.0
    """
    right, false = _checked(right), _checked(false)
    if len(right) == 0 or pictures < 1 or not 0 < kept <= 1:
        raise ValueError(
            f"expected right matches, a picture or more and a share above 0 and at most 1; got {len(right)} right "
            f"matches, {pictures} pictures and a share of {kept}"
        )
    needed = -int(-kept * len(right) // 1)  # rounded up
    threshold = right.sort(descending=True).values[needed - 1]
    return float((false >= threshold).sum()) / pictures


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


def rank(confidence: Tensor, correct: Tensor, pairs: int) -> Ranking:
    """Measure how well confidences order matches.

    Args:
        confidence: ``(N,)``.
        correct: Whether each match is correct, ``(N,)`` bool.
        pairs: The number of pairs that they belong to.

    Raises:
        ValueError: If the shapes differ, or there are no matches or pairs.

    >>> rank(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]), 1)
    Ranking(auroc=0.5, risk=0.2777777777777778, false_matches=1.0)
    """
    risk = risk_coverage(confidence, correct).area
    right, wrong = confidence[correct], confidence[~correct]
    return Ranking(
        auroc(right, wrong) if len(right) and len(wrong) else None,
        risk,
        false_matches(right, wrong, pairs) if len(right) else None,
    )


def _checked(scores: Tensor) -> Tensor:
    found = scores.detach().cpu().double()
    if found.ndim != 1 or bool(found.isnan().any()):
        raise ValueError(f"scores must be numbers of the shape (N,); got {tuple(scores.shape)}")
    return found
