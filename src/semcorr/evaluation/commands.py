"""The commands ``evaluate``, ``compare`` and ``data``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from semcorr.errors import DataError, SemcorrError

if TYPE_CHECKING:
    from semcorr.data.pairs import PairSet
    from semcorr.evaluation.results import Evaluation

DatasetName = Annotated[str, typer.Argument(help="pf-pascal, pf-willow, spair-71k, ap-10k, coco or keypoints.")]
Root = Annotated[Path, typer.Option(help="The folder that holds the data set.")]
Annotations = Annotated[Path | None, typer.Option(help="With coco: any COCO-keypoints file, and …")]
Images = Annotated[Path | None, typer.Option(help="… the folder of its pictures.")]
Split = Annotated[str, typer.Option(help="Which split.")]
Threshold = Annotated[
    Literal["image", "bbox", "keypoints"] | None,
    typer.Option(help="What α is a fraction of; by default as is the custom."),
]
Space = Annotated[
    Literal["native", "square"] | None, typer.Option(help="Native pixels, or both pictures squashed to a square.")
]
Out = Annotated[Path, typer.Option(help="Folder for predictions and reports.")]
Limit = Annotated[int | None, typer.Option(help="Only so many pairs.", min=1)]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave broken entries out, and count them.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Match anew, though there are predictions.")]
Backbone = Annotated[str | None, typer.Option(help="A timm backbone in place of the model's own.")]
Grid = Annotated[int | None, typer.Option(help="Cells to a side of a square picture.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")]
Batch = Annotated[int, typer.Option(help="Pairs that are matched together.", min=1)]
Workers = Annotated[int, typer.Option(help="Threads that read pictures ahead.", min=1)]


@dataclass(frozen=True)
class _Job:
    """What both commands are told."""

    pairs: PairSet
    threshold: Literal["image", "bbox", "keypoints"]
    space: Literal["native", "square"]
    out: Path
    fresh: bool
    keywords: dict[str, Any]
    batch: int
    workers: int


def evaluate(
    dataset: DatasetName,
    root: Root,
    model: Annotated[str, typer.Option(help="Which model; `semcorr models` lists them.")] = "pmnc",
    split: Split = "test",
    threshold: Threshold = None,
    space: Space = None,
    out: Out = Path("runs/evaluate"),
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    fresh: Fresh = False,
    backbone: Backbone = None,
    grid: Grid = None,
    device: Device = "cpu",
    batch: Batch = 8,
    workers: Workers = 2,
    annotations: Annotations = None,
    images: Images = None,
) -> None:
    """Measure a model on a data set; run it again to go on, or to score the same predictions by another protocol."""
    keywords = {"backbone": backbone, "grid": grid, "device": device}
    files = {"annotations": annotations, "images": images}
    pairs = _pairs(dataset, root, split, limit, skip_broken, files)
    job = _job(dataset, pairs, threshold, space, out, fresh, keywords, batch, workers)
    _report([_evaluate(model, job)], out)


def compare(
    dataset: DatasetName,
    root: Root,
    models: Annotated[str, typer.Option(help="Models with commas in between; differences are to the first.")],
    split: Split = "test",
    threshold: Threshold = None,
    space: Space = None,
    out: Out = Path("runs/evaluate"),
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    fresh: Fresh = False,
    backbone: Backbone = None,
    grid: Grid = None,
    device: Device = "cpu",
    batch: Batch = 8,
    workers: Workers = 2,
    annotations: Annotations = None,
    images: Images = None,
) -> None:
    """Measure several models on a data set, and say which differences are real."""
    keywords = {"backbone": backbone, "grid": grid, "device": device}
    files = {"annotations": annotations, "images": images}
    pairs = _pairs(dataset, root, split, limit, skip_broken, files)
    job = _job(dataset, pairs, threshold, space, out, fresh, keywords, batch, workers)
    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    if len(names) < 2:
        raise DataError(f"--models needs two names at least, with a comma in between; got {models!r}")
    _report([_evaluate(name, job) for name in names], out)


data = typer.Typer(no_args_is_help=True, help="Download and check data sets.")


@data.command()
def download(
    name: Annotated[str, typer.Argument(help="pf-pascal, pf-willow or spair-71k.")],
    to: Annotated[Path, typer.Option(help="The folder to put it in.")],
    mirror: Annotated[
        list[str] | None, typer.Option(help="Address of a folder with the same files; tried first.")
    ] = None,
) -> None:
    """Download a data set; run it again to go on after a cut."""
    _need_extra()
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from semcorr.data.download import download as fetch

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file)
            bar.update(tasks[file], completed=done, total=total)

        folder = fetch(name, to, mirror or (), progress)
    typer.echo(str(folder))


@data.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the data set.")],
    name: Annotated[str | None, typer.Option(help="Which data set it is, where that cannot be told.")] = None,
) -> None:
    """Count a data set's pairs, and look for missing or broken pictures and misplaced keypoints; exit code 1 if any."""
    _need_extra()
    from semcorr.data.check import check_dataset
    from semcorr.data.registry import recognise

    report = check_dataset(name or recognise(folder), folder)
    for line in report.lines():
        typer.echo(line)
    if not report.sound:
        raise typer.Exit(1)


