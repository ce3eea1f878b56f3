"""The commands ``evaluate`` and ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from semcorr.cli import mp100
from semcorr.cli.options import LOADING, ModelName, with_options
from semcorr.errors import DataError, need_extra
from semcorr.evaluation.options import Options

DatasetName = Annotated[
    str,
    typer.Argument(
        help="pf-pascal, pf-willow, spair-71k, ap-10k, mp-100, coco or keypoints; or the folder of one.",
        metavar="DATASET",
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder for predictions and reports. Default: runs/evaluate/DATASET-SPLIT.")
]
Shots = Annotated[
    list[int] | None,
    typer.Option("--shots", help="With mp-100: how many exemplars; may be repeated. Default: 1 and 5.", min=1),
]

OPTIONS: dict[str, Any] = {
    "root": typer.Option(help="The folder that holds the data set."),
    "split": typer.Option(help="The split. Default: the one that papers report."),
    "limit": typer.Option(help="Evaluate at most N pairs, sampled evenly from the list.", metavar="N", min=1),
    "annotations": typer.Option(help="With coco: any COCO keypoints file; needs --images."),
    "images": typer.Option(help="With --annotations: the folder of its pictures."),
    "skip_broken": typer.Option("--skip-broken", help="Leave out broken entries, and count them."),
    "threshold": typer.Option(
        metavar="image|bbox|keypoints", help="What α is a fraction of. Default: as is usual for the data set."
    ),
    "space": typer.Option(
        metavar="native|square",
        help="Measure distances in native pixels, or after squashing both pictures to a square. Default: as is usual.",
    ),
    "alphas": typer.Option("--alpha", help="A threshold α; may be repeated. Default: 0.1, 0.05, 0.03, 0.01."),
    **LOADING,
    "decoding": typer.Option(
        metavar="soft-argmax|argmax",
        help="Interpolate between cells, or take the best cell's centre as the authors of NC-Net and ANC-Net do.",
    ),
    "batch": typer.Option(help="How many pairs to match at a time.", min=1),
    "workers": typer.Option(help="How many threads read pictures ahead.", min=1),
    "fresh": typer.Option("--fresh", help="Match and measure again, ignoring the results of an earlier run."),
    "cost": typer.Option("--cost/--no-cost", help="Measure the time and memory of a pair, in a separate process."),
}
"""How each field of `semcorr.evaluation.Options` is offered on the command line."""


@with_options(Options, OPTIONS)
def evaluate(
    dataset: DatasetName,
    model: ModelName = None,
    out: Out = None,
    shots: Shots = None,
    options: Options = Options(),
) -> None:
    """Evaluate a model on a data set; run it again to resume, or to score the same predictions by another protocol."""
    need_extra("data", "jinja2")
    from semcorr.models.loading import default_name

    name = default_name(options.backbone) if model is None else model
    if dataset.lower() in mp100.NAMES:
        mp100.evaluate_mp100(name, options, shots or [1, 5], out)
    elif shots is not None:
        raise DataError(f"--shots is for mp-100; got the data set {dataset!r}")
    else:
        _report(dataset, [name], options, out)


@with_options(Options, OPTIONS)
def compare(
    dataset: DatasetName,
    models: Annotated[str, typer.Option(help="Models, separated by commas; differences are to the first.")],
    out: Out = None,
    options: Options = Options(),
) -> None:
    """Evaluate several models on a data set, and tell which differences are significant."""
    need_extra("data", "jinja2")
    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    if len(names) < 2:
        raise DataError(f"--models needs at least two names, separated by commas; got {models!r}")
    _report(dataset, names, options, out)


def _report(dataset: str, models: list[str], options: Options, out: Path | None) -> None:
    from semcorr import evaluation

    result = evaluation.compare(dataset, models, options, out)
    paths = result.write()
    typer.echo(result.to_markdown(), nl=False)
    typer.echo(f"wrote {', '.join(str(path) for path in paths.values())}", err=True)
