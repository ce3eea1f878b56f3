"""The training loop: steps, validation, checkpoints, and resuming."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from semcorr.data.pairs import Pair
from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.metrics.pck import ALPHAS
from semcorr.training.data import fingerprint, load_data
from semcorr.training.learner import Learner
from semcorr.training.recipe import TrainingRecipe
from semcorr.training.sampling.bank import FeatureBank
from semcorr.training.sampling.draws import DrawGroup, DrawPair, group_draws, pair_draws
from semcorr.training.validation import locate, validate
from semcorr.weights import write_weights

Gradients = Callable[[int], float]
"""Accumulate the gradients of a step, and return its loss."""


def train(recipe: TrainingRecipe, fresh: bool = False) -> Path:
    """Train a model, or resume an interrupted run of the same recipe.

    Args:
        recipe: The recipe.
        fresh: Start over, ignoring any existing checkpoint.

    Returns:
        The weights with the best validation, a safetensors file for `semcorr.load`.

    Raises:
        DataError: If photographs or pairs are missing or broken, the checkpoint belongs to another recipe or other
            annotations, or the run's weights are missing.
    """
    data = load_data(recipe)
    fabric = Fabric(accelerator=recipe.accelerator, devices=recipe.devices)  # its precisions would round positions too
    fabric.launch()
    torch.manual_seed(recipe.seed)
    kinds = (recipe.model.features, *recipe.others)
    extractors = [FeatureExtractor(kind).to(fabric.device) for kind in kinds]
    banks = [FeatureBank(extractor, recipe.cache, blocks=recipe.frozen_blocks) for extractor in extractors]
    learner = Learner(recipe, extractors[0], fabric)
    run = _Run(learner, banks[0], data.validation, {"recipe": fingerprint(recipe), "step": 0, "best": -1.0})
    if run.checkpoint.exists() and not fresh:
        run.resume()
    learner.to_devices()
    gradients: Gradients = (
        partial(_group_gradients, learner, banks[0], group_draws(recipe, data.photos))
        if recipe.joint
        else partial(_pair_gradients, learner, banks, pair_draws(recipe, data.photos))
    )
    _take_steps(run, gradients)
    return run.weights


@dataclass
class _Run:
    """A training run: what learns, what it is validated on, and how far it has come.

    Attributes:
        learner: What learns.
        bank: Computes the features for validation.
        validation: The pairs to validate on.
        progress: Fingerprint of the run, steps taken, and the best validation so far.
    """

    learner: Learner
    bank: FeatureBank
    validation: list[Pair]
    progress: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        return self.learner.recipe.out / "checkpoint.safetensors"

    @property
    def weights(self) -> Path:
        return self.learner.recipe.out / f"{self.learner.recipe.model.kind}.safetensors"

    def resume(self) -> None:
        """Load the checkpoint."""
        self.progress = self.learner.resume(self.checkpoint, self.progress["recipe"])
        if not self.weights.exists():
            raise DataError(f"{self.weights}, the best weights of this run so far, is missing: start over with --fresh")

    def validate(self, step: int, loss: float, console: Console) -> None:
        """Validate, keep the weights if they are the best so far, and write a checkpoint."""
        learner, progress = self.learner, self.progress
        pck = validate(partial(locate, learner.averaged), self.bank, self.validation)
        if learner.fabric.is_global_zero:
            figures = " / ".join(f"{value:.1f}" for value in pck)
            alphas = "/".join(f"{alpha:g}" for alpha in ALPHAS)
            console.print(f"step {step}: loss {loss:.3f}, validation PCK at {alphas}: {figures}", soft_wrap=True)
            better = learner.recipe.loss == "weak" or sum(pck) > progress["best"]
            progress |= {"step": step, "best": max(sum(pck), progress["best"])}
            if better:
                write_weights(self.weights, learner.described(progress, pck))
            learner.save(self.checkpoint, progress)
        learner.fabric.barrier()


def _take_steps(run: _Run, gradients: Gradients) -> None:
    """Take the remaining steps, validating at intervals and after the last one."""
    learner, console = run.learner, Console(stderr=True)
    recipe, first = learner.recipe, run.progress["step"]
    with _progress_bar(console, learner.fabric.is_global_zero) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=first, loss=math.nan)
        for step in range(first, recipe.steps):
            learner.set_rates(step)
            loss = gradients(step)
            learner.update()
            bar.update(task, advance=1, loss=loss)
            if (step + 1) % recipe.validate_every == 0 or step + 1 == recipe.steps:
                run.validate(step + 1, loss, console)


def _group_gradients(learner: Learner, bank: FeatureBank, draw: DrawGroup, step: int) -> float:
    """Accumulate the gradients of a step of groups of pictures; every device has groups of its own."""
    recipe, fabric = learner.recipe, learner.fabric
    count = 1 + recipe.warps + recipe.pseudo
    first = fabric.global_rank * count
    groups = [[bank.picture(seen) for seen in draw(step, first + i)] for i in range(count)]
    with _autocast(learner):
        loss = learner.model(groups, np.random.default_rng([recipe.seed, step, first, 1]))
    fabric.backward(loss)
    return float(loss.item())


def _pair_gradients(learner: Learner, banks: list[FeatureBank], draw: DrawPair, step: int) -> float:
    """Accumulate the gradients of a step of pairs, one after the other; the devices share the pairs."""
    recipe, fabric, model = learner.recipe, learner.fabric, learner.model
    own = range(fabric.global_rank, recipe.pairs + recipe.warps, fabric.world_size)
    total = 0.0
    for index in own:
        kind = np.random.default_rng([recipe.seed, step, index, 1]).integers(len(banks))
        example = banks[kind].example(draw(step, index))
        with fabric.no_backward_sync(model, enabled=index != own[-1]):
            with _autocast(learner):
                loss = model(example) / len(own)
            fabric.backward(loss)
        total += loss.item()
    return total


def _autocast(learner: Learner) -> torch.autocast:
    mixed = learner.recipe.precision == "bf16-mixed"
    return torch.autocast(learner.fabric.device.type, torch.bfloat16, enabled=mixed)


def _progress_bar(console: Console, visible: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress(TextColumn("{task.description}"), *columns, loss, console=console, disable=not visible)