def _pairs(
    dataset: str, root: Path, split: str, limit: int | None, skip_broken: bool, files: dict[str, Path | None]
) -> PairSet:
    _need_extra()
    from semcorr.data.registry import load_dataset

    given = {key: value for key, value in files.items() if value is not None}
    if given and dataset.lower() != "coco":
        raise DataError(f"--{next(iter(given))} goes with the data set coco; got {dataset!r}")
    pairs = load_dataset(dataset, root, split, skip_broken=skip_broken, **given)
    return pairs if limit is None else replace(pairs, pairs=pairs.pairs[:limit])


def _job(
    dataset: str,
    pairs: PairSet,
    threshold: Literal["image", "bbox", "keypoints"] | None,
    space: Literal["native", "square"] | None,
    out: Path,
    fresh: bool,
    keywords: dict[str, Any],
    batch: int,
    workers: int,
) -> _Job:
    from semcorr.data.registry import find_dataset

    known = find_dataset(dataset)
    return _Job(pairs, threshold or known.threshold, space or known.space, out, fresh, keywords, batch, workers)


def _evaluate(name: str, job: _Job) -> Evaluation:
    import semcorr
    from semcorr.evaluation.run import RunOptions, predict
    from semcorr.evaluation.score import evaluate as score_predictions
    from semcorr.weights import BACKBONES, MODELS
    from semcorr.zoo import check_name

    check_name(name)
    checksums = sorted(embedded.sha256 for embedded in (*BACKBONES.values(), *MODELS.values()))
    settings = {"model": name, **job.keywords, "semcorr": semcorr.__version__, "weights": checksums}
    found = predict(
        lambda: semcorr.load(name, **job.keywords),
        settings,
        job.pairs.pairs,
        job.out / name,
        RunOptions(job.batch, job.workers),
        job.fresh,
    )
    scored = score_predictions(name, job.pairs.name, job.pairs.pairs, found.predictions, job.threshold, job.space)
    return replace(
        scored,
        seconds_per_pair=found.seconds_per_pair,
        peak_megabytes=found.peak_megabytes,
        settings=settings,
        skipped=[str(error) for error in job.pairs.skipped],
    )


def _report(evaluations: list[Evaluation], out: Path) -> None:
    from semcorr.evaluation.report import to_markdown, write_report
    from semcorr.evaluation.score import differences

    found = [d for other in evaluations[1:] for d in differences(other, evaluations[0])]
    paths = write_report(evaluations, out, found)
    typer.echo(to_markdown(evaluations, found), nl=False)
    typer.echo(f"wrote {', '.join(str(path) for path in paths.values())}", err=True)


def _need_extra() -> None:
    try:
        import pooch  # noqa: F401
        import scipy  # noqa: F401
        import torchmetrics  # noqa: F401
    except ImportError as error:
        raise SemcorrError(f"this needs more packages: pip install 'semcorr[data]' ({error.name} is missing)") from None
