"""Score predictions by any protocol, for all pairs and for every group; and estimate which model is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semcorr.data.pairs import Pair
from semcorr.errors import DataError
from semcorr.evaluation.results import Difference, Evaluation, Prediction
from semcorr.metrics.pck import ALPHAS, Scores, Space, Threshold, pck_distances, score

_AT_ONCE = 500


def evaluate(
    model: str,
    dataset: str,
    pairs: Sequence[Pair],
    predictions: Sequence[Prediction],
    threshold: Threshold = "image",
    space: Space = "native",
    alphas: Sequence[float] = ALPHAS,
) -> Evaluation:
    """Score predictions: all pairs, and separately each category and each value of a nuisance.

    Args:
        model: The model's name.
        dataset: The data set's name.
        pairs: The pairs.
        predictions: One for each pair.
        threshold: What α is a fraction of.
        space: Native pixels, or both pictures squashed to a square.
        alphas: The thresholds.

    Raises:
        DataError: If there are no pairs, or not exactly one prediction for each.
    """
    if not pairs or len(pairs) != len(predictions):
        raise DataError(
            f"expected one or more pairs, and a prediction for each; got {len(predictions)} for {len(pairs)} pairs"
        )
    errors = [
        pck_distances(np.array(p.points, np.float64).reshape(-1, 2), pair, threshold, space)
        for pair, p in zip(pairs, predictions, strict=True)
    ]
    confidences = [np.array(p.confidence, np.float64) for p in predictions]

    def scores_of(indices: Sequence[int]) -> Scores:
        categories = [pairs[i].target.category for i in indices]
        return score([errors[i] for i in indices], categories, alphas, [confidences[i] for i in indices])

    groups = {
        kind: {name: scores_of(indices) for name, indices in sorted(named.items())}
        for kind, named in _groups(pairs).items()
    }
    return Evaluation(
        model=model,
        dataset=dataset,
        pairs=list(pairs),
        predictions=list(predictions),
        errors=[e.tolist() for e in errors],
        threshold=threshold,
        space=space,
        scores=scores_of(range(len(pairs))),
        groups=groups,
    )


def _groups(pairs: Sequence[Pair]) -> dict[str, dict[str, list[int]]]:
    """Return the indices of the pairs of each category and each value of a nuisance: kind to name to indices."""
    members: dict[str, dict[str, list[int]]] = {}
    for index, pair in enumerate(pairs):
        for kind, name in {"category": pair.target.category, **pair.nuisances}.items():
            members.setdefault(kind, {}).setdefault(name, []).append(index)
    return members


def differences(
    first: Evaluation, second: Evaluation, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> list[Difference]:
    """Estimate how much better the first model is than the second, with a paired bootstrap.

    The interval is the percentile interval of the difference of the per-image PCK; pairs are drawn with replacement,
    the same ones for both models.

    Args:
        first: One model's evaluation.
        second: Another model's, on the same pairs and by the same protocol.
        level: The confidence level of the intervals.
        resamples: The number of bootstrap resamples.
        seed: The random seed.

    Raises:
        DataError: If the evaluations differ in their pairs or their protocol.
    """
    if first.pairs != second.pairs or (first.threshold, first.space) != (second.threshold, second.space):
        raise DataError(f"{first.model} and {second.model} can only be compared on the same pairs and protocol")
    rng = np.random.default_rng(seed)
    count = len(first.pairs)
    alphas = list(first.scores.per_image)
    gains = np.array(
        [
            [100 * (np.mean(np.array(a) <= alpha) - np.mean(np.array(b) <= alpha)) for alpha in alphas]
            for a, b in zip(first.errors, second.errors, strict=True)
        ]
    )  # (pairs, alphas)
    means = np.concatenate(
        [
            # how often each pair was drawn, times its gain
            rng.multinomial(count, np.full(count, 1 / count), size=min(_AT_ONCE, resamples - done)) @ gains / count
            for done in range(0, resamples, _AT_ONCE)
        ]
    )  # (resamples, alphas)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [
        Difference(first.model, second.model, alpha, float(gains[:, i].mean()), float(low[i]), float(high[i]), level)
        for i, alpha in enumerate(alphas)
    ]
