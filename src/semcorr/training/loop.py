"""The training loop: steps, validation, checkpoints, and resuming."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

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
from torch import Tensor

from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.features.extractor import any_size
from semcorr.metrics.pck import ALPHAS
from semcorr.training.data import TrainingData, fingerprint, load_data
from semcorr.training.finish import finish
from semcorr.training.learner import Learner
from semcorr.training.objectives.build import backbone_of
from semcorr.training.recipe import TrainingRecipe
from semcorr.training.sampling.ahead import Read, read_ahead
from semcorr.training.sampling.bank import FeatureBank
from semcorr.training.sampling.draws import group_draws, pair_draws
from semcorr.training.validation import locate, validate
from semcorr.weights import write_weights

UnitLosses = Iterator[Callable[[], Tensor]]
"""The losses of one step, to be computed one after another: each of a pair, of a group of images, or of all groups."""


def train(recipe: TrainingRecipe, fresh: bool = False) -> Path:
    """Train a model, or resume an interrupted run of the same recipe.

    Args:
        recipe: The recipe.
        fresh: Start over, ignoring any existing checkpoint.

    Returns:
        The weights with the best validation, a safetensors file for `semcorr.load`.

    Raises:
        DataError: If photographs or pairs are missing or broken, the checkpoint belongs to another recipe or other
            annotations, the run's weights are missing, or the memory does not suffice.
        ModelError: If a backbone or the start cannot be loaded.
    """
    data = load_data(recipe)
    fabric = _devices(recipe)
    torch.manual_seed(recipe.seed)
    extractors = [FeatureExtractor(kind).to(fabric.device) for kind in (recipe.model.features, *recipe.others)]
    learner = Learner(recipe, extractors[0], fabric)
    banks = [FeatureBank(extractor, recipe.cache, backbone_of(learner.objective)) for extractor in extractors]
    progress = {"recipe": fingerprint(recipe, data), "step": 0, "best": -1.0}
    run = _Run(learner, banks, data, progress, Console(stderr=True, quiet=not fabric.is_global_zero))
    for warning in data.warnings:
        run.console.print(f"warning: {warning}", soft_wrap=True, markup=False)
    if run.checkpoint.exists() and not fresh:
        run.resume()
    try:
        with any_size(extractors[0].network, fabric.device):
            _take_steps(run)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise DataError(
            "out of memory: choose fewer pairs or pictures, a coarser grid, a later train_from, or checkpointing"
        ) from None
    if fabric.is_global_zero:
        finish(recipe, run.weights, data.validation, run.console)
    fabric.barrier()
    return run.weights


def _devices(recipe: TrainingRecipe) -> Fabric:
    """Start the processes of the devices, or join those that torchrun has started."""
    devices, nodes = recipe.devices, 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    # not its precisions, which would round positions too
    fabric = Fabric(
        accelerator=recipe.accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
    )
    fabric.launch()
    return fabric


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(
        text in str(error) for text in ("out of memory", "can't allocate memory", "not enough memory")
    )


@dataclass
class _Run:
    """A training run: what learns, from what, and how far it has come.

    Attributes:
        learner: What learns.
        banks: Compute the features; the first are those of the model.
        data: What it learns from and is validated on.
        progress: Fingerprint of the run, steps taken, and the best validation so far.
        console: Where messages go.
    """

    learner: Learner
    banks: list[FeatureBank]
    data: TrainingData
    progress: dict[str, Any]
    console: Console

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

    def validate(self, step: int, loss: float) -> None:
        """Validate, keep the weights if they are the best so far, and write a checkpoint."""
        learner, progress = self.learner, self.progress
        pck = validate(partial(locate, learner.averaged), self.banks[0], self.data.validation, learner.fabric)
        figures = " / ".join(f"{value:.1f}" for value in pck)
        alphas = "/".join(f"{alpha:g}" for alpha in ALPHAS)
        said = f"step {step}: " + ("" if math.isnan(loss) else f"loss {loss:.3f}, ")
        self.console.print(f"{said}validation PCK at {alphas}: {figures}", soft_wrap=True)
        better = learner.recipe.loss == "weak" or sum(pck) > progress["best"]
        progress |= {"step": step, "best": max(sum(pck), progress["best"])}
        if learner.fabric.is_global_zero:
            if better:
                write_weights(self.weights, learner.described(progress, pck))
            learner.save(self.checkpoint, progress)
        learner.fabric.barrier()


def _take_steps(run: _Run) -> None:
    """Take the remaining steps, validating before the first where there is a start, at intervals, and at the end."""
    learner = run.learner
    recipe, first, fabric = learner.recipe, run.progress["step"], learner.fabric
    losses = _group_losses(run, first) if recipe.joint else _pair_losses(run, first)
    if first == 0 and recipe.start is not None:
        run.validate(0, math.nan)
    with _progress_bar(run.console, fabric.is_global_zero) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=first, loss=math.nan)
        for step in range(first, recipe.steps):
            learner.set_rates(step)
            total = torch.zeros((), device=fabric.device)
            for loss_of in next(losses):
                loss = loss_of()
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
            learner.update()
            total = torch.as_tensor(fabric.all_reduce(total, reduce_op="sum"))
            bar.update(task, advance=1, loss=total.item())
            if (step + 1) % recipe.validate_every == 0 or step + 1 == recipe.steps:
                run.validate(step + 1, total.item())


def _group_losses(run: _Run, first: int) -> Iterator[UnitLosses]:
    """Yield the losses of each step, starting with ``first``: one for each group, or on a GPU one for all groups."""
    recipe, bank, fabric = run.learner.recipe, run.banks[0], run.learner.fabric
    drawn = group_draws(recipe, run.data)
    mine = range(fabric.global_rank, len(drawn.draws), fabric.world_size)
    units = [[index] for index in mine] if fabric.device.type == "cpu" else [list(mine)]
    steps = range(first, recipe.steps)
    ahead = read_ahead(drawn.draws, mine, bank.extractor, steps, recipe.workers) if recipe.workers else None

    def loss_of(step: int, read: dict[int, list[Read]] | None, unit: list[int]) -> Tensor:
        if read is None:
            groups = [[bank.picture(view) for view in drawn.draws[index](step, index)] for index in unit]
        else:
            groups = bank.pictures([read[index] for index in unit])
        rngs = [np.random.default_rng([recipe.seed, step, index, 1]) for index in unit]
        with run.learner.precision():
            return cast(Tensor, run.learner.objective(groups, [drawn.shares[index] for index in unit], rngs))

    for step in steps:
        read = None if ahead is None else next(ahead)
        yield (partial(loss_of, step, read, unit) for unit in units)


def _pair_losses(run: _Run, first: int) -> Iterator[UnitLosses]:
    """Yield the losses of each step, starting with ``first``: one for each pair."""
    recipe, draws, fabric = run.learner.recipe, pair_draws(run.learner.recipe, run.data), run.learner.fabric

    def loss_of(step: int, index: int) -> Tensor:
        kind = np.random.default_rng([recipe.seed, step, index, 1]).integers(len(run.banks))
        example = run.banks[kind].example(draws[index](step, index))
        with run.learner.precision():
            return cast(Tensor, run.learner.objective(example) / len(draws))

    for step in range(first, recipe.steps):
        yield (partial(loss_of, step, index) for index in range(fabric.global_rank, len(draws), fabric.world_size))


def _progress_bar(console: Console, visible: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress(TextColumn("{task.description}"), *columns, loss, console=console, disable=not visible)
