"""The results of an evaluation: predictions of one model, their scores, and differences between models."""

from __future__ import annotations

from dataclasses import dataclass, field

from semcorr.data.pairs import Pair
from semcorr.metrics.pck import Scores, Space, Threshold
from semcorr.profiling.cost import Cost


@dataclass(frozen=True)
class Prediction:
    """One model's prediction for one pair.

    Attributes:
        points: Predicted positions of the pair's source points (`Pair.points`), (x, y) in native target pixels.
        confidence: Their confidences, 0 to 1.
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
        errors: For each pair the errors of its points, in units of the reference length, from `pck_distances`.
        threshold: What α is a fraction of.
        space: Native pixels, or both pictures squashed to a square.
        scores: The scores of all pairs.
        groups: Kind of group (``"category"``, ``"viewpoint"``, ``"overlap"`` …) to the scores of each group.
        cost: Time and memory of a pair; None if they were not measured.
        settings: The model's settings, as plain JSON values.
        skipped: Entries of the data set that were broken and left out, each with the reason.
        left_out: What was left out although it is not broken: description to number.
        origin: Where the figures come from: version, command, machine …, from `semcorr.profiling.machine.origin`.
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
    left_out: dict[str, int] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """How much better one model is than another on the same pairs, with a paired bootstrap interval.

    Attributes:
        better: The model whose PCK is the minuend.
        worse: The model whose PCK is subtracted.
        alpha: The threshold.
        mean: Difference of the per-image PCK, in percentage points.
        low: Lower end of the interval.
        high: Upper end.
        level: Its confidence level, such as 0.95.
    """

    better: str
    worse: str
    alpha: float
    mean: float
    low: float
    high: float
    level: float
