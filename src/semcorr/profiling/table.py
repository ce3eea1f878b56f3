"""The answer of a benchmark: a table, and how cost grows with the grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from semcorr.profiling.case import Case

Row: TypeAlias = dict[str, Any]
"""What is known of a case: the keys of `semcorr.profiling.case.measure`, and ``left_out``: what to why."""

_INK = "#808080"  # legible on white and on black
_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1")
_MARKS = "osD^vP*"
_HEADER = ("method", "r", "grid", "matching", "times", "whole pair", "memory", "optimum", "scored", "PCK@0.1")


def to_markdown(rows: Mapping[Case, Row], about: str, reference: Case) -> str:
    """Write the table, the growth of each method, and what was left out.

    Args:
        rows: What was measured.
        about: A line on machine and pictures.
        reference: The method and radius, at any grid, that the others are compared with: "times" is their matching
            time, divided by its own at the same grid.
    """
    lines = [about, "", _line(_HEADER), _line(["---"] * 2 + ["--:"] * (len(_HEADER) - 2))]
    for case, row in sorted(rows.items(), key=lambda item: (item[0].grid, item[0].method, item[0].radius or 0)):
        if "matching" in row:
            own = rows.get(Case(reference.method, case.grid, reference.radius), {}).get("matching")
            lines.append(_line(_cells(case, row, own)))
    grown = [
        f"- {name}: time grows as cells^{slope:.2f} from grid {grids[0]} to {grids[-1]}"
        for name, (grids, seconds) in series(rows, "matching").items()
        if (slope := growth(grids, seconds)) is not None
    ]
    left = [f"- {case}, {what}: {why}" for case, row in rows.items() for what, why in row.get("left_out", {}).items()]
    for title, items in (("Growth of the matching time:", grown), ("Left out:", left)):
        if items:
            lines += ["", title, "", *items]
    return "\n".join(lines) + "\n"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(case: Case, row: Row, reference: float | None) -> list[str]:
    def shown(key: str, form: str, factor: float = 1.0) -> str:
        return "" if row.get(key) is None else form.format(factor * row[key])

    return [
        f"`{case.method}`",
        "" if case.radius is None else str(case.radius),
        str(case.grid),
        shown("matching", "{:,.1f} ms", 1000),
        "" if not reference else f"{row['matching'] / reference:.1f}",
        shown("total", "{:,.0f} ms", 1000),
        shown("megabytes", "{:,.1f} MB"),
        shown("reached", "{:.1f} %", 100),
        shown("scored", "{:.2f} %", 100),
        shown("pck", "{:.1f}"),
    ]


def series(rows: Mapping[Case, Row], key: str) -> dict[str, tuple[list[int], list[float]]]:
    """Return, for each method and radius, its grids in rising order and a figure at each that is known."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for case in sorted(rows, key=lambda case: (case.method, case.radius or 0, case.grid)):
        if rows[case].get(key):
            name = case.method if case.radius is None else f"{case.method}, r = {case.radius}"
            grids, values = found.setdefault(name, ([], []))
            grids.append(case.grid)
            values.append(rows[case][key])
    return found


def growth(grids: list[int], values: list[float]) -> float | None:
    """Return x of the power law cells^x that fits best, cells being grid²; None for less than two grids.

    >>> growth([16, 32], [1.0, 16.0])
    2.0
    """
    if len(grids) < 2:
        return None
    return round(float(np.polyfit([2 * math.log(grid) for grid in grids], np.log(values), 1)[0]), 6)


def plot(rows: Mapping[Case, Row], path: Path) -> None:
    """Draw time and memory of the matching stage against the grid, log-log, legible on light and on dark pages."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    style: Any = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
    with rc_context(style | {"svg.hashsalt": "semcorr", "svg.fonttype": "path"}):
        figure = Figure(figsize=(10, 4.4), layout="constrained", facecolor="none")
        panels = (("matching", 1000, "matching time, ms"), ("megabytes", 1, "peak memory of matching, MB"))
        for axes, (key, factor, label) in zip(figure.subplots(1, 2), panels, strict=True):
            for index, (name, (grids, values)) in enumerate(series(rows, key).items()):
                slope = growth(grids, values)
                text = name if slope is None else f"{name}: cells^{slope:.2f}"
                mark = {"marker": _MARKS[index % len(_MARKS)], "color": _LINES[index % len(_LINES)]}
                axes.loglog(grids, [factor * value for value in values], label=text, linewidth=2, **mark)
            ticks = sorted({case.grid for case in rows})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set(xlabel="cells to a side of the grid", ylabel=label, facecolor="none")
            axes.grid(alpha=0.3, color=_INK)
            axes.spines[["top", "right"]].set_visible(False)
            if axes.lines:
                axes.legend(frameon=False, fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=130)
