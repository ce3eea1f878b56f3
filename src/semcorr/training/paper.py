"""The experiment of the paper, from the data set to its table: download, check, train, evaluate, print.

Every step is kept in the folder of the experiment and resumes where it was interrupted. How long each took is kept
there too, so that the plan can say it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from semcorr.data.check import check_dataset
from semcorr.data.download.download import download
from semcorr.data.registry import DATASETS
from semcorr.errors import DataError, did_you_mean
from semcorr.evaluation.comparison import compare
from semcorr.evaluation.options import Options
from semcorr.evaluation.report.tables import Table, group_table, to_markdown
from semcorr.evaluation.results import Evaluation
from semcorr.files import write_text
from semcorr.training.loop import train
from semcorr.training.recipe import TrainingRecipe, find_recipe, read_recipe

_STATE = "paper.json"
_RUNS = "runs/paper"  # where the recipes put their runs
_SIDE = 400  # of the pictures of the paper


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        title: Its name.
        recipes: The recipes of its stages, below ``paper/``; each starts from the one before.
        printed: The paper's figures: PCK at α = 0.1, 0.05, 0.03 and 0.01, seconds and megabytes of a pair.
        decoding: How its authors decode: ``"argmax"`` or ``"soft-argmax"``.
    """

    title: str
    recipes: tuple[str, ...]
    printed: tuple[float, ...] = ()
    decoding: str = "soft-argmax"


ROWS: dict[str, tuple[Row, ...]] = {
    "pf-pascal": (
        Row("NC-Net 25×25", ("ncnet-weak-1", "ncnet-weak-2"), (79.0, 54.3, 30.9, 4.9, 0.29, 406), "argmax"),
        Row("NC-Net 25×25, with keypoints", ("ncnet-strong-1", "ncnet-strong-2"), decoding="argmax"),
        Row("ANC-Net 25×25", ("ancnet-strong-1", "ancnet-strong-2"), (85.9, 58.1, 31.9, 5.1, 0.33, 1310), "argmax"),
        Row("PMNC 25×25", ("pmnc-pf-pascal-25",), (86.8, 74.5, 58.0, 14.7, 0.09, 273)),
        Row("PMNC 50×50", ("pmnc-pf-pascal-50",), (90.6, 82.4, 71.6, 29.1, 0.96, 2610)),
        Row("modern, ResNet-101", ("pmnc-pf-pascal-modern",)),
        Row("modern, DINOv2", ("pmnc-pf-pascal-modern-dinov2",)),
    ),
    "spair-71k": (
        Row("PMNC 25×25", ("pmnc-spair-71k-25",)),
        Row("PMNC 50×50", ("pmnc-spair-71k-50",)),
        Row("modern, ResNet-101", ("pmnc-spair-71k-modern",)),
        Row("modern, DINOv2", ("pmnc-spair-71k-modern-dinov2",)),
    ),
}


@dataclass(frozen=True)
class PaperOptions:
    """What of the experiment is done, and how.

    Attributes:
        datasets: Data sets.
        recipes: Rows whose last recipe is one of these; empty does all.
        data: Folder that holds the data sets, each in a folder of its name; None downloads them below the experiment's.
        backbone: A backbone instead of ResNet-101.
        backbone_weights: A safetensors file for the backbone, or ``"random"``; None lets timm download them.
        image_size: Side of the pictures; grids shrink with it.
        steps: Optimiser steps of every recipe, instead of its own.
        limit: Evaluate at most this many pairs.
        accelerator: Where it is computed: cpu, cuda or mps.
    """

    datasets: tuple[str, ...] = tuple(ROWS)
    recipes: tuple[str, ...] = ()
    data: Path | None = None
    backbone: str | None = None
    backbone_weights: str | None = None
    image_size: int | None = None
    steps: int | None = None
    limit: int | None = None
    accelerator: str = "cpu"

    def __post_init__(self) -> None:
        last = [row.recipes[-1] for rows in ROWS.values() for row in rows]
        for given, known in ((self.datasets, list(ROWS)), (self.recipes, last)):
            for name in given:
                if name not in known:
                    raise DataError(f"there is no {name!r}{did_you_mean(name, known)}: choose from {', '.join(known)}")

    def rows(self, dataset: str) -> list[Row]:
        """Return the rows that are done of a data set."""
        return [row for row in ROWS[dataset] if not self.recipes or row.recipes[-1] in self.recipes]


@dataclass(frozen=True)
class Step:
    """A step of the experiment.

    Attributes:
        name: What it does, such as ``"train pmnc-pf-pascal-25"``.
        run: Does it; it may return the evaluation that it made.
    """

    name: str
    run: Callable[[], Evaluation | None]


