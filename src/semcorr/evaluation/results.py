"""What an evaluation hands on: predictions of one model, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass, field

from semcorr.data.pairs import Pair
from semcorr.metrics.pck import Scores, Space, Threshold
from semcorr.profiling.cost import Cost


@dataclass(frozen=True)
class Prediction:
    """One model's answer for one pair.

    Attributes:
        points: Where the pair's source points (`Pair.points`) went, (x, y) in native pixels of the target.
        confidence: How sure each is, 0…1.
    """

    points: list[tuple[float, float]]
    confidence: list[float]


@dataclass(frozen=True)
class Evaluation:
    """One model on one data set, scored.

    Attributes:
        model: The model's name.
        dataset: The data set's name and split.
        pairs: The pairs, in the order of the data set's list.
        predictions: One for each pair.
        errors: For each pair its points' errors in units of the reference length, from `pck_distances`.
        threshold: What α is a fraction of.
        space: Native pixels or the custom square.
        scores: All pairs together.
        groups: Kind of group (``"category"``, ``"viewpoint"``, ``"overlap"`` …) to its members' scores.
        cost: Time and memory of a pair; None where they were not measured.
        settings: The model's settings, plain JSON values.
        skipped: Entries of the data set that were broken and left out.
    """

    model: str
    dataset: str
    pairs: list[Pair]
    predictions: list[Prediction]
    errors: list[list[float]]
    threshold: Threshold
    space: Space
    scores: Scores
    groups: dict[str, dict[str, Scores]]
    cost: Cost | None = None
    settings: dict[str, object] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """How much better one model is than another on the same pairs, with a paired bootstrap interval.

    Attributes:
        better: Name of the model that ``mean`` counts for.
        worse: Name of the other.
        alpha: The threshold.
        mean: Difference of the per-image PCK, in points of per cent.
        low: Lower end of the interval.
        high: Upper end.
        level: Its level, such as 0.95.
    """

    better: str
    worse: str
    alpha: float
    mean: float
    low: float
    high: float
    level: float
