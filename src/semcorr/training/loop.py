"""The training loop: steps, validation, checkpoints, and going on where a run stopped."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import RootModel
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from semcorr.data.annotation import Sizes
from semcorr.data.keypoints import load_pairs, load_photos
from semcorr.data.pairs import Pair, Photo, spread
from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.metrics import ALPHAS
from semcorr.recipes import PMNCRecipe, recipe_to_dict
from semcorr.training.checkpoint import load_checkpoint, save_checkpoint
from semcorr.training.consensus import ConsensusModel
from semcorr.training.proxy import ProxyModel
from semcorr.training.recipe import TrainingRecipe
from semcorr.training.sampling import Drawn, FeatureBank, KeypointSampler, WarpSampler
from semcorr.training.validation import validate
from semcorr.weights import Weights, write_weights

_MAX_NORM = 5.0  # of the gradient of a step


def train(recipe: TrainingRecipe, fresh: bool = False) -> Path:
    """Train a model on the features of a frozen backbone; go on where an earlier run of the same recipe stopped.

    Args:
        recipe: The recipe.
        fresh: Begin anew though there is a checkpoint.

    Returns:
        The weights with the best validation, a safetensors file that `semcorr.load` takes.

    Raises:
        DataError: If photographs or pairs are missing or broken, the checkpoint is of another recipe or other
            annotations, or the weights of the run are gone.
    """
    photos, pairs = load_photos(recipe.data, "train"), _validation_pairs(recipe)
    fabric = Fabric(accelerator=recipe.accelerator, devices=recipe.devices, precision=recipe.precision)
    fabric.launch()
    torch.manual_seed(recipe.seed)
    kinds = (recipe.model.features, *recipe.others)
    banks = [FeatureBank(FeatureExtractor(kind).to(fabric.device), recipe.cache) for kind in kinds]
    objective = build_objective(recipe, banks[0].extractor.channels)
    average = AveragedModel(objective, avg_fn=partial(_average, recipe.average))
    averaged = cast(Objective, average.module)
    optimizer = _optimizer(objective, recipe)
    checkpoint, weights = recipe.out / "checkpoint.safetensors", recipe.out / f"{recipe.model.kind}.safetensors"
    progress: dict[str, Any] = {"recipe": _fingerprint(recipe), "step": 0, "best": -1.0}
    if checkpoint.exists() and not fresh:
        progress = _go_on(checkpoint, _states(average, objective), optimizer, progress)
        if not weights.exists():
            raise DataError(f"{weights}, the best weights of this run so far, are gone: --fresh begins anew")
    model, optimizer = fabric.setup(objective, optimizer)
    average = average.to(fabric.device)
    draw = _sampler(recipe, photos)
    console = Console(stderr=True)
    with _progress_bar(console, fabric.is_global_zero) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=progress["step"], loss=math.nan)
        for step in range(progress["step"], recipe.steps):
            loss = _step(fabric, model, optimizer, banks, draw, recipe, step)
            average.update_parameters(objective)
            bar.update(task, advance=1, loss=loss)
            if (step + 1) % recipe.validate_every == 0 or step + 1 == recipe.steps:
                pck = validate(averaged.score_points, banks[0], pairs)
                if fabric.is_global_zero:
                    figures = " / ".join(f"{value:.1f}" for value in pck)
                    console.print(
                        f"step {step + 1}: loss {loss:.3f}, validation PCK at {_alphas()}: {figures}", soft_wrap=True
                    )
                    better = recipe.loss == "weak" or sum(pck) > progress["best"]
                    progress |= {"step": step + 1, "best": max(sum(pck), progress["best"])}
                    if better:
                        write_weights(weights, _described(averaged, recipe, progress, pck))
                    save_checkpoint(checkpoint, _states(average, objective), optimizer, progress)
                fabric.barrier()
    return weights


def _step(
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    banks: list[FeatureBank],
    draw: Callable[[int, int], Drawn],
    recipe: TrainingRecipe,
    step: int,
) -> float:
    """Take one step: the mean loss of its pairs, one after the other, shared among the devices."""
    rate = min(1.0, (step + 1) / recipe.warmup) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * rate
    mine = range(fabric.global_rank, recipe.pairs + recipe.warps, fabric.world_size)
    total = 0.0
    for index in mine:
        kind = np.random.default_rng([recipe.seed, step, index, 1]).integers(len(banks))
        example = banks[kind].example(draw(step, index))
        with fabric.no_backward_sync(model, enabled=index != mine[-1]):
            loss = model(example) / len(mine)
            fabric.backward(loss)
        total += loss.item()
    fabric.clip_gradients(model, optimizer, max_norm=_MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return total


Objective: TypeAlias = ProxyModel | ConsensusModel


def build_objective(recipe: TrainingRecipe, channels: int) -> Objective:
    """Build what a recipe's model learns with, untrained, for features of so many channels."""
    if isinstance(recipe.model, PMNCRecipe):
        return ProxyModel(recipe.model.build().scoring, recipe.model.build_adapter(channels))
    return ConsensusModel(recipe.model.build(), recipe.loss)


