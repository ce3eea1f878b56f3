"""``semcorr annotate``: label one picture, label all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcorr.annotation.settings import Settings
from semcorr.cli.options import Device, WeightsFile, with_options
from semcorr.errors import DataError, SemcorrError

if TYPE_CHECKING:
    from semcorr.annotation.exemplars import Exemplar
    from semcorr.annotation.pictures import Target
    from semcorr.annotation.records import Annotation
    from semcorr.annotation.run import Engine

_LISTED = 20
"""Unreadable pictures that are named on the screen; the output has all of them."""


OPTIONS: dict[str, Any] = {
    "sure": typer.Option(
        help="Labels with at least this confidence times visibility get v = 2; with 0.7, about nine in ten are right."
    ),
    "min_confidence": typer.Option(help="Below this confidence, a point gets no label."),
    "min_visibility": typer.Option(
        help="Below this probability that the picture shows a point at all, it gets no label.",
    ),
    "margin": typer.Option(help="By how much a box is enlarged before it is cropped, as a share of its sides."),
    "rotations": typer.Option(
        help="How many directions to try the exemplars in; 12 for objects that lie in any direction."
    ),
    "mirror": typer.Option("--mirror", help="Try the mirror images of the exemplars, too."),
    "most_exemplars": typer.Option("--exemplars", help="Use at most this many exemplars."),
}
"""How each field of `semcorr.annotation.settings.Settings` is offered on the command line."""


_Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="[EXEMPLARS]… PICTURES",
        help="Files with the labels of one picture or of a few (COCO, Labelme, DeepLabCut, Lightning Pose, TPS, "
        "Label Studio, YOLO, table), then the pictures to label: a folder, a list, a COCO file, WebDataset shards.",
        show_default=False,
    ),
]
_Out = Annotated[
    list[Path],
    typer.Option(help="A file to write: .json (COCO), .csv, .parquet, .tps …; repeatable.", show_default=False),
]
_OutputFormat = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="The format of each --out, in order: coco, csv, parquet, deeplabcut, lightning-pose, tps, yolo, "
        "labelme, label-studio, json. By default the file's ending says it.",
    ),
]
_Exemplar = Annotated[
    Path | None, typer.Option(help="A picture whose points are given with --point, instead of a file.")
]
_Point = Annotated[
    list[str] | None, typer.Option(help="A point of --exemplar, in pixels; repeat for each.", metavar="NAME:X,Y")
]
_Images = Annotated[
    Path | None, typer.Option(help="Folder of the exemplars' pictures, if they are not beside their file.")
]
_Category = Annotated[str | None, typer.Option(help="Use only exemplars of this category, if they are of several.")]
_Pattern = Annotated[
    list[str] | None,
    typer.Option(help="Label only pictures whose name matches, such as '*_dorsal.jpg'; repeatable."),
]
_Boxes = Annotated[
    Path | None, typer.Option(help="COCO file or COCO detections: each box is labelled as an object of its own.")
]
_Confirmed = Annotated[
    Path | None,
    typer.Option(help="An output that you have corrected: its changes are kept and serve as exemplars."),
]
_Predicted = Annotated[
    Path | None,
    typer.Option(help="With --confirmed in DeepLabCut, Lightning Pose, TPS or YOLO: the file before you changed it."),
]
_Report = Annotated[
    Path | None, typer.Option(help="Write a page of the labelled pictures, the least certain first (.html).")
]
_Model = Annotated[
    str | None, typer.Option(help="The model; `semcorr models` lists them. Default: pmnc.", show_default=False)
]
_Engine = Annotated[
    str,
    typer.Option(help="What distributes the work; ray needs pip install 'semcorr\\[ray]'.", metavar="local|ray"),
]
_Workers = Annotated[
    int | None, typer.Option(help="With --engine ray: how many workers; by default one for each processor core.")
]
_Address = Annotated[
    str | None,
    typer.Option(help="With --engine ray: the cluster's address; by default, Ray runs on this computer."),
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
_Fresh = Annotated[bool, typer.Option("--fresh", help="Start over, ignoring an interrupted run.")]


@with_options(Settings, OPTIONS)
def annotate(
    inputs: _Inputs,
    out: _Out,
    output_format: _OutputFormat = None,
    exemplar: _Exemplar = None,
    point: _Point = None,
    images: _Images = None,
    category: _Category = None,
    pattern: _Pattern = None,
    boxes: _Boxes = None,
    confirmed: _Confirmed = None,
    predicted: _Predicted = None,
    report: _Report = None,
    model: _Model = None,
    weights: WeightsFile = None,
    device: Device = "cpu",
    engine: _Engine = "local",
    workers: _Workers = None,
    address: _Address = None,
    overwrite: _Overwrite = False,
    fresh: _Fresh = False,
    options: Settings = Settings(),
) -> None:
    """Label many pictures from a few labelled ones: the same points under the same names.

    If it is interrupted, repeat the command: it continues where it stopped. Existing files are not overwritten.
    """
    from semcorr.annotation.outputs import Output
    from semcorr.annotation.pictures import find_pictures
    from semcorr.annotation.run import plan, read_confirmed, run

    formats = output_format or []
    if len(formats) > len(out):
        raise SemcorrError(f"--format is given {len(formats)} times, --out {len(out)} times; give one for each")
    outputs = [Output.parse(path, formats[i] if i < len(formats) else None) for i, path in enumerate(out)]
    sources = _exemplars(inputs[:-1], exemplar, point or [], images, category)
    pictures = find_pictures(inputs[-1], pattern or [], None, boxes)
    known = [] if confirmed is None else read_confirmed(confirmed, pictures.root, predicted)
    read = [*_files_of(*inputs[:-1], exemplar, confirmed, predicted), inputs[-1], *([boxes] if boxes else [])]
    job = replace(plan(sources, pictures, options, known), inputs=read)
    with _progress() as tell:
        annotations = run(
            job,
            outputs,
            f"{model or 'pmnc'} {weights or ''}",
            _engine(engine, model or "pmnc", {"weights": weights, "device": device}, workers, address),
            report=report,
            overwrite=overwrite,
            fresh=fresh,
            progress=tell,
        )
    _summarise(annotations, [output.path for output in outputs], report)


def _files_of(*paths: Path | None) -> list[Path]:
    """Return files and folders of labels, what is in the folders, and the CSV file that is read in place of HDF5."""
    found: list[Path] = []
    for path in paths:
        if path is not None:
            found += [path, *path.rglob("*")]  # nothing below a file
        if path is not None and path.suffix.lower() == ".h5":
            found.append(path.with_suffix(".csv"))
    return found


def _exemplars(
    paths: Sequence[Path], picture: Path | None, points: Sequence[str], images: Path | None, category: str | None
) -> list[tuple[Annotation, Path]]:
    from semcorr.annotation.exemplars import read_exemplars

    if picture is None and points:
        raise SemcorrError("--point belongs to --exemplar PICTURE")
    if picture is None and not paths:
        raise SemcorrError("give a file of labels and the pictures to label; or --exemplar PICTURE --point NAME:X,Y")
    given = [] if picture is None else [exemplar_from_points(picture, points)]
    return given + (read_exemplars(paths, images, category) if paths else [])


def exemplar_from_points(path: Path, texts: Sequence[str]) -> tuple[Annotation, Path]:
    """Return an exemplar given as points ``name:x,y`` in pixels.

    Raises:
        DataError: If a point is anything else, a name stands twice, or the picture is missing.

    >>> exemplar_from_points(Path("cat.jpg"), ["nose:120,85"])[0].points["nose"].x
    120.0
    """
    from semcorr.annotation.records import Annotation, Point
    from semcorr.cli.points import parse_point

    points: dict[str, Point] = {}
    for text in texts:
        name, separator, place = text.rpartition(":")
        if not separator or not name.strip():
            raise DataError(f"point {text!r}: give a name and a place, as in nose:120,85")
        if name.strip() in points:
            raise DataError(f"point {name.strip()!r} is given twice")
        xy = parse_point(place).xy
        if xy is None:
            raise DataError(f"point {text!r}: give a place, as in nose:120,85")
        points[name.strip()] = Point(*xy)
    if not points:
        raise DataError("give the exemplar's points, as in --point nose:120,85")
    return Annotation(path.name, None, points, confirmed=True), path


def _engine(name: str, model: str, choices: dict[str, Any], workers: int | None, address: str | None) -> Engine:
    if name == "ray":
        from semcorr.annotation.ray_engine import ray_engine

        return ray_engine(model, choices, workers, address)
    if name != "local":
        raise SemcorrError(f"--engine must be local or ray; got {name!r}")
    if workers is not None or address is not None:
        raise SemcorrError("--workers and --address are for --engine ray")

    def local(
        exemplars: Sequence[Exemplar], settings: Settings, targets: Iterator[Target]
    ) -> Iterator[tuple[Target, Annotation]]:
        import semcorr
        from semcorr.annotation.labeller import Labeller

        return Labeller(semcorr.load(model, **choices), exemplars, settings).label(targets)

    return local


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None]]:
    """Show objects done, the rate, and the time left, on stderr, from the first one on."""
    from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from semcorr.progress import progress_bar

    rate = TextColumn("{task.fields[rate]}")
    bars = progress_bar(MofNCompleteColumn(), rate, TimeRemainingColumn(elapsed_when_finished=True))
    begun: list[tuple[float, int]] = []

    def tell(done: int, count: int | None) -> None:
        if not begun:
            bars.start()
            bars.add_task("labelling", total=count, rate="")
            begun.append((time.monotonic(), done))
        start, before = begun[0]
        seconds = time.monotonic() - start
        speed = f"{(done - before) / seconds:.1f} a second" if done > before else ""
        bars.update(bars.task_ids[0], completed=done, total=count, rate=speed)

    try:
        yield tell
    finally:
        bars.stop()


def _summarise(annotations: Sequence[Annotation], files: Sequence[Path], report: Path | None) -> None:
    labels = [point.v for one in annotations if not one.confirmed for point in one.points.values()]
    broken = [one for one in annotations if one.error]
    confirmed = sum(one.confirmed for one in annotations)
    typer.echo(
        f"{len(annotations) - len(broken)} objects, {confirmed} of them labelled by hand; of the other labels "
        f"{labels.count(2)} are sure, {labels.count(1)} unsure, {labels.count(0)} were left out",
        err=True,
    )
    for one in broken[:_LISTED]:
        typer.echo(f"not labelled: {one.picture}: {one.error}", err=True)
    if len(broken) > _LISTED:
        typer.echo(f"… and {len(broken) - _LISTED} more pictures", err=True)
    for file in [*files, *([report] if report else [])]:
        typer.echo(str(file))
