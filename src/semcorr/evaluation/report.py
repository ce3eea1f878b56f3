"""Reports of evaluations: Markdown and JSON to quote, and one self-contained HTML page to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from semcorr.evaluation.results import Difference, Evaluation
from semcorr.metrics import Scores

_LENGTHS = {
    "image": "the longer side of the target picture",
    "bbox": "the longer side of the target's box",
    "keypoints": "the longer side of the extent of the target's keypoints",
}
_SPACES = {"native": "native pixels", "square": "pixels after squashing both pictures to a square"}
_AVERAGES = {
    "per_image": "mean over pairs",
    "per_point": "all points together",
    "per_category": "mean over categories",
}

Table = list[list[str]]
"""Rows of cells; the first row is the header."""


def write_report(
    evaluations: Sequence[Evaluation], out: Path, differences: Sequence[Difference] = ()
) -> dict[str, Path]:
    """Write ``report.md``, ``report.json`` and ``report.html`` into a folder, each in one step.

    Returns:
        Their paths, by ``"md"``, ``"json"`` and ``"html"``.
    """
    from semcorr.evaluation.page import to_html

    out.mkdir(parents=True, exist_ok=True)
    contents = {
        "md": to_markdown(evaluations, differences),
        "json": json.dumps(to_json(evaluations, differences), indent=1) + "\n",
        "html": to_html(evaluations, differences),
    }
    paths = {}
    for kind, content in contents.items():
        paths[kind] = out / f"report.{kind}"
        part = out / f".report.{kind}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(paths[kind])
    return paths


def protocol(evaluation: Evaluation) -> str:
    """Say in one sentence what was measured, so that no figure stands without its definition."""
    scores = evaluation.scores
    skipped = f"; {len(evaluation.skipped)} broken entries were left out" if evaluation.skipped else ""
    return (
        f"{evaluation.dataset}: {scores.pairs} pairs, {scores.points} points{skipped}. PCK in per cent; points go from "
        f"the source to the target, and one is correct within α times {_LENGTHS[evaluation.threshold]}, in "
        f"{_SPACES[evaluation.space]}."
    )


def main_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return the table of the paper: methods by α, both averages, times and memory."""
    alphas = list(evaluations[0].scores.per_image)
    timed = ["matching, s", "total, s", "peak, MB"]
    table = [["method", "average", *(f"α = {alpha:g}" for alpha in alphas), "area", *timed]]
    for evaluation in evaluations:
        scores, seconds = evaluation.scores, evaluation.seconds_per_pair
        for average, label in _AVERAGES.items():
            first = average == "per_image"
            times = [f"{seconds[key]:.3f}" if key in seconds else "" for key in ("matching", "total")]
            memory = f"{evaluation.peak_megabytes:.0f}" if evaluation.peak_megabytes else ""
            table.append(
                [
                    evaluation.model if first else "",
                    label,
                    *_cells(getattr(scores, average).values()),
                    f"{scores.area:.1f}" if first else "",
                    *([*times, memory] if first else ["", "", ""]),
                ]
            )
    return table


def group_table(evaluations: Sequence[Evaluation], kind: str) -> Table:
    """Return one row for each member of a kind of group and each method: PCK per image."""
    alphas = list(evaluations[0].scores.per_image)
    table = [[kind, "method", "pairs", "points", *(f"α = {alpha:g}" for alpha in alphas)]]
    members: list[tuple[str, list[Scores]]] = [
        (name, [evaluation.groups[kind][name] for evaluation in evaluations])
        for name in evaluations[0].groups.get(kind, {})
    ]
    for name, found in members:
        for evaluation, scores in zip(evaluations, found, strict=True):
            counts = [str(scores.pairs), str(scores.points)]
            table.append([name, evaluation.model, *counts, *_cells(scores.per_image.values())])
    return table


def difference_table(differences: Sequence[Difference]) -> Table:
    """Return the differences between methods, and whether chance explains them."""
    table = [["difference", "α", "points of PCK", "interval", "verdict"]]
    for d in differences:
        verdict = "real" if d.low > 0 or d.high < 0 else "may be chance"
        interval = f"{d.low:+.1f} to {d.high:+.1f} ({100 * d.level:g} %)"
        table.append([f"{d.better} − {d.worse}", f"{d.alpha:g}", f"{d.mean:+.1f}", interval, verdict])
    return table


def calibration_line(evaluation: Evaluation) -> str:
    """Say how honest the confidence is."""
    calibration = evaluation.scores.calibration
    if calibration is None:
        return f"{evaluation.model}: no confidence was given for some points."
    alpha = max(evaluation.scores.per_image)
    return (
        f"{evaluation.model}: the confidence is off by {100 * calibration.error:.1f} points on average (expected "
        f"calibration error of being correct at α = {alpha:g})."
    )


def to_markdown(evaluations: Sequence[Evaluation], differences: Sequence[Difference] = ()) -> str:
    """Return the report as Markdown."""
    parts = [protocol(evaluations[0]), _markdown(main_table(evaluations))]
    if differences:
        parts += ["Differences per image, paired bootstrap over the pairs:", _markdown(difference_table(differences))]
    parts += [f"By {kind}:\n\n{_markdown(group_table(evaluations, kind))}" for kind in evaluations[0].groups]
    parts += ["\n".join(f"- {calibration_line(evaluation)}" for evaluation in evaluations)]
    return "\n\n".join(parts) + "\n"


def to_json(evaluations: Sequence[Evaluation], differences: Sequence[Difference] = ()) -> dict[str, Any]:
    """Return the report as plain JSON values, α as text."""
    return {
        "protocol": protocol(evaluations[0]),
        "threshold": evaluations[0].threshold,
        "space": evaluations[0].space,
        "methods": [
            {
                "model": evaluation.model,
                "dataset": evaluation.dataset,
                "settings": evaluation.settings,
                "seconds_per_pair": evaluation.seconds_per_pair,
                "peak_megabytes": evaluation.peak_megabytes,
                "skipped": evaluation.skipped,
                **_scores_json(evaluation.scores),
                "groups": {
                    kind: {name: _scores_json(scores) for name, scores in named.items()}
                    for kind, named in evaluation.groups.items()
                },
            }
            for evaluation in evaluations
        ],
        "differences": [dict(vars(difference)) for difference in differences],
    }


def _scores_json(scores: Scores) -> dict[str, Any]:
    averages = {
        name: {f"{alpha:g}": round(value, 3) for alpha, value in getattr(scores, name).items()} for name in _AVERAGES
    }
    curve = [round(value, 3) for value in scores.curve]
    return {"pairs": scores.pairs, "points": scores.points, **averages, "curve": curve, "area": round(scores.area, 3)}


def _cells(values: Iterable[float]) -> list[str]:
    return [f"{value:.1f}" for value in values]


def _markdown(table: Table) -> str:
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in table]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])
