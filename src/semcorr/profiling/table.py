"""The result of a benchmark as a table and a plot, and how the cost grows with the grid."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from semcorr.files import write_bytes
from semcorr.palette import LINES
from semcorr.profiling.case import Case

Row: TypeAlias = dict[str, Any]
"""What is known of a case: the keys of `semcorr.profiling.case.measure`, and ``left_out``: figure to reason."""

_INK = "#808080"  # legible on white and on black
_MARKS = "osD^vP*"
_HEADER = ("method", "r", "grid", "matching", "times", "whole pair", "memory", "optimum", "scored", "PCK@0.1")


def to_markdown(rows: Mapping[Case, Row], about: str, reference: Case) -> str:
    """Return the table, the growth of each method's time, and what was left out.

    Args:
        rows: What was measured.
        about: A line on the machine and the pictures.
        reference: The method and radius (at any grid) that the others are compared with: "times" is their matching
            time divided by the reference's at the same grid.
    """
    lines = [about, "", _line(_HEADER), _line(["---"] * 2 + ["--:"] * (len(_HEADER) - 2))]
    for case, row in sorted(rows.items(), key=lambda item: (item[0].grid, item[0].method, item[0].radius or 0)):
        if "matching" in row:
            base = rows.get(Case(reference.method, case.grid, reference.radius), {}).get("matching")
            lines.append(_line(_cells(case, row, base)))
    growths = [
        f"- {name}: time grows as cells^{slope:.2f} from grid {grids[0]} to {grids[-1]}"
        for name, (grids, seconds) in series(rows, "matching").items()
        if (slope := growth(grids, seconds)) is not None
    ]
    left_out = [
        f"- {case}, {what}: {why}" for case, row in rows.items() for what, why in row.get("left_out", {}).items()
    ]
    for title, items in (("Growth of the matching time:", growths), ("Left out:", left_out)):
        if items:
            lines += ["", title, "", *items]
    return "\n".join(lines) + "\n"


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(case: Case, row: Row, reference: float | None) -> list[str]:
    def cell(key: str, form: str, factor: float = 1.0) -> str:
        return "" if row.get(key) is None else form.format(factor * row[key])

    return [
        f"`{case.method}`",
        "" if case.radius is None else str(case.radius),
        str(case.grid),
        cell("matching", "{:,.1f} ms", 1000),
        "" if not reference else f"{row['matching'] / reference:.1f}",
        cell("total", "{:,.0f} ms", 1000),
        cell("megabytes", "{:,.1f} MB"),
        cell("reached", "{:.1f} %", 100),
        cell("scored", "{:.2f} %", 100),
        cell("pck", "{:.1f}"),
    ]


def series(rows: Mapping[Case, Row], key: str) -> dict[str, tuple[list[int], list[float]]]:
    """Return for each method and radius its grids in rising order, and the figure at each, where it is known."""
    lines: dict[str, tuple[list[int], list[float]]] = {}
    for case in sorted(rows, key=lambda case: (case.method, case.radius or 0, case.grid)):
        if rows[case].get(key):
            name = case.method if case.radius is None else f"{case.method}, r = {case.radius}"
            grids, values = lines.setdefault(name, ([], []))
            grids.append(case.grid)
            values.append(rows[case][key])
    return lines


def growth(grids: list[int], values: list[float]) -> float | None:
    """Return the exponent x of the best fitting power law cells^x, with cells = grid²; None for fewer than two grids.

    >>> growth([16, 32], [1.0, 16.0])
    2.0
    """
    if len(grids) < 2:
        return None
    return round(float(np.polyfit([2 * math.log(grid) for grid in grids], np.log(values), 1)[0]), 6)


def plot(rows: Mapping[Case, Row], path: Path) -> None:
    """Plot time and memory of matching against the grid, log-log; legible on light and on dark pages."""
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
                mark = {"marker": _MARKS[index % len(_MARKS)], "color": LINES[index % len(LINES)]}
                axes.loglog(grids, [factor * value for value in values], label=text, linewidth=2, **mark)
            ticks = sorted({case.grid for case in rows})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set(xlabel="cells along each side of the grid", ylabel=label, facecolor="none")
            axes.grid(alpha=0.3, color=_INK)
            axes.spines[["top", "right"]].set_visible(False)
            if axes.lines:
                axes.legend(frameon=False, fontsize=8)
        stream = io.BytesIO()
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(stream, format=path.suffix[1:], metadata=metadata, dpi=130)
    write_bytes(path, stream.getvalue())
