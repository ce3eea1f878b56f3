"""The commands ``evaluate`` and ``compare``."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from semcorr.cli import mp100
from semcorr.cli.options import one_of
from semcorr.errors import DataError, ModelError, need_extra

if TYPE_CHECKING:
    from semcorr.data.pairs import PairSet
    from semcorr.evaluation.results import Evaluation
    from semcorr.evaluation.run import Features
    from semcorr.metrics.pck import Space, Threshold

DatasetName = Annotated[
    str,
    typer.Argument(
        help="pf-pascal, pf-willow, spair-71k, ap-10k, mp-100, coco or keypoints; or the folder of one.",
        metavar="DATASET",
    ),
]
Root = Annotated[Path | None, typer.Option(help="The folder that holds the data set.")]
Annotations = Annotated[Path | None, typer.Option(help="With coco: any COCO-keypoints file, and …")]
Images = Annotated[Path | None, typer.Option(help="… the folder of its pictures.")]
Split = Annotated[str | None, typer.Option(help="Which split; by default the one that papers report.")]
# Text and not Literal, which typer takes only since 0.19; and a wrong value gets one line, like any other mistake.
ThresholdName = Annotated[
    str | None,
    typer.Option(
        "--threshold", metavar="image|bbox|keypoints", help="What α is a fraction of; by default as is the custom."
    ),
]
SpaceName = Annotated[
    str | None,
    typer.Option(
        "--space", metavar="native|square", help="Native pixels, or both pictures squashed to a square; likewise."
    ),
]
Alphas = Annotated[
    list[float] | None, typer.Option("--alpha", help="A threshold, may be repeated; by default 0.1, 0.05, 0.03, 0.01.")
]
Out = Annotated[
    Path | None, typer.Option(help="Folder for predictions and reports; by default runs/evaluate/DATASET-SPLIT.")
]
Limit = Annotated[int | None, typer.Option(help="Only so many pairs, spread evenly over the list.", min=1)]
DecodingName = Annotated[
    str,
    typer.Option(
        "--decoding",
        metavar="soft-argmax|argmax",
        help="Between cells, or the best cell's centre, as NC-Net and ANC-Net are evaluated by their authors.",
    ),
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Leave broken entries out, and count them.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Match anew, though there are predictions.")]
Backbone = Annotated[str | None, typer.Option(help="A timm backbone in place of the model's own.")]
BackboneWeights = Annotated[str | None, typer.Option(help="A safetensors file for the backbone.")]
Grid = Annotated[int | None, typer.Option(help="Cells to a side of a square picture.")]
WeightsFile = Annotated[
    Path | None, typer.Option("--weights", help="A file that `semcorr train` wrote, in place of the model's own.")
]
Shots = Annotated[
    list[int] | None, typer.Option("--shots", help="With mp-100: how many exemplars; may be repeated. Default: 1, 5.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")]
Batch = Annotated[int, typer.Option(help="Pairs that are matched together.", min=1)]
WithCost = Annotated[
    bool, typer.Option("--cost/--no-cost", help="Measure time and memory of a pair in a process of its own.")
]
Workers = Annotated[int, typer.Option(help="Threads that read pictures ahead.", min=1)]


@dataclass(frozen=True)
class _Protocol:
    """Which pairs, and how they are scored."""

    pairs: PairSet
    threshold: Threshold
    space: Space
    alphas: tuple[float, ...]
    out: Path


@dataclass(frozen=True)
class _Running:
    """How the pairs are matched."""

    keywords: dict[str, Any]
    weights: Path | None
    batch: int
    workers: int
    fresh: bool
    skip_broken: bool
    cost: bool


def evaluate(
    dataset: DatasetName,
    root: Root = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Which model; `semcorr models` lists them. By default pmnc; with a backbone, pmnc-universal."
        ),
    ] = None,
    split: Split = None,
    threshold: ThresholdName = None,
    space: SpaceName = None,
    alpha: Alphas = None,
    out: Out = None,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    fresh: Fresh = False,
    backbone: Backbone = None,
    backbone_weights: BackboneWeights = None,
    grid: Grid = None,
    weights: WeightsFile = None,
    decoding: DecodingName = "soft-argmax",
    device: Device = "cpu",
    batch: Batch = 8,
    workers: Workers = 2,
    cost: WithCost = True,
    annotations: Annotations = None,
    images: Images = None,
    shots: Shots = None,
) -> None:
    """Measure a model on a data set; run it again to go on, or to score the same predictions by another protocol."""
    from semcorr.models.loading import default_name

    model = default_name(backbone) if model is None else model
    _check_models([model], weights)
    if dataset.lower() in mp100.NAMES:
        chosen = {"name": model, "weights": weights, **_keywords(backbone, backbone_weights, grid, decoding, device)}
        mp100.evaluate_mp100(root, chosen, split, shots or [1, 5], out, limit, skip_broken)
        return
    files = {"annotations": annotations, "images": images}
    protocol = _protocol(dataset, root, split, threshold, space, alpha, out, limit, skip_broken, files)
    keywords = _keywords(backbone, backbone_weights, grid, decoding, device)
    running = _Running(keywords, weights, batch, workers, fresh, skip_broken, cost)
    _report([_evaluate(model, protocol, running, OrderedDict())], protocol.out)


def compare(
    dataset: DatasetName,
    models: Annotated[str, typer.Option(help="Models with commas in between; differences are to the first.")],
    root: Root = None,
    split: Split = None,
    threshold: ThresholdName = None,
    space: SpaceName = None,
    alpha: Alphas = None,
    out: Out = None,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    fresh: Fresh = False,
    backbone: Backbone = None,
    backbone_weights: BackboneWeights = None,
    grid: Grid = None,
    weights: WeightsFile = None,
    decoding: DecodingName = "soft-argmax",
    device: Device = "cpu",
    batch: Batch = 8,
    workers: Workers = 2,
    cost: WithCost = True,
    annotations: Annotations = None,
    images: Images = None,
) -> None:
    """Measure several models on a data set, and say which differences are real."""
    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    if len(names) < 2:
        raise DataError(f"--models needs two names at least, with a comma in between; got {models!r}")
    _check_models(names, weights)
    files = {"annotations": annotations, "images": images}
    protocol = _protocol(dataset, root, split, threshold, space, alpha, out, limit, skip_broken, files)
    keywords = _keywords(backbone, backbone_weights, grid, decoding, device)
    running = _Running(keywords, weights, batch, workers, fresh, skip_broken, cost)
    known: Features = OrderedDict()
    _report([_evaluate(name, protocol, running, known) for name in names], protocol.out)


def _check_models(names: list[str], weights: Path | None) -> None:
    """Refuse what no model can be loaded from, before the first of them is matched for an hour."""
    need_extra("data", "jinja2", "scipy")
    from semcorr.models.loading import check_name

    for name in names:
        check_name(name)
    if weights is not None and set(names) == {"nearest"}:
        raise ModelError(f"{' and '.join(names)} has no weights of its own: leave --weights out, or choose 'pmnc'")
    if weights is not None and not weights.is_file():
        raise ModelError(f"{weights} is no file: give --weights a file that `semcorr train` wrote")


def _keywords(
    backbone: str | None, backbone_weights: str | None, grid: int | None, decoding: str, device: str
) -> dict[str, Any]:
    """Return the arguments of `semcorr.load` that all models of a run share."""
    from semcorr.matchers.decode import Decoding

    chosen = {"backbone": backbone, "backbone_weights": backbone_weights, "grid": grid, "device": device}
    return chosen | {"decoding": one_of(decoding, get_args(Decoding), "--decoding")}


def _protocol(
    dataset: str,
    root: Path | None,
    split: str | None,
    threshold: str | None,
    space: str | None,
    alphas: list[float] | None,
    out: Path | None,
    limit: int | None,
    skip_broken: bool,
    files: dict[str, Path | None],
) -> _Protocol:
    """Load the pairs, and make sure before anything is matched that they can be scored as is wanted."""
    from semcorr import metrics
    from semcorr.data.pairs import spread
    from semcorr.data.registry import DATASETS, load_dataset

    given = {key: value for key, value in files.items() if value is not None}
    name, root = _find(dataset, root, given)
    known = DATASETS[name]
    by = one_of(threshold or known.threshold, get_args(metrics.Threshold), "--threshold")
    within = one_of(space or known.space, get_args(metrics.Space), "--space")
    fractions = tuple(sorted(set(alphas or metrics.ALPHAS), reverse=True))
    if not all(0 < alpha <= 1 for alpha in fractions):
        raise DataError(f"--alpha must be above 0 and at most 1; got {', '.join(f'{a:g}' for a in fractions)}")
    split = split or known.splits[-1]
    pairs = load_dataset(name, root, split, skip_broken=skip_broken, **given)
    if limit is not None:
        pairs = replace(pairs, pairs=spread(pairs.pairs, limit))
    for pair in pairs:
        metrics.reference_length(pair, by, within)
    few = f"-{limit}-pairs" if limit else ""
    return _Protocol(pairs, by, within, fractions, out or Path("runs", "evaluate", f"{name}-{split}{few}"))


def _find(dataset: str, root: Path | None, files: dict[str, Path]) -> tuple[str, Path]:
    """Tell a data set's name and folder from a name with --root, or from the folder alone."""
    from semcorr.data.registry import DATASETS, find_dataset, recognise

    if root is None and Path(dataset).is_dir():
        name, root = recognise(dataset), Path(dataset)
    elif root is None and len(Path(dataset).parts) > 1:
        raise DataError(f"{dataset} is no folder: give the data set's name and --root, or its folder")
    else:
        found = find_dataset(dataset)
        name = next(key for key, value in DATASETS.items() if value is found)
    if files and name != "coco":
        raise DataError(f"--{next(iter(files))} goes with the data set coco; got {dataset!r}")
    if root is None and len(files) < 2:
        raise DataError(f"--root is missing: the folder that holds {name}")
    return name, root or Path()