class Paper:
    """The experiment in a folder.

    Args:
        root: The folder.
        options: What is done.

    Raises:
        DataError: If the folder holds the experiment with other options.
    """

    def __init__(self, root: Path, options: PaperOptions = PaperOptions()) -> None:
        self.root, self.options = root, options
        path = root / _STATE
        self._state: dict[str, Any] = {"settings": self._settings(), "steps": {}}
        if path.exists():
            try:
                self._state = json.loads(path.read_text(encoding="utf-8"))
                unchanged = self._state["settings"] == self._settings()
                assert isinstance(self._state["steps"], dict)
            except (ValueError, KeyError, TypeError, AssertionError):
                raise DataError(f"{path} is damaged: delete it; finished steps are recognised by their files") from None
            if not unchanged:
                raise DataError(f"{root} holds this experiment with other settings: choose another --root")

    def steps(self) -> Iterator[Step]:
        """Yield the steps, in their order."""
        for dataset in self.options.datasets:
            if self.options.data is None:
                yield Step(f"download {dataset}", lambda d=dataset: self._download(d))  # type: ignore[misc]
            yield Step(f"check {dataset}", lambda d=dataset: self._check(d))  # type: ignore[misc]
            for row in self.options.rows(dataset):
                for name in row.recipes:
                    yield Step(f"train {name}", lambda n=name, d=dataset: self._train(n, d))  # type: ignore[misc]
                yield Step(f"evaluate {row.recipes[-1]}", lambda r=row, d=dataset: self._evaluate(r, d))  # type: ignore[misc]

    def plan(self) -> list[str]:
        """Say in a line each what is to be done, what is done, and how long it took."""
        lines = []
        for step in self.steps():
            known = self._state["steps"].get(step.name, {})
            state = "done" if known.get("done") else "begun" if known else "to do"
            took = f", took {_duration(known['seconds'])}" if known else ""
            lines.append(f"{step.name:40} {state}{took}")
        return lines

    def run(self, say: Callable[[str], None]) -> str:
        """Do all steps that are not done, and return the tables as Markdown.

        Args:
            say: Takes a line about every step.
        """
        evaluations: dict[str, Evaluation] = {}
        for step in self.steps():
            if self._state["steps"].get(step.name, {}).get("done") and not step.name.startswith("evaluate"):
                say(f"{step.name}: done before")
                continue
            say(step.name)
            with self._timed(step.name):
                evaluation = step.run()
            if evaluation is not None:
                evaluations[step.name.removeprefix("evaluate ")] = evaluation
        tables = [self._tables(dataset, evaluations) for dataset in self.options.datasets]
        return "\n\n".join(text for text in tables if text)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Keep how long a step has taken, interrupted or not, and whether it ended."""
        known = self._state["steps"].setdefault(name, {"seconds": 0.0, "done": False})
        done, began = known["done"], time.monotonic()
        try:
            yield
            known["done"] = True
        finally:
            if not done:  # what is done already takes no time
                known["seconds"] += time.monotonic() - began
            write_text(self.root / _STATE, json.dumps(self._state, indent=1))

    def _folder(self, dataset: str) -> Path:
        return (self.options.data or self.root / "data") / dataset

    def _download(self, dataset: str) -> None:
        download(dataset, self._folder(dataset))

    def _check(self, dataset: str) -> None:
        report = check_dataset(dataset, self._folder(dataset))
        if not report.sound:
            problems = (*report.missing, *report.broken, *report.malformed)
            raise DataError(f"{dataset} has {len(problems)} problems, the first: {problems[0]}")

    def _train(self, name: str, dataset: str) -> None:
        train(self.recipe(name, dataset))

    def recipe(self, name: str, dataset: str) -> TrainingRecipe:
        """Return a recipe with the options of the experiment."""
        recipe = read_recipe(find_recipe(f"paper/{name}"), data={"root": self._folder(dataset)})
        options, features = self.options, recipe.model.features
        if options.backbone is not None:
            features = replace(features, backbone=options.backbone)
        if options.backbone_weights is not None:
            features = replace(features, weights=options.backbone_weights)
        if options.image_size is not None:
            grid = max(2, round(features.grid * options.image_size / _SIDE))
            features = replace(features, image_size=options.image_size, grid=grid)
        steps = options.steps or recipe.steps
        start = recipe.start and recipe.start.replace(_RUNS, str(self.root / "runs"), 1)
        return replace(
            recipe,
            model=replace(recipe.model, features=features),
            out=self.root / "runs" / name,
            cache=self.root / "features",
            steps=steps,
            validate_every=min(recipe.validate_every, steps),
            start=start,
            accelerator=options.accelerator,
        )

    def _evaluate(self, row: Row, dataset: str) -> Evaluation:
        name = row.recipes[-1]
        kind = self.recipe(name, dataset).model.kind
        options = Options(
            root=self._folder(dataset),
            split="test",
            weights=self.root / "runs" / name / f"{kind}.safetensors",
            limit=self.options.limit,
            decoding=row.decoding,
            device=self.options.accelerator,
        )
        comparison = compare(dataset, [kind], options, self.root / "evaluation" / name)
        comparison.write()
        return replace(comparison.evaluations[0], model=row.title)

    def _tables(self, dataset: str, evaluations: dict[str, Evaluation]) -> str:
        rows = [row for row in self.options.rows(dataset) if row.recipes[-1] in evaluations]
        if not rows:
            return ""
        scored = [evaluations[row.recipes[-1]] for row in rows]
        text = f"## {DATASETS[dataset].title}\n\n{to_markdown(_beside(rows, scored))}"
        for kind in sorted(scored[0].groups):
            text += f"\n\n{to_markdown(group_table(scored, kind))}"
        return text

    def _settings(self) -> dict[str, Any]:
        """Return the options that the results depend on, plain JSON values."""
        settings = asdict(self.options)
        for key in ("datasets", "recipes", "data"):
            del settings[key]
        return settings


def _beside(rows: list[Row], evaluations: list[Evaluation]) -> Table:
    """Return the measured figures of every row, and the paper's below."""
    cells = []
    for row, evaluation in zip(rows, evaluations, strict=True):
        cost = evaluation.cost
        measured = [f"{value:.1f}" for value in evaluation.scores.per_image.values()]
        measured += [f"{cost.total:.2f}", f"{cost.megabytes:.0f}" if cost.megabytes else "–"] if cost else ["–", "–"]
        printed = [f"{value:g}" for value in row.printed] or ["–"] * 6
        cells += [[row.title, "measured", *measured], [row.title, "paper", *printed]]
    alphas = [f"α={alpha:g}" for alpha in evaluations[0].scores.per_image]
    return Table(["method", "figures", *alphas, "s a pair", "MB"], cells, labels=2, block=2)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
