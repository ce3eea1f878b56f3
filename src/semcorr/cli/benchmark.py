"""The command ``benchmark``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from semcorr.cli.options import with_options
from semcorr.errors import SemcorrError, one_of
from semcorr.files import write_text

if TYPE_CHECKING:
    from semcorr.profiling.case import Case

METHODS = "nearest,pmnc,ncnet,ancnet"


@dataclass(frozen=True)
class Options:
    """What is measured, and on what."""

    methods: str = METHODS
    grids: str = "16,25,32,50,64,100,128"
    radii: str = "1,2,3"
    figures: str = "cost,optimum,precision"
    data: Path | None = None
    split: str = "val"
    pairs: int = 200
    runs: int = 5
    threads: int = 1
    device: str = "cpu"
    processor_time: bool = False
    limit: float = 60
    out: Path = Path("runs", "benchmark")
    fresh: bool = False


OPTIONS: dict[str, Any] = {
    "methods": typer.Option(help="Models, separated by commas."),
    "grids": typer.Option(help="Cells along each side of the grid, separated by commas."),
    "radii": typer.Option(help="Radii r of pmnc's window of (2r+1)⁴ correlations, separated by commas."),
    "figures": typer.Option(help="What to measure, separated by commas; precision needs --data."),
    "data": typer.Option(
        help="Folder of photographs with keypoints (the data set keypoints). Default: synthetic ones."
    ),
    "split": typer.Option(help="With --data: the split."),
    "pairs": typer.Option(help="With --data: how many pairs to measure PCK on.", min=1),
    "runs": typer.Option(help="How many pairs to time; the figures are medians.", min=1),
    "threads": typer.Option(help="Processor threads to use.", min=1),
    "device": typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps …"),
    "processor_time": typer.Option(
        "--processor-time", help="Measure processor time, not wall-clock time; for a busy machine."
    ),
    "limit": typer.Option(help="Seconds per measurement; what is predicted to take longer is left out.", min=1),
    "out": typer.Option(help="Folder for the table and the plot."),
    "fresh": typer.Option("--fresh", help="Measure again, ignoring the results of an earlier run."),
}


@with_options(Options, OPTIONS)
def benchmark(options: Options) -> None:
    """Measure time, memory and optimality of every method, grid and window; run it again to resume.

    Each measurement runs in a separate process. Windows of another radius than the model's own are cropped, or padded
    with zeros: they tell what a window costs, not how well it matches.
    """
    from semcorr.profiling.case import Settings
    from semcorr.profiling.machine import command_line, libraries
    from semcorr.profiling.plan import FIGURES, Benchmark, plan
    from semcorr.profiling.table import plot, to_markdown

    data = options.data
    if data is not None and not data.is_dir():
        raise SemcorrError(f"--data must be a folder of photographs with keypoints; got {data}")
    settings = Settings(
        folder=None if data is None else str(data.resolve()),
        split=options.split,
        pairs=options.pairs,
        runs=options.runs,
        threads=options.threads,
        device=options.device,
        processor_time=options.processor_time,
    )
    cases: list[Case] = plan(
        _names(options.methods), _numbers(options.grids, "--grids", 2, 512), _numbers(options.radii, "--radii", 0, 4)
    )
    figures = [one_of(figure, list(FIGURES), "--figures") for figure in _split(options.figures)]
    out = options.out
    run = Benchmark(out / "benchmark.json", settings, options.limit, lambda line: typer.echo(line, err=True))
    rows = run.run(cases, figures, options.fresh)
    command = command_line("semcorr benchmark", options, ("out", "fresh"))
    about = f"{run.about()} {', '.join(map(' '.join, libraries().items()))}; `{command}`"
    text = to_markdown(rows, about, replace(cases[0], method="pmnc", radius=2))
    write_text(out / "benchmark.md", text)
    plot(rows, out / "benchmark.svg")
    typer.echo(text, nl=False)
    typer.echo(f"wrote {out / 'benchmark.md'}, {run.path}, {out / 'benchmark.svg'}", err=True)


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _names(text: str) -> list[str]:
    from semcorr.models.loading import check_name

    names = _split(text)
    for name in names:
        check_name(name)
    if not names:
        raise SemcorrError(f"--methods needs at least one name, such as {METHODS}")
    return names


def _numbers(text: str, option: str, low: int, high: int) -> list[int]:
    parts = _split(text)
    if not parts or not all(part.isdigit() and low <= int(part) <= high for part in parts):
        raise SemcorrError(f"{option} must be integers from {low} to {high}, separated by commas; got {text!r}")
    return sorted({int(part) for part in parts})
