"""The command ``benchmark``: every method at every grid and window, as far as the time limit allows."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcorr.errors import SemcorrError

if TYPE_CHECKING:
    from semcorr.profiling.case import Case, Settings, What
    from semcorr.profiling.table import Row

METHODS = "nearest,pmnc,ncnet,ancnet"
GRIDS = "16,25,32,50,64,100,128"
RADII = "1,2,3"
FIGURES = "cost,optimum,precision"

_STEEPEST = 4  # no method's time or memory grows faster than with this power of the grid's side
_PATIENCE = 5  # how many times the limit a measurement may take that was estimated to keep it
_MEMORY_SHARE = 0.7  # of all memory: the rest is left to other programs


def benchmark(
    methods: Annotated[str, typer.Option(help="Models, with commas in between.")] = METHODS,
    grids: Annotated[str, typer.Option(help="Cells to a side of a square picture.")] = GRIDS,
    radii: Annotated[str, typer.Option(help="Radii r of pmnc's window, (2r+1)⁴ correlations.")] = RADII,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs with keypoints (plain JSON): they are matched, and PCK is measured."),
    ] = None,
    split: Annotated[str, typer.Option(help="With --data: whose list of pairs.")] = "val",
    pairs: Annotated[int, typer.Option(help="With --data: pairs that PCK is measured on.", min=1)] = 200,
    runs: Annotated[int, typer.Option(help="Pairs that are timed; the figures are medians.", min=1)] = 5,
    threads: Annotated[int, typer.Option(help="Threads of the processor.", min=1)] = 1,
    processor_time: Annotated[
        bool, typer.Option("--processor-time", help="Count the processor's time, not the wall's: for a busy machine.")
    ] = False,
    figures: Annotated[str, typer.Option(help="What is measured; precision only with --data.")] = FIGURES,
    limit: Annotated[
        float, typer.Option(help="Seconds for one measurement: what would take longer is left out.", min=1)
    ] = 60,
    out: Annotated[Path, typer.Option(help="Folder for table and plot.")] = Path("runs", "benchmark"),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")] = "cpu",
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what was measured before.")] = False,
) -> None:
    """Measure time, memory and the share of the optimum of every method, grid and window; run it again to go on.

    Each measurement has a process of its own. Windows of other radii than the shipped one are cut, or grown by zeros:
    they tell what a window costs, not what it is worth.
    """
    from semcorr.profiling.case import Settings
    from semcorr.profiling.table import plot, to_markdown

    if data is not None and not data.is_dir():
        raise SemcorrError(f"--data must be a folder of photographs with keypoints; got {data}")
    settings = Settings(
        None if data is None else str(data.resolve()), split, pairs, runs, threads, device, processor_time
    )
    cases = plan(_names(methods), _numbers(grids, "--grids", 2, 512), _numbers(radii, "--radii", 0, 4))
    path = out / "benchmark.json"
    rows = {} if fresh else _known(path, settings)
    for case, row in _measured(cases, rows, settings, _kinds(figures, settings), limit):
        rows[case] = row
        _write(path, settings, rows)
    chosen = {case: rows[case] for case in cases if case in rows}
    text = to_markdown(chosen, _about(settings), replace(cases[0], method="pmnc", radius=2))
    (out / "benchmark.md").write_text(text, encoding="utf-8")
    plot(chosen, out / "benchmark.svg")
    typer.echo(text, nl=False)
    typer.echo(f"wrote {out / 'benchmark.md'}, {path}, {out / 'benchmark.svg'}", err=True)


def plan(methods: list[str], grids: list[int], radii: list[int]) -> list[Case]:
    """List the cases: each method and window from the coarsest grid to the finest."""
    from semcorr.profiling.case import Case, has_window

    return [
        Case(method, grid, radius)
        for method in methods
        for radius in (radii if has_window(method) else [None])
        for grid in sorted(grids)
    ]


def _names(text: str) -> list[str]:
    from semcorr.models.loading import check_name

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        check_name(name)
    if not names:
        raise SemcorrError(f"--methods needs a name at least, such as {METHODS}")
    return names


def _numbers(text: str, option: str, low: int, high: int) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() and low <= int(part) <= high for part in parts):
        raise SemcorrError(f"{option} must be whole numbers from {low} to {high}, commas in between; got {text!r}")
    return sorted({int(part) for part in parts})


def _measured(
    cases: list[Case], rows: dict[Case, Row], settings: Settings, kinds: list[tuple[What, str]], limit: float
) -> Iterator[tuple[Case, Row]]:
    """Measure what is not known yet: first all costs, which tell whether the rest can be afforded."""
    from semcorr.profiling.case import measure

    for what, key in kinds:
        for case in cases:
            row = dict(rows.get(case, {}))
            left = dict(row.pop("left_out", {}))
            left.pop(what, None)
            if key in row or not _applies(what, case) or (what != "cost" and "matching" not in row):
                continue
            reason = _too_much(what, case, rows, settings, limit)
            start = time.perf_counter()
            if reason is None:
                try:
                    row |= measure(what, case, settings, _PATIENCE * limit)
                except SemcorrError as error:
                    reason = str(error)
            if reason is not None:
                left[what] = reason
            took = f"{time.perf_counter() - start:.0f} s"
            typer.echo(f"{case}, {what}: {took if reason is None else reason}", err=True)
            yield case, row | ({"left_out": left} if left else {})


def _kinds(figures: str, settings: Settings) -> list[tuple[What, str]]:
    """Name what is measured, and a key by which it is known to have been."""
    wanted = [figure.strip() for figure in figures.split(",")]
    kinds: list[tuple[What, str]] = [("cost", "matching"), ("optimum", "reached"), ("precision", "pck")]
    if unknown := set(wanted) - {what for what, _ in kinds}:
        raise SemcorrError(f"--figures must be of {FIGURES}; got {min(unknown)!r}")
    return [kind for kind in kinds if kind[0] in wanted and (kind[0] != "precision" or settings.folder is not None)]


def _applies(what: What, case: Case) -> bool:
    """Say whether a figure means something: the optimum for a search, precision for weights that were trained."""
    from semcorr.weights import MODELS

    if what == "optimum":
        return case.radius is not None
    if what == "cost" or case.method == "nearest":
        return True
    if case.method not in MODELS:
        return False
    return case.radius is None or MODELS[case.method].load().metadata["model"]["radius"] == case.radius


def _too_much(what: What, case: Case, rows: dict[Case, Row], settings: Settings, limit: float) -> str | None:
    """Estimate time and memory from the same method on a coarser grid; return why it is left out, or None."""
    if what == "precision":
        return _over(settings.pairs * rows[case]["total"], limit)
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
        return _over(row["seconds"] * factor, limit)
    megabytes = (row["megabytes"] or 0) * factor
    if megabytes > _MEMORY_SHARE * (_memory(settings) or float("inf")):
        return f"would need about {megabytes / 1000:.0f} GB"
    encoding = row["total"] - row["matching"]
    return _over((settings.runs + 1) * (encoding + row["matching"] * factor), limit)


def _over(seconds: float, limit: float) -> str | None:
    return f"would take about {seconds:.0f} s, the limit is {limit:.0f} s" if seconds > limit else None


def _memory(settings: Settings) -> float | None:
    import torch

    from semcorr.models.memory import memory_of

    there = memory_of(torch.device(settings.device))
    return None if there is None else there / 1e6


def _known(path: Path, settings: Settings) -> dict[Case, Row]:
    """Read what an earlier run measured in the same way; what was left out then is tried again."""
    from semcorr.profiling.case import Case

    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["settings"] != _described(settings):
            return {}
        return {Case(**row.pop("case")): row for row in stored["cases"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # none yet, or damaged: it is measured


def _write(path: Path, settings: Settings, rows: dict[Case, Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cases = [{"case": asdict(case), **row} for case, row in rows.items()]
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps({"settings": _described(settings), "cases": cases}, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def _described(settings: Settings) -> dict[str, Any]:
    import torch

    import semcorr

    return {**asdict(settings), "semcorr": semcorr.__version__, "torch": torch.__version__, "processor": _processor()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _about(settings: Settings) -> str:
    pictures = "a made-up pair of pictures" if settings.folder is None else f"pairs of the split {settings.split!r}"
    where = f"{settings.threads} threads of {_processor()}" if settings.device == "cpu" else settings.device
    clock = "the processor's time" if settings.processor_time else "time on the wall"
    return f"{where}, float32; {pictures}, {clock}, medians of {settings.runs}."
