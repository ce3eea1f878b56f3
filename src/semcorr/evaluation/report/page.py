"""The report as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from semcorr.evaluation.report import figures, tables
from semcorr.evaluation.report.examples import examples
from semcorr.evaluation.report.wording import calibration_line, left_out_lines, origin_lines, protocol
from semcorr.evaluation.results import Difference, Evaluation

EXAMPLES = 6
"""How many pairs each gallery shows."""

WIDEST = 5
"""How many pictures stand side by side at most."""


def to_html(evaluations: Sequence[Evaluation], differences: Sequence[Difference] = ()) -> str:
    """Return the page. Where a photograph can no longer be read, the page says so in its place."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("semcorr.evaluation.report", "."), autoescape=True, trim_blocks=True)
    alpha = max(evaluations[0].scores.per_image)
    galleries = [
        {"title": title, "rows": [_row(evaluations, index, alpha) for index in indices]}
        for title, indices in examples(evaluations, alpha, EXAMPLES).items()
    ]
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
        galleries=galleries,
        columns=_columns(len(evaluations) + 1),
        left_out=left_out_lines(evaluations),
        origin=origin_lines(evaluations),
        alpha=f"{alpha:g}",
        models=[evaluation.model for evaluation in evaluations],
    )


def _columns(pictures: int) -> int:
    """Return how many of a pair's pictures stand side by side: at most `WIDEST`, and equally many in each line.

    >>> [_columns(pictures) for pictures in (2, 4, 5, 6, 7)]
    [2, 4, 5, 3, 4]
    """
    lines = math.ceil(pictures / WIDEST)
    return math.ceil(pictures / lines)


def _row(evaluations: Sequence[Evaluation], index: int, alpha: float) -> dict[str, Any]:
    pair = evaluations[0].pairs[index]
    answers = [
        {
            "model": evaluation.model,
            "picture": figures.answer_picture(evaluation, index, alpha),
            "correct": tables.correct(evaluation.errors[index], alpha),
        }
        for evaluation in evaluations
    ]
    names = f"{pair.source.path.name} → {pair.target.path.name}"
    source = figures.source_picture(evaluations[0], index)
    return {"names": names, "category": pair.target.category, "source": source, "answers": answers}