def _evaluate(name: str, protocol: _Protocol, running: _Running, known: Features) -> Evaluation:
    import semcorr
    from semcorr.evaluation.run import RunOptions, fingerprint, predict
    from semcorr.evaluation.score import evaluate as score_predictions
    from semcorr.profiling import cost
    from semcorr.weights import BACKBONES, MODELS

    used = [*BACKBONES.values(), *(embedded for model, embedded in MODELS.items() if model == name)]
    checksums = sorted(embedded.sha256 for embedded in used)
    settings = {"model": name, **running.keywords, "semcorr": semcorr.__version__, "weights": checksums}
    own = running.weights if name != "nearest" else None
    if own is not None:
        settings["trained"] = hashlib.sha256(own.read_bytes()).hexdigest()
    arguments = {"name": name, "weights": own and str(own), **running.keywords}
    listed, folder = protocol.pairs.pairs, protocol.out / name
    options = RunOptions(running.batch, running.workers)
    found = predict(
        lambda: semcorr.load(**arguments), settings, listed, folder, options, running.fresh, running.skip_broken, known
    )
    pairs = [pair for index, pair in enumerate(listed) if index not in found.broken]
    scored = score_predictions(
        name, protocol.pairs.name, pairs, found.predictions, protocol.threshold, protocol.space, protocol.alphas
    )
    return replace(
        scored,
        cost=cost.measure(arguments, pairs, fingerprint(settings, listed), folder) if running.cost else None,
        settings=settings,
        skipped=[*(str(error) for error in protocol.pairs.skipped), *found.broken.values()],
    )


def _report(evaluations: list[Evaluation], out: Path) -> None:
    from semcorr.evaluation.report.write import to_markdown, write_report
    from semcorr.evaluation.score import differences

    found = [d for other in evaluations[1:] for d in differences(other, evaluations[0])]
    paths = write_report(evaluations, out, found)
    typer.echo(to_markdown(evaluations, found), nl=False)
    typer.echo(f"wrote {', '.join(str(path) for path in paths.values())}", err=True)
