"""The tables of a report, as cells of text with the best figures known; Markdown and the page only lay them out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from semcorr.evaluation.results import Difference, Evaluation
from semcorr.metrics.pck import Scores

AVERAGES = {
    "per_image": "mean over pairs",
    "per_point": "all points together",
    "per_category": "mean over categories",
}
"""Average to what it is an average of; the first is the one that tables show where they show only one."""

EVERYTHING = "all pairs"
"""The last row of a table by groups."""

_UNKNOWN = "–"

# The order of the field, where the alphabet would mix it up: SPair-71k's nuisances, PF-PASCAL's overlap.
_ORDER = ("easy", "medium", "hard", "none", "source", "target", "both", "clean", "in training")


@dataclass(frozen=True)
class Table:
    """Cells of text under a header.

    Attributes:
        header: The names of the columns.
        rows: The cells, one row each.
        labels: How many columns, from the left, name the row.
        block: How many rows, from the top, belong together: the methods under the same heading.
        best: Row and column of the figures that are the best of their block and column.
    """

    header: list[str]
    rows: list[list[str]]
    labels: int
    block: int = 1
    best: frozenset[tuple[int, int]] = frozenset()

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers alone: those are set flush right."""
        return [bool(self.rows) and all(_is_number(row[column]) for row in self.rows) for column in self.columns]

    @property
    def columns(self) -> range:
        """The numbers of the columns."""
        return range(len(self.header))


def main_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return the table of the paper: methods by α, with the time of a pair and the memory."""
    alphas = list(evaluations[0].scores.per_image)
    rows = []
    for evaluation in evaluations:
        scores, cost = evaluation.scores, evaluation.cost
        times = [f"{cost.matching:.3f}", f"{cost.total:.3f}"] if cost else [_UNKNOWN] * 2
        memory = f"{cost.megabytes:.0f}" if cost and cost.megabytes is not None else _UNKNOWN
        figures = [*_cells(scores.per_image.values()), f"{scores.area:.1f}", *times, memory]
        rows.append([evaluation.model, AVERAGES["per_image"], *figures])
    header = ["method", "average", *_alphas(alphas), "area", "matching, s", "total, s", "matching, MB"]
    return _with_best(Table(header, rows, labels=2, block=len(evaluations)), least=3)


def averages_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return the same predictions in every average: they differ by some points, and papers print one or another."""
    rows = [
        [label, evaluation.model, *_cells(getattr(evaluation.scores, average).values())]
        for average, label in AVERAGES.items()
        for evaluation in evaluations
    ]
    header = ["average", "method", *_alphas(evaluations[0].scores.per_image)]
    return _with_best(Table(header, rows, labels=2, block=len(evaluations)))


def group_table(evaluations: Sequence[Evaluation], kind: str) -> Table:
    """Return the PCK per image of each member of a kind of group, and of all pairs, for each method."""
    names = sorted(evaluations[0].groups[kind], key=_place)
    members: list[tuple[str, list[Scores]]] = [(name, [e.groups[kind][name] for e in evaluations]) for name in names]
    members.append((EVERYTHING, [evaluation.scores for evaluation in evaluations]))
    rows = [
        [name, evaluation.model, str(scores.pairs), str(scores.points), *_cells(scores.per_image.values())]
        for name, found in members
        for evaluation, scores in zip(evaluations, found, strict=True)
    ]
    header = [kind, "method", "pairs", "points", *_alphas(evaluations[0].scores.per_image)]
    return _with_best(Table(header, rows, labels=2, block=len(evaluations)), skip=2)


def difference_table(differences: Sequence[Difference]) -> Table:
    """Return the differences between methods, and in words whether chance explains them."""
    rows = [
        [
            f"{d.better} − {d.worse}",
            f"{d.alpha:g}",
            signed(d.mean),
            f"{signed(d.low)} to {signed(d.high)} ({100 * d.level:g} %)",
            verdict(d),
        ]
        for d in differences
    ]
    names = [row[0] for row in rows]
    runs = {len(list(run)) for _, run in groupby(names)}
    header = ["difference", "α", "points of PCK", "interval", "verdict"]
    return Table(header, rows, labels=1, block=runs.pop() if len(runs) == 1 else 1)


def is_real(difference: Difference) -> bool:
    """Tell whether the interval leaves out zero, so that chance in the choice of pairs does not explain it."""
    return difference.low > 0 or difference.high < 0


def verdict(difference: Difference) -> str:
    """Say in words what the interval allows to say."""
    if not is_real(difference):
        return "may be chance"
    return f"real: {difference.better} is {'better' if difference.low > 0 else 'worse'}"


def signed(value: float) -> str:
    """Write a difference with its sign.

    >>> signed(1.25), signed(-0.5), signed(-0.01)
    ('+1.2', '−0.5', '+0.0')
    """
    text = f"{value:+.1f}"
    return "+0.0" if text == "-0.0" else text.replace("-", "−")


def counted(count: int, noun: str) -> str:
    """Write a number of things: ``1 pair``, ``2 pairs``."""
    return f"{count} {noun if count == 1 else noun + 's'}"


def to_markdown(table: Table) -> str:
    """Lay a table out in Markdown: the best figures bold, numbers flush right, no name able to break it."""
    lines = [
        "| " + " | ".join(_shown(table, number, column, cell) for column, cell in enumerate(row)) + " |"
        for number, row in enumerate(table.rows)
    ]
    ruler = "|" + "|".join("---:" if number else "---" for number in table.numeric) + "|"
    return "\n".join(["| " + " | ".join(map(quoted, table.header)) + " |", ruler, *lines])


def quoted(text: str) -> str:
    """Write a name so that Markdown shows it as it is, in a table or outside: no cell, tag or link comes of it."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\`*\[\]])", r"\\\1", " ".join(text.split()))


def _shown(table: Table, row: int, column: int, cell: str) -> str:
    return f"**{quoted(cell)}**" if (row, column) in table.best else quoted(cell)


def _with_best(table: Table, skip: int = 0, least: int = 0) -> Table:
    """Find the best figure of every block and column, as they are printed: what looks equal is equally good.

    Args:
        table: The table.
        skip: Columns behind the labels that are counts, of which none is better.
        least: Columns at the right in which less is better.
    """
    best = set()
    for start in range(0, len(table.rows), table.block):
        rows = range(start, start + table.block)
        for column in table.columns[table.labels + skip :]:
            cells = {row: table.rows[row][column] for row in rows}
            values = {row: float(cell) for row, cell in cells.items() if cell != _UNKNOWN}
            if len(set(values.values())) < 2:
                continue  # one method alone, or all alike: nothing stands out
            chosen = (min if column >= len(table.header) - least else max)(values.values())
            best |= {(row, column) for row, value in values.items() if value == chosen}
    return Table(table.header, table.rows, table.labels, table.block, frozenset(best))


def _alphas(alphas: Iterable[float]) -> list[str]:
    return [f"α = {alpha:g}" for alpha in alphas]


def _cells(values: Iterable[float]) -> list[str]:
    return [f"{value:.1f}" for value in values]


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def _is_number(text: str) -> bool:
    return text == _UNKNOWN or re.fullmatch(r"[+−]?\d+(\.\d+)?", text) is not None
