"""Evaluate models on a data set and compare them: what the commands ``evaluate`` and ``compare`` do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, get_args

import semcorr
from semcorr.data.pairs import Pair, PairSet, gather, spread
from semcorr.data.registry import DATASETS, load_dataset, locate_dataset
from semcorr.errors import DataError, ModelError, one_of
from semcorr.evaluation.options import Options
from semcorr.evaluation.report import write
from semcorr.evaluation.results import Difference, Evaluation
from semcorr.evaluation.run import Features, RunOptions, fingerprint, predict
from semcorr.evaluation.score import differences, evaluate
from semcorr.files import local_path, refuse_input, sha256_of
from semcorr.matchers.decode import Decoding
from semcorr.metrics import ALPHAS, Space, Threshold, reference_length
from semcorr.models.loading import check_name
from semcorr.profiling.cost import measure
from semcorr.profiling.machine import command_line, origin
from semcorr.weights import BACKBONES, MODELS


@dataclass(frozen=True)
class Comparison:
    """Several models on the same pairs.

    Attributes:
        evaluations: One for each model, in the order given.
        differences: Each further model minus the first, for every α, with a paired bootstrap interval.
        folder: Where the predictions are, and where `write` puts the report by default.
    """

    evaluations: list[Evaluation]
    differences: list[Difference]
    folder: Path

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        return write.to_markdown(self.evaluations, self.differences)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return write.to_json(self.evaluations, self.differences)

    def write(self, folder: Path | str | None = None) -> dict[str, Path]:
        """Write the report as Markdown, JSON and HTML, and with several models a figure.

        Args:
            folder: Where to; by default `folder`.

        Returns:
            The paths, by ``"md"``, ``"json"``, ``"html"`` and ``"png"``.
        """
        return write.write_report(self.evaluations, Path(folder or self.folder), self.differences)


@dataclass(frozen=True)
class _Protocol:
    """Which pairs are evaluated, and how their predictions are scored."""

    pairs: PairSet
    threshold: Threshold
    space: Space
    alphas: tuple[float, ...]


def compare(
    dataset: str | Path, models: Sequence[str], options: Options = Options(), out: Path | str | None = None
) -> Comparison:
    """Evaluate one or more models on a data set.

    Predictions are kept in a folder: called again, it resumes after an interruption, or scores the same predictions
    by another protocol without matching anything. Models that use the same features compute them once.

    Args:
        dataset: The name of a data set (``"spair-71k"``), or the folder of one.
        models: Names from `semcorr.list_models`.
        options: Which pairs, and how they are matched and scored.
        out: The folder for the predictions; by default ``runs/evaluate/DATASET-SPLIT``.

    Raises:
        DataError: If the data set is missing or broken, or cannot be scored in the way asked for.
        ModelError: If a model is unknown or its weights do not fit.
        ImageError: If a picture cannot be read, and ``options.skip_broken`` is not set.
        ValueError: If an option has none of its possible values.
    """
    names = list(dict.fromkeys(models))
    if options.weights is not None:
        options = replace(options, weights=local_path(options.weights))
    _check_models(names, options.weights)
    one_of(options.decoding, get_args(Decoding), "decoding")
    files = {key: value for key in ("annotations", "images") if (value := getattr(options, key)) is not None}
    name, root = locate_dataset(str(dataset), options.root, files)
    split = options.split or DATASETS[name].splits[-1]
    protocol = _protocol(name, root, split, options)
    suffix = f"-{options.limit}-pairs" if options.limit else ""
    folder = local_path(out or Path("runs", "evaluate", f"{name}-{split}{suffix}"))
    inputs = [Path(p) for p in (options.annotations, options.weights, options.backbone_weights) if p is not None]
    for file in write.FILES:
        refuse_input(folder / file, inputs)
    command = f"semcorr {'compare' if len(names) > 1 else 'evaluate'} {quote(str(dataset))}"
    command += f" --{'models' if len(names) > 1 else 'model'} {','.join(names)}"
    made_by = origin(command_line(command, options, ("fresh", "workers"), {"alphas": "--alpha"}), options.device)
    features: Features = OrderedDict()
    evaluations = [
        replace(_evaluate(model, protocol, options, folder / model, features), origin=made_by) for model in names
    ]
    gains = [gain for other in evaluations[1:] for gain in differences(other, evaluations[0])]
    return Comparison(evaluations, gains, folder)


def _check_models(names: list[str], weights: Path | None) -> None:
    """Refuse models that cannot be loaded before the first of them is matched for an hour."""
    if not names:
        raise ModelError("no model given: name at least one, such as 'pmnc'")
    for name in names:
        check_name(name)
    if weights is not None and set(names) == {"nearest"}:
        raise ModelError("nearest has no weights of its own: leave out the weights file, or choose 'pmnc'")
    if weights is not None and not weights.is_file():
        raise ModelError(f"{weights} is not a file: expected a weights file that `semcorr train` wrote")


def _protocol(name: str, root: Path, split: str, options: Options) -> _Protocol:
    """Load the pairs, and check before anything is matched that they can be scored in the way asked for."""
    dataset = DATASETS[name]
    threshold = one_of(options.threshold or dataset.threshold, get_args(Threshold), "threshold")
    space = one_of(options.space or dataset.space, get_args(Space), "space")
    alphas = tuple(sorted(set(options.alphas or ALPHAS), reverse=True))
    if not all(0 < alpha <= 1 for alpha in alphas):
        raise ValueError(f"alpha must be above 0 and at most 1; got {', '.join(f'{alpha:g}' for alpha in alphas)}")
    files = {key: value for key in ("annotations", "images") if (value := getattr(options, key)) is not None}
    pairs = load_dataset(name, root, split, skip_broken=options.skip_broken, **files)
    if options.limit is not None:
        pairs = replace(pairs, pairs=spread(pairs.pairs, options.limit))
    skipped: list[DataError] | None = [] if options.skip_broken else None
    scorable = gather(pairs, lambda pair: _scorable(pair, threshold, space), skipped)
    return _Protocol(
        replace(pairs, pairs=scorable, skipped=[*pairs.skipped, *(skipped or [])]), threshold, space, alphas
    )


def _scorable(pair: Pair, threshold: Threshold, space: Space) -> Pair:
    reference_length(pair, threshold, space)  # raises where, for example, a box is missing
    return pair


def _evaluate(name: str, protocol: _Protocol, options: Options, folder: Path, features: Features) -> Evaluation:
    keywords = {key: getattr(options, key) for key in ("backbone", "backbone_weights", "grid", "device", "decoding")}
    weights = options.weights if name != "nearest" else None
    settings = {"model": name, **keywords, **_version(name, weights)}
    arguments = {"name": name, "weights": weights and str(weights), **keywords}
    listed = protocol.pairs.pairs
    run = RunOptions(options.batch, options.workers)
    answers = predict(
        lambda: semcorr.load(**arguments), settings, listed, folder, run, options.fresh, options.skip_broken, features
    )
    pairs = [pair for index, pair in enumerate(listed) if index not in answers.broken]
    scored = evaluate(
        name, protocol.pairs.name, pairs, answers.predictions, protocol.threshold, protocol.space, protocol.alphas
    )
    return replace(
        scored,
        cost=measure(arguments, pairs, fingerprint(settings, listed), folder, options.fresh) if options.cost else None,
        settings=settings,
        skipped=[*(str(error) for error in protocol.pairs.skipped), *answers.broken.values()],
        left_out=protocol.pairs.left_out,
    )


def _version(name: str, weights: Path | None) -> dict[str, Any]:
    """Return what besides the settings decides a model's predictions: this version, and checksums of weights."""
    used = [*BACKBONES.values(), *(embedded for model, embedded in MODELS.items() if model == name and not weights)]
    checksums = {embedded.file: embedded.sha256 for embedded in used}
    if weights is not None:
        checksums["trained"] = sha256_of(weights)
    return {"semcorr": semcorr.__version__, "weights": checksums}
