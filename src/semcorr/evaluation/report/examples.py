"""Which pairs a report shows: the best, the worst, and those that the methods disagree on most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from semcorr.evaluation.results import Evaluation
from semcorr.match.types import Floats


def examples(evaluations: Sequence[Evaluation], alpha: float, count: int) -> dict[str, list[int]]:
    """Choose pairs by the results of the last method, and by how far the methods differ.

    Args:
        evaluations: One for each method, on the same pairs.
        alpha: Points with at most this error are correct.
        count: How many pairs each choice has at most.

    Returns:
        A title to indices of pairs.
    """
    rates = correct_rates(evaluations, alpha)
    errors = np.array([np.mean(np.minimum(errors, 1.0)) for errors in evaluations[-1].errors])
    best_first = np.lexsort((errors, -rates[-1])).tolist()  # ties by the mean error
    last = evaluations[-1].model
    chosen = {f"Best pairs of {last}": best_first[:count], f"Worst pairs of {last}": best_first[::-1][:count]}
    if len(evaluations) > 1:
        return {"Pairs on which the methods differ most": most_different(evaluations, alpha, count), **chosen}
    return chosen


def most_different(evaluations: Sequence[Evaluation], alpha: float, count: int) -> list[int]:
    """Choose the pairs on which the methods differ most; every category's first comes before any category's second."""
    order = np.argsort(-np.ptp(correct_rates(evaluations, alpha), axis=0), kind="stable").tolist()
    seen: Counter[str] = Counter()
    ranks = {}
    for index in order:
        category = evaluations[0].pairs[index].target.category
        ranks[index] = seen[category]
        seen[category] += 1
    return sorted(order, key=ranks.__getitem__)[:count]


def correct_rates(evaluations: Sequence[Evaluation], alpha: float) -> Floats:
    """Return the fraction of correct points of each method and pair, ``(methods, pairs)``."""
    return np.array([[np.mean(np.array(errors) <= alpha) for errors in e.errors] for e in evaluations], np.float32)
