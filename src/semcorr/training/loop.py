"""The training loop: steps, validation, checkpoints, and going on where a run stopped."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

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
from torch import nn

from semcorr.data.keypoints import load_pairs, load_photos
from semcorr.data.pairs import Pair
from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.matchers.pmnc import PMNC
from semcorr.metrics import ALPHAS
from semcorr.recipes import LearnedMatcher, learned_part, recipe_to_dict
from semcorr.training.checkpoint import load_checkpoint, save_checkpoint
from semcorr.training.consensus import ConsensusModel
from semcorr.training.proxy import ProxyModel
from semcorr.training.recipe import TrainingRecipe
from semcorr.training.sampling import FeatureBank, Sampler
from semcorr.training.validation import validate
from semcorr.weights import Weights, write_weights


def train(recipe: TrainingRecipe, fresh: bool = False) -> Path:
    """Train a model on frozen features; go on where an earlier run of the same recipe stopped.

    Args:
        recipe: The recipe.
        fresh: Begin anew though there is a checkpoint.

    Returns:
        The weights with the best validation, a safetensors file that `semcorr.load` takes.

    Raises:
        DataError: If photographs or pairs are missing or broken, or the checkpoint is of another recipe.
    """
    fabric = Fabric(accelerator=recipe.accelerator, devices=recipe.devices)
    fabric.launch()
    torch.manual_seed(recipe.seed)
    matcher = recipe.model.build()
    objective = ProxyModel(matcher.scoring) if isinstance(matcher, PMNC) else ConsensusModel(matcher, recipe.loss)
    optimizer = torch.optim.AdamW(objective.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    checkpoint, weights = recipe.out / "checkpoint.safetensors", recipe.out / f"{recipe.model.kind}.safetensors"
    progress: dict[str, Any] = {"recipe": _fingerprint(recipe), "step": 0, "best": -1.0}
    if checkpoint.exists() and not fresh:
        progress = _go_on(checkpoint, objective, optimizer, progress)
    model, optimizer = fabric.setup(objective, optimizer)

    bank = FeatureBank(FeatureExtractor(recipe.model.features).to(fabric.device))
    keypoints = 0 if recipe.loss == "weak" else recipe.keypoints
    sampler = Sampler(load_photos(recipe.data, "train"), recipe.seed, recipe.flip, keypoints)
    pairs = _validation_pairs(recipe)
    console = Console(stderr=True)
    with _progress_bar(console, fabric.is_global_zero) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=progress["step"], loss=math.nan)
        for step in range(progress["step"], recipe.steps):
            loss = _step(fabric, model, optimizer, bank, sampler, recipe, step)
            bar.update(task, advance=1, loss=loss)
            if (step + 1) % recipe.validate_every == 0 or step + 1 == recipe.steps:
                pck = validate(objective.score_points, bank, pairs)
                if fabric.is_global_zero:
                    figures = " / ".join(f"{value:.1f}" for value in pck)
                    console.print(
                        f"step {step + 1}: loss {loss:.3f}, validation PCK at {_alphas()}: {figures}", soft_wrap=True
                    )
                    better = recipe.loss == "weak" or sum(pck) > progress["best"]
                    progress |= {"step": step + 1, "best": max(sum(pck), progress["best"])}
                    if better:
                        write_weights(weights, _described(matcher, recipe, step + 1, pck))
                    save_checkpoint(checkpoint, objective, optimizer, progress)
                fabric.barrier()
    return weights


def _step(
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    bank: FeatureBank,
    sampler: Sampler,
    recipe: TrainingRecipe,
    step: int,
) -> float:
    """Take one step: the mean loss of its pairs, one after the other, shared among the devices."""
    rate = min(1.0, (step + 1) / recipe.warmup) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * rate
    mine = range(fabric.global_rank, recipe.pairs, fabric.world_size)
    total = 0.0
    for index in mine:
        negative = sampler.draw(step, (index + 1) % recipe.pairs)[0] if recipe.loss == "weak" else None
        example = bank.example(*sampler.draw(step, index), negative)
        with fabric.no_backward_sync(model, enabled=index != mine[-1]):
            loss = model(example) / len(mine)
            fabric.backward(loss)
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return total


def _validation_pairs(recipe: TrainingRecipe) -> list[Pair]:
    """Take pairs from all over the list, so that every category is there."""
    pairs = list(load_pairs(recipe.data, "val"))
    count = min(recipe.validation_pairs, len(pairs))
    return [pairs[index * len(pairs) // count] for index in range(count)]


def _fingerprint(recipe: TrainingRecipe) -> str:
    """Name everything in the recipe that the result depends on; folders and devices are left out."""
    values = RootModel[TrainingRecipe](recipe).model_dump(mode="json")
    for key in ("data", "out", "accelerator", "devices"):
        del values[key]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _go_on(path: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, start: dict[str, Any]) -> dict[str, Any]:
    try:
        progress = load_checkpoint(path, objective, optimizer)
    except RuntimeError:
        progress = {}
    if progress.get("recipe") != start["recipe"]:
        raise DataError(f"{path} belongs to another recipe: give another out folder, or --fresh to begin anew")
    return progress


def _described(matcher: LearnedMatcher, recipe: TrainingRecipe, step: int, pck: list[float]) -> Weights:
    figures = {f"validation PCK@{alpha}": round(value, 2) for alpha, value in zip(ALPHAS, pck, strict=True)}
    training = {"fingerprint": _fingerprint(recipe), "seed": recipe.seed, "step": step, "pairs": step * recipe.pairs}
    training |= {"loss": recipe.loss, **figures}
    return Weights(learned_part(matcher).state_dict(), {"model": recipe_to_dict(recipe.model), "training": training})


def _alphas() -> str:
    return "/".join(f"{alpha:g}" for alpha in ALPHAS)


def _progress_bar(console: Console, visible: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress(TextColumn("{task.description}"), *columns, loss, console=console, disable=not visible)
