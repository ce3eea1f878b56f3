"""Write the report of an evaluation: Markdown and JSON to quote, and a self-contained HTML page to look at."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from semcorr.errors import DataError
from semcorr.evaluation.report import tables
from semcorr.evaluation.report.examples import most_different
from semcorr.evaluation.report.tables import AVERAGES
from semcorr.evaluation.report.wording import calibration_line, left_out_lines, origin_lines, protocol
from semcorr.evaluation.results import Difference, Evaluation
from semcorr.files import write_bytes
from semcorr.metrics.pck import CURVE, Scores

FILES = ("report.md", "report.json", "report.html", "figure.png")
"""What `write_report` may write."""

FIGURE_ROWS = 5
"""How many pairs the figure shows."""


def write_report(
    evaluations: Sequence[Evaluation], out: Path, differences: Sequence[Difference] = ()
) -> dict[str, Path]:
    """Write ``report.md``, ``report.json`` and ``report.html`` to a folder, and for several methods ``figure.png``.

    Each is written atomically, and the same evaluations give the same bytes. The figure shows the source and every
    method's matches for the pairs that the methods differ on most. Photographs are read again for it and for the page;
    where one can no longer be read, the page says so in its place.

    Args:
        evaluations: One for each method, on the same pairs and by the same protocol.
        out: The folder; it is created if it is missing.
        differences: The differences between the methods, from `semcorr.evaluation.score.differences`.

    Returns:
        The paths, by ``"md"``, ``"json"``, ``"html"`` and ``"png"``.

    Raises:
        DataError: If there is no evaluation, if they differ in pairs or protocol, or if two have the same name.
    """
    from semcorr.evaluation.report.figures import side_by_side
    from semcorr.evaluation.report.page import to_html

    contents = {
        "md": to_markdown(evaluations, differences),
        "json": json.dumps(to_json(evaluations, differences), indent=1, allow_nan=False) + "\n",
        "html": to_html(evaluations, differences),
    }
    files = {kind: (f"report.{kind}", content.encode(errors="backslashreplace")) for kind, content in contents.items()}
    if len(evaluations) > 1:
        alpha = max(evaluations[0].scores.per_image)
        files["png"] = "figure.png", side_by_side(evaluations, most_different(evaluations, alpha, FIGURE_ROWS), alpha)
    for name, data in files.values():
        write_bytes(out / name, data)
    return {kind: out / name for kind, (name, _) in files.items()}


def check_alike(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations whose figures do not belong in one table.

    Raises:
        DataError: If there is none, or they are not alike in pairs and protocol, or two have the same name.
    """
    if not evaluations:
        raise DataError("a report needs at least one evaluation")
    first, names = evaluations[0], [evaluation.model for evaluation in evaluations]
    for other in evaluations[1:]:
        protocols = [(e.dataset, e.threshold, e.space, list(e.scores.per_image)) for e in (first, other)]
        if first.pairs != other.pairs or protocols[0] != protocols[1]:
            raise DataError(
                f"{first.model} and {other.model} can only be reported together on the same pairs and protocol"
            )
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"two evaluations are named {name!r}: give each a different name")


def to_markdown(evaluations: Sequence[Evaluation], differences: Sequence[Difference] = ()) -> str:
    """Return the report as Markdown."""
    check_alike(evaluations)
    parts = [
        tables.quoted(protocol(evaluations[0])),
        tables.to_markdown(tables.main_table(evaluations)),
        "The same predictions in every average:",
        tables.to_markdown(tables.averages_table(evaluations)),
    ]
    if differences:
        heading = "Differences of the mean over pairs, with intervals from a paired bootstrap over the pairs:"
        parts += [heading, tables.to_markdown(tables.difference_table(differences))]
    for kind in evaluations[0].groups:
        table = tables.to_markdown(tables.group_table(evaluations, kind))
        parts += [f"By {tables.quoted(kind)}, mean over pairs:", table]
    parts.append("\n".join(f"- {tables.quoted(calibration_line(evaluation))}" for evaluation in evaluations))
    if left_out := left_out_lines(evaluations):
        parts += ["Left out:", "\n".join(f"- {tables.quoted(line)}" for line in left_out)]
    if sources := origin_lines(evaluations):
        parts += ["Origin:", "\n".join(f"- {tables.quoted(line)}" for line in sources)]
    return "\n\n".join(parts) + "\n"


def to_json(evaluations: Sequence[Evaluation], differences: Sequence[Difference] = ()) -> dict[str, Any]:
    """Return the report as plain JSON values: PCK in per cent, α as a string, unknown values as null."""
    check_alike(evaluations)
    first = evaluations[0]
    return {
        "dataset": first.dataset,
        "protocol": protocol(first),
        "direction": "source to target",
        "threshold": first.threshold,
        "space": first.space,
        "pairs": first.scores.pairs,
        "points": first.scores.points,
        "curve_alphas": list(CURVE),
        "origin": first.origin,
        "left_out": first.left_out,
        "methods": [_method_json(evaluation) for evaluation in evaluations],
        "differences": [
            {**vars(difference), "significant": tables.is_significant(difference)} for difference in differences
        ],
    }


def _method_json(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "model": evaluation.model,
        "dataset": evaluation.dataset,
        "settings": evaluation.settings,
        "cost": evaluation.cost and vars(evaluation.cost),
        "skipped": evaluation.skipped,
        **_scores_json(evaluation.scores),
        "groups": {
            kind: {name: _scores_json(scores) for name, scores in named.items()}
            for kind, named in evaluation.groups.items()
        },
    }


def _scores_json(scores: Scores) -> dict[str, Any]:
    averages = {
        name: {f"{alpha:g}": round(value, 3) for alpha, value in getattr(scores, name).items()} for name in AVERAGES
    }
    bins = scores.calibration
    calibration = bins and {
        "expected_error": bins.error,
        "edges": list(bins.edges),
        "counts": list(bins.counts),
        "confidence": _or_null(bins.confidence),
        "accuracy": _or_null(bins.accuracy),
    }
    return {
        "pairs": scores.pairs,
        "points": scores.points,
        **averages,
        "curve": [round(value, 3) for value in scores.curve],
        "area": round(scores.area, 3),
        "calibration": calibration,
        "ranking": scores.ranking and vars(scores.ranking),
    }


def _or_null(values: Iterable[float]) -> list[float | None]:
    """Replace the NaN of empty bins, which JSON does not have."""
    return [None if math.isnan(value) else value for value in values]