def _optimizer(objective: Objective, recipe: TrainingRecipe) -> torch.optim.AdamW:
    slow = {name for name, _ in objective.named_parameters() if name.startswith("adapter.")}
    rates = {True: recipe.adapter_rate, False: recipe.learning_rate}
    parts = {group: [p for n, p in objective.named_parameters() if (n in slow) == group] for group in rates}
    groups = [{"params": parts[group], "full_rate": rate} for group, rate in rates.items() if parts[group]]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _average(decay: float, average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """Move the average towards the new weights; quickly at first, so that it forgets where training began."""
    decay = min(decay, (1 + float(count)) / (10 + float(count)))
    return average + (new - average) * (1 - decay)


def _states(average: nn.Module, objective: nn.Module) -> nn.Module:
    return nn.ModuleDict({"average": average, "now": objective})


def _sampler(recipe: TrainingRecipe, photos: list[Photo]) -> Callable[[int, int], Drawn]:
    """Return what draws pair ``index`` of a step: first those with keypoints, then the warps."""
    known = [photo for photo in photos if photo.category not in recipe.leave_out]
    keypoints = KeypointSampler(known, recipe.seed, recipe.views, 0 if recipe.loss == "weak" else recipe.keypoints)
    if recipe.loss == "weak":
        return lambda step, index: replace(
            keypoints.draw(step, index), negative=keypoints.draw(step, (index + 1) % recipe.pairs).source
        )
    if not recipe.warps:
        return keypoints.draw
    assert recipe.photographs is not None
    sizes = Sizes()
    files = [(path, sizes(path, str(path))) for path in sorted(recipe.photographs.glob("*/*.jpg"))]
    if not files:
        raise DataError(f"{recipe.photographs} holds no photographs category/*.jpg: the warps need some")
    warps = WarpSampler(files, recipe.seed, recipe.warp_views, recipe.keypoints)
    return lambda step, index: (keypoints if index < recipe.pairs else warps).draw(step, index)


def _validation_pairs(recipe: TrainingRecipe) -> list[Pair]:
    pairs = list(load_pairs(recipe.data, "val"))
    if not pairs:
        raise DataError(f"{recipe.data / 'val_pairs.json'} lists no pairs: training needs one at least to validate on")
    return spread(pairs, recipe.validation_pairs)


def _fingerprint(recipe: TrainingRecipe) -> str:
    """Name everything that the result depends on: the recipe, and the annotations that it is trained and judged on.

    Where they lie is left out, and how many devices share the work: each takes as many pairs of a step.
    """
    values = RootModel[TrainingRecipe](recipe).model_dump(mode="json")
    for key in ("data", "out", "photographs", "cache", "accelerator", "devices"):
        del values[key]
    for name in ("train.json", "val.json", "val_pairs.json"):
        values[name] = hashlib.sha256((recipe.data / name).read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _go_on(path: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, start: dict[str, Any]) -> dict[str, Any]:
    try:
        progress = load_checkpoint(path, objective, optimizer)
    except RuntimeError:
        progress = {}
    if progress.get("recipe") != start["recipe"]:
        raise DataError(
            f"{path} belongs to another recipe or other annotations: give another out folder, or --fresh to begin anew"
        )
    return progress


def _described(objective: Objective, recipe: TrainingRecipe, progress: dict[str, Any], pck: list[float]) -> Weights:
    figures = {f"validation PCK@{alpha}": round(value, 2) for alpha, value in zip(ALPHAS, pck, strict=True)}
    step = progress["step"]
    training = {"fingerprint": progress["recipe"], "seed": recipe.seed, "step": step, "pairs": step * recipe.pairs}
    training |= {"loss": recipe.loss, **figures}
    return Weights(objective.learned(), {"model": recipe_to_dict(recipe.model), "training": training})


def _alphas() -> str:
    return "/".join(f"{alpha:g}" for alpha in ALPHAS)


def _progress_bar(console: Console, visible: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress(TextColumn("{task.description}"), *columns, loss, console=console, disable=not visible)
