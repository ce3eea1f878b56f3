"""The tables of a report, as cells of text with the best figures marked; Markdown and HTML only lay them out."""

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
"""Average to its description; tables that show one average show the first."""

EVERYTHING = "all pairs"
"""The last row of a table of groups."""

_UNKNOWN = "–"

# The usual order of SPair-71k's nuisances and PF-PASCAL's overlap; other names are sorted alphabetically.
_ORDER = ("easy", "medium", "hard", "none", "source", "target", "both", "clean", "in training")


@dataclass(frozen=True)
class Table:
    """Cells of text under a header.

    Attributes:
        header: The names of the columns.
        rows: The cells, row by row.
        labels: How many columns, from the left, name the row.
        block: How many consecutive rows belong together: the methods under the same heading.
        best: Row and column of the figures that are the best of their block and column.
    """

    header: list[str]
    rows: list[list[str]]
    labels: int
    block: int = 1
    best: frozenset[tuple[int, int]] = frozenset()

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold only numbers: they are aligned right."""
        return [bool(self.rows) and all(_is_number(row[column]) for row in self.rows) for column in self.columns]

    @property
    def columns(self) -> range:
        """The indices of the columns."""
        return range(len(self.header))


def main_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return the PCK of every method at every α, with the time of a pair and the memory."""
    alphas = list(evaluations[0].scores.per_image)
    rows = []
    for evaluation in evaluations:
        scores, cost = evaluation.scores, evaluation.cost
        times = [f"{cost.matching:.3f}", f"{cost.total:.3f}"] if cost else [_UNKNOWN] * 2
        memory = f"{cost.megabytes:.0f}" if cost and cost.megabytes is not None else _UNKNOWN
        figures = [*_cells(scores.per_image.values()), f"{scores.area:.1f}", *times, memory]
        rows.append([evaluation.model, AVERAGES["per_image"], *figures])
    header = ["method", "average", *_alphas(alphas), "area", "matching, s", "total, s", "matching, MB"]
    return _mark_best(Table(header, rows, labels=2, block=len(evaluations)), least=3)


def averages_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return every average of the same predictions: they differ by some points, and papers print one or another."""
    rows = [
        [label, evaluation.model, *_cells(getattr(evaluation.scores, average).values())]
        for average, label in AVERAGES.items()
        for evaluation in evaluations
    ]
    header = ["average", "method", *_alphas(evaluations[0].scores.per_image)]
    return _mark_best(Table(header, rows, labels=2, block=len(evaluations)))


def group_table(evaluations: Sequence[Evaluation], kind: str) -> Table:
    """Return the PCK per image of each group of a kind, and of all pairs, for each method."""
    names = sorted(evaluations[0].groups[kind], key=_rank)
    members: list[tuple[str, list[Scores]]] = [(name, [e.groups[kind][name] for e in evaluations]) for name in names]
    members.append((EVERYTHING, [evaluation.scores for evaluation in evaluations]))
    rows = [
        [name, evaluation.model, str(scores.pairs), str(scores.points), *_cells(scores.per_image.values())]
        for name, scored in members
        for evaluation, scores in zip(evaluations, scored, strict=True)
    ]
    header = [kind, "method", "pairs", "points", *_alphas(evaluations[0].scores.per_image)]
    return _mark_best(Table(header, rows, labels=2, block=len(evaluations)), skip=2)


def difference_table(differences: Sequence[Difference]) -> Table:
    """Return the differences between methods, and whether they are significant."""
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
    header = ["difference", "α", "percentage points", "interval", "verdict"]
    return Table(header, rows, labels=1, block=runs.pop() if len(runs) == 1 else 1)


def is_significant(difference: Difference) -> bool:
    """Tell whether the interval excludes zero: whether the choice of pairs does not explain the difference."""
    return difference.low > 0 or difference.high < 0


def verdict(difference: Difference) -> str:
    """Put into words what the interval shows."""
    if not is_significant(difference):
        return "not significant"
    return f"significant: {difference.better} is {'better' if difference.low > 0 else 'worse'}"


def signed(value: float) -> str:
    """Format a difference with its sign.

    >>> signed(1.25), signed(-0.5), signed(-0.01)
    ('+1.2', '−0.5', '+0.0')
    """
    text = f"{value:+.1f}"
    return "+0.0" if text == "-0.0" else text.replace("-", "−")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 pair``, ``2 pairs``."""
    return f"{count} {noun if count == 1 else noun + 's'}"


def correct(errors: Sequence[float], alpha: float) -> str:
    """Return how many points are correct.

    >>> correct([0.02, 0.2, 0.1], 0.1)
    '2 of 3 correct'
    """
    return f"{sum(error <= alpha for error in errors)} of {len(errors)} correct"


def to_markdown(table: Table) -> str:
    """Return a table as Markdown: the best figures bold, numbers aligned right, and no name able to break it."""
    lines = [
        "| " + " | ".join(_cell(table, number, column, cell) for column, cell in enumerate(row)) + " |"
        for number, row in enumerate(table.rows)
    ]
    ruler = "|" + "|".join("---:" if number else "---" for number in table.numeric) + "|"
    return "\n".join(["| " + " | ".join(map(quoted, table.header)) + " |", ruler, *lines])


def quoted(text: str) -> str:
    """Escape a name, so that Markdown shows it as it is: it cannot start a cell, a tag or a link."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;")):
        text = text.replace(character, entity)
    return re.sub(r"([\\`*\[\]])", r"\\\1", " ".join(text.split()))


def _cell(table: Table, row: int, column: int, cell: str) -> str:
    return f"**{quoted(cell)}**" if (row, column) in table.best else quoted(cell)


def _mark_best(table: Table, skip: int = 0, least: int = 0) -> Table:
    """Mark the best figure of every block and column, as printed: figures that look equal are equally good.

    Args:
        table: The table.
        skip: How many columns after the labels are counts, of which none is better.
        least: In how many columns at the right less is better.
    """
    best = set()
    for start in range(0, len(table.rows), table.block):
        rows = range(start, start + table.block)
        for column in table.columns[table.labels + skip :]:
            cells = {row: table.rows[row][column] for row in rows}
            values = {row: float(cell) for row, cell in cells.items() if cell != _UNKNOWN}
            if len(set(values.values())) < 2:
                continue  # one method alone, or all equal
            chosen = (min if column >= len(table.header) - least else max)(values.values())
            best |= {(row, column) for row, value in values.items() if value == chosen}
    return Table(table.header, table.rows, table.labels, table.block, frozenset(best))


def _alphas(alphas: Iterable[float]) -> list[str]:
    return [f"α = {alpha:g}" for alpha in alphas]


def _cells(values: Iterable[float]) -> list[str]:
    return [f"{value:.1f}" for value in values]


def _rank(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def _is_number(text: str) -> bool:
    return text == _UNKNOWN or re.fullmatch(r"[+−]?\d+(\.\d+)?", text) is not None
