"""The commands ``data download``, ``data check`` and ``data pseudo-labels``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from semcorr.cli.options import with_local_paths
from semcorr.errors import DataError, need_extra
from semcorr.progress import progress_bar

data = typer.Typer(no_args_is_help=True, help="Download and check data sets; make pseudo-labels.")


def download(
    name: Annotated[str, typer.Argument(help="pf-pascal, pf-willow or spair-71k.")],
    to: Annotated[Path, typer.Option(help="The folder to download it to.")],
    mirror: Annotated[
        list[str] | None, typer.Option(help="URL of a folder with the same files; tried before the public ones.")
    ] = None,
) -> None:
    """Download a data set; run it again to resume after an interruption."""
    need_extra("data", "requests")
    from rich.progress import DownloadColumn, TaskID, TransferSpeedColumn

    from semcorr.data.download.download import download as fetch

    with progress_bar(DownloadColumn(), TransferSpeedColumn()) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file)
            bar.update(tasks[file], completed=done, total=total)

        folder = fetch(name, to, mirror or (), progress)
    typer.echo(str(folder))


def check(
    folder: Annotated[
        Path | None, typer.Argument(help="The folder that holds the data set. Not needed with --annotations.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The data set's name, if it cannot be recognised.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="A COCO keypoints file to check; needs --images.")] = None,
    images: Annotated[Path | None, typer.Option(help="With --annotations: the folder of its pictures.")] = None,
) -> None:
    """Count a data set's pairs, and look for missing or broken pictures and misplaced keypoints; exit code 1 if any."""
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    from semcorr.data.check import check_dataset
    from semcorr.data.registry import recognise

    if (annotations is None) != (images is None):
        raise DataError("--annotations and --images must be given together")
    files: dict[str, Any] = {} if annotations is None else {"annotations": annotations, "images": images}
    if folder is None and not files:
        raise DataError("give the folder that holds the data set, or --annotations and --images")
    name = name or ("coco" if files or folder is None else recognise(folder))
    with progress_bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("reading pictures", total=None)
        report = check_dataset(
            name,
            folder or images or Path(),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            **files,
        )
    for line in report.lines():
        typer.echo(line)
    if not report.sound or report.outside:
        raise typer.Exit(1)


def pseudo_labels(
    folder: Annotated[Path, typer.Argument(help="Photographs without keypoints, category/*.jpg.")],
    out: Annotated[Path, typer.Argument(help="The JSON file to write, for pseudo_labels of a training recipe.")],
    weights: Annotated[Path | None, typer.Option(help="Weights of pmnc, instead of the package's.")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="Leave out this category; may be repeated.")] = None,
    keypoints: Annotated[
        str | None,
        typer.Option(help="Data with keypoints, as for train --data: also label points between those of its pairs."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The folder of the data set that --keypoints names.")] = None,
    pairs: Annotated[int, typer.Option(help="With --keypoints: pairs of its photographs.", min=1)] = 700,
    photographs: Annotated[int, typer.Option(help="Photographs of each category at most.", min=2)] = 16,
    points: Annotated[int, typer.Option(help="Points of a pair at most.", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
) -> None:
    """Match photographs of a category with two models, and keep the points on which they agree.

    Where photographs have keypoints, one model is enough: points between them are kept that move as they do.
    """
    need_extra("train", "torch", "pydantic", "lightning_fabric")
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    from semcorr.training.data import load_training_photos
    from semcorr.training.pseudo_labels import LabelOptions, make_pseudo_labels
    from semcorr.training.recipe import DataSource

    options = LabelOptions(photographs, points, pairs, tuple(leave_out or ()), seed)
    annotated = [] if keypoints is None else load_training_photos(DataSource(keypoints, root))
    with progress_bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        labelled = make_pseudo_labels(
            folder, out, weights, options, annotated, lambda paths: bar.track(paths, description="matching")
        )
    typer.echo(f"{labelled.pairs} pairs, {labelled.points} points", err=True)
    typer.echo(str(out))


for command in (download, check):
    data.command()(with_local_paths(command))
data.command("pseudo-labels")(with_local_paths(pseudo_labels))
