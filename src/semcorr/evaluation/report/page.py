"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from semcorr.evaluation.report import figures, tables
from semcorr.evaluation.report.wording import calibration_line, protocol
from semcorr.evaluation.results import Difference, Evaluation

GALLERY = 6
"""Pairs in each gallery."""


def to_html(evaluations: Sequence[Evaluation], differences: Sequence[Difference] = ()) -> str:
    """Return the page. Photographs that are gone since are left out, and said to be."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("semcorr.evaluation.report", "."), autoescape=True, trim_blocks=True)
    alpha = max(evaluations[0].scores.per_image)
    return environment.get_template("page.html.j2").render(
        title=f"semcorr: {evaluations[0].dataset}",
        protocol=protocol(evaluations[0]),
        main=tables.main_table(evaluations),
        averages=tables.averages_table(evaluations),
        differences=tables.difference_table(differences) if differences else None,
        groups={kind: tables.group_table(evaluations, kind) for kind in evaluations[0].groups},
        curves=figures.curves(evaluations),
        calibration=figures.calibration(evaluations),
        calibration_lines=[calibration_line(evaluation) for evaluation in evaluations],
        galleries=galleries(evaluations, alpha),
        skipped=list(dict.fromkeys(reason for evaluation in evaluations for reason in evaluation.skipped)),
        alpha=f"{alpha:g}",
        models=[evaluation.model for evaluation in evaluations],
    )


def galleries(evaluations: Sequence[Evaluation], alpha: float) -> list[dict[str, Any]]:
    """Choose pairs to show: the best and the worst of the last method, and those that divide the methods most."""
    rates = _rates(evaluations, alpha)
    means = np.array([np.mean(np.minimum(errors, 1.0)) for errors in evaluations[-1].errors])
    order = np.lexsort((means, -rates[-1]))  # best first; ties by the mean error
    chosen = {
        f"best pairs of {evaluations[-1].model}": order[:GALLERY],
        f"worst pairs of {evaluations[-1].model}": order[::-1][:GALLERY],
    }
    if len(evaluations) > 1:
        apart = np.array(divided(evaluations, alpha, GALLERY))
        chosen = {"pairs that divide the methods most": apart, **chosen}
    return [
        {"title": title, "rows": [_row(evaluations, int(index), alpha, rates) for index in indices]}
        for title, indices in chosen.items()
    ]


def divided(evaluations: Sequence[Evaluation], alpha: float, count: int) -> list[int]:
    """Choose the pairs that divide the methods most; each category's first comes before any category's second."""
    order = np.argsort(-np.ptp(_rates(evaluations, alpha), axis=0), kind="stable").tolist()
    seen: Counter[str] = Counter()
    turns = {}
    for index in order:
        category = evaluations[0].pairs[index].target.category
        turns[index] = seen[category]
        seen[category] += 1
    return sorted(order, key=turns.__getitem__)[:count]


def _rates(evaluations: Sequence[Evaluation], alpha: float) -> np.ndarray[Any, Any]:
    """Return the share of right points, ``(methods, pairs)``."""
    return np.array([[np.mean(np.array(errors) <= alpha) for errors in e.errors] for e in evaluations])


def _row(evaluations: Sequence[Evaluation], index: int, alpha: float, rates: np.ndarray[Any, Any]) -> dict[str, Any]:
    pair = evaluations[0].pairs[index]
    answers = [
        {
            "model": evaluation.model,
            "picture": figures.answer_picture(evaluation, index, alpha),
            "right": f"{round(rate * len(evaluation.errors[index]))} of {len(evaluation.errors[index])} right",
        }
        for evaluation, rate in zip(evaluations, rates[:, index], strict=True)
    ]
    names = f"{pair.source.path.name} → {pair.target.path.name}"
    source = figures.source_picture(evaluations[0], index)
    return {"names": names, "category": pair.target.category, "source": source, "answers": answers}
