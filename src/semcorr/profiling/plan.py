"""Which cases a benchmark measures, in what order, and which it leaves out because they would take too long.

Costs are measured first, from the coarsest grid to the finest: they predict what the next grid will take, and whether
the other figures are affordable. Every result is written at once, so that an interrupted benchmark resumes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import semcorr
from semcorr.errors import SemcorrError
from semcorr.files import write_text
from semcorr.models.memory import memory_of
from semcorr.profiling.case import Case, Settings, What, has_window, measure
from semcorr.profiling.machine import libraries, processor
from semcorr.profiling.table import Row
from semcorr.weights import MODELS

FIGURES: dict[What, str] = {"cost": "matching", "optimum": "reached", "precision": "pck"}
"""What can be measured, to a key of the row that holds it once it is."""

_STEEPEST = 4  # no method's time or memory grows faster than with this power of the grid's side
_PATIENCE = 5  # a measurement that was predicted to keep the limit may take this many times as long
_MEMORY_SHARE = 0.7  # of all memory: the rest is left to other programs


def plan(methods: Sequence[str], grids: Sequence[int], radii: Sequence[int]) -> list[Case]:
    """List the cases: each method and window from the coarsest grid to the finest."""
    return [
        Case(method, grid, radius)
        for method in methods
        for radius in (radii if has_window(method) else [None])
        for grid in sorted(grids)
    ]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that is written to a file as it goes.

    Attributes:
        path: The JSON file.
        settings: On which pictures, and how.
        limit: Seconds that one measurement may take; what is predicted to take longer is left out.
        report: Called with a line on each measurement.
    """

    path: Path
    settings: Settings
    limit: float
    report: Callable[[str], None]

    def run(self, cases: Sequence[Case], figures: Iterable[What], fresh: bool = False) -> dict[Case, Row]:
        """Measure what is not known yet, and return what is known of the cases.

        Args:
            cases: From `plan`.
            figures: What is measured. Precision needs photographs with keypoints, and is left out without them.
            fresh: Ignore an earlier run's results.
        """
        rows = {} if fresh else self._read()
        for what in FIGURES:
            if what in figures and (what != "precision" or self.settings.folder is not None):
                for case, row in self._measured(what, cases, rows):
                    rows[case] = row
                    self._write(rows)
        return {case: rows[case] for case in cases if case in rows}

    def _measured(self, what: What, cases: Sequence[Case], rows: dict[Case, Row]) -> Iterator[tuple[Case, Row]]:
        for case in cases:
            row = dict(rows.get(case, {}))
            left_out = dict(row.pop("left_out", {}))
            left_out.pop(what, None)
            if FIGURES[what] in row or not _applies(what, case) or (what != "cost" and "matching" not in row):
                continue
            reason = self._too_much(what, case, rows)
            start = time.perf_counter()
            if reason is None:
                try:
                    row |= measure(what, case, self.settings, _PATIENCE * self.limit)
                except SemcorrError as error:
                    reason = str(error)
            if reason is not None:
                left_out[what] = reason
            self.report(f"{case}, {what}: {reason or f'{time.perf_counter() - start:.0f} s'}")
            yield case, row | ({"left_out": left_out} if left_out else {})

    def _too_much(self, what: What, case: Case, rows: dict[Case, Row]) -> str | None:
        """Predict time and memory from the same method on a coarser grid; return why to leave it out, or None."""
        if what == "precision":
            return self._over(self.settings.pairs * rows[case]["total"])
        key = "seconds" if what == "optimum" else "matching"
        coarser = [known for known in rows if replace(known, grid=case.grid) == case and known.grid < case.grid]
        if any(what in rows[known].get("left_out", {}) for known in coarser):
            return "left out, as on a coarser grid"
        measured = [known for known in coarser if key in rows[known]]
        if not measured:
            return None
        nearest = max(measured, key=lambda known: known.grid)
        row, factor = rows[nearest], (case.grid / nearest.grid) ** _STEEPEST
        if what == "optimum":
            return self._over(row["seconds"] * factor)
        megabytes = (row["megabytes"] or 0) * factor
        available = memory_of(self.settings.device)
        if available is not None and megabytes > _MEMORY_SHARE * available / 1e6:
            return f"would need about {megabytes / 1000:.0f} GB"
        encoding = row["total"] - row["matching"]
        return self._over((self.settings.runs + 1) * (encoding + row["matching"] * factor))

    def _over(self, seconds: float) -> str | None:
        return f"would take about {seconds:.0f} s, the limit is {self.limit:.0f} s" if seconds > self.limit else None

    def _read(self) -> dict[Case, Row]:
        """Read what an earlier run measured in the same way."""
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored["settings"] != self._described():
                return {}
            return {Case(**row.pop("case")): row for row in stored["cases"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}  # none yet, or damaged: everything is measured

    def _write(self, rows: dict[Case, Row]) -> None:
        cases = [{"case": asdict(case), **row} for case, row in rows.items()]
        write_text(self.path, json.dumps({"settings": self._described(), "cases": cases}, indent=1) + "\n")

    def _described(self) -> dict[str, Any]:
        versions = {"semcorr": semcorr.__version__, **libraries()}
        return {**asdict(self.settings), **versions, "processor": processor()}

    def about(self) -> str:
        """Return a line on the machine, the pictures and the clock."""
        settings = self.settings
        pictures = "synthetic pictures" if settings.folder is None else f"pairs of the split {settings.split!r}"
        threads = f"{settings.threads} thread{'s' if settings.threads > 1 else ''} of {processor()}"
        where = threads if settings.device == "cpu" else settings.device
        clock = "processor time" if settings.processor_time else "wall-clock time"
        return f"semcorr {semcorr.__version__}, {where}, float32; {pictures}, {clock}, medians of {settings.runs}."


def _applies(what: What, case: Case) -> bool:
    """Tell whether a figure means something: the optimum for a search, precision for weights that were trained."""
    if what == "optimum":
        return case.radius is not None
    if what == "cost" or case.method == "nearest":
        return True
    if case.method not in MODELS:
        return False
    return case.radius is None or MODELS[case.method].arrays().metadata["model"]["radius"] == case.radius
