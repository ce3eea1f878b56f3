"""The training loop: steps, validation, checkpoints, and going on where a run stopped."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

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

from semcorr.consensus.scoring import ScoringFunction
from semcorr.data.annotation import Sizes
from semcorr.data.keypoints import load_pairs, load_photos
from semcorr.data.pairs import Pair, Photo
from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.features.adapter import Adapter
from semcorr.metrics import ALPHAS
from semcorr.training.checkpoint import load_checkpoint, save_checkpoint
from semcorr.training.proxy import ProxyModel
from semcorr.training.recipe import TrainingRecipe
from semcorr.training.sampling import Drawn, FeatureBank, KeypointSampler, WarpSampler
from semcorr.training.validation import validate
from semcorr.weights import Weights, write_weights
from semcorr.zoo import PMNCRecipe

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
    bank = FeatureBank(FeatureExtractor(recipe.model.features).to(fabric.device), recipe.cache)
    proxy = build_proxy(recipe.model, bank.extractor.channels)
    average = AveragedModel(proxy, avg_fn=partial(_average, recipe.average))
    averaged = cast(ProxyModel, average.module)
    optimizer = _optimizer(proxy, recipe)
    checkpoint, weights = recipe.out / "checkpoint.safetensors", recipe.out / "pmnc.safetensors"
    progress: dict[str, Any] = {"recipe": _fingerprint(recipe), "step": 0, "best": -1.0}
    if checkpoint.exists() and not fresh:
        progress = _go_on(checkpoint, average, proxy, optimizer, progress)
        if not weights.exists():
            raise DataError(f"{weights}, the best weights of this run so far, are gone: --fresh begins anew")
    model, optimizer = fabric.setup(proxy, optimizer)
    average = average.to(fabric.device)
    draw = _sampler(recipe, photos)
    console = Console(stderr=True)
    with _progress_bar(console, fabric.is_global_zero) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=progress["step"], loss=math.nan)
        for step in range(progress["step"], recipe.steps):
            loss = _step(fabric, model, optimizer, bank, draw, recipe, step)
            average.update_parameters(proxy)
            bar.update(task, advance=1, loss=loss)
            if (step + 1) % recipe.validate_every == 0 or step + 1 == recipe.steps:
                pck = validate(averaged, bank, pairs)
                if fabric.is_global_zero:
                    figures = " / ".join(f"{value:.1f}" for value in pck)
                    console.print(
                        f"step {step + 1}: loss {loss:.3f}, validation PCK at {_alphas()}: {figures}", soft_wrap=True
                    )
                    better = sum(pck) > progress["best"]
                    progress |= {"step": step + 1, "best": max(sum(pck), progress["best"])}
                    if better:
                        write_weights(weights, _described(averaged, recipe, progress, pck))
                    save_checkpoint(checkpoint, _states(average, proxy), optimizer, progress)
                fabric.barrier()
    return weights


def _step(
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    bank: FeatureBank,
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
        example = bank.example(draw(step, index))
        with fabric.no_backward_sync(model, enabled=index != mine[-1]):
            loss = model(example) / len(mine)
            fabric.backward(loss)
        total += loss.item()
    fabric.clip_gradients(model, optimizer, max_norm=_MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return total


def build_proxy(model: PMNCRecipe, channels: int) -> ProxyModel:
    """Build what a recipe's model learns with, untrained, for features of so many channels."""
    adapter = Adapter(channels, model.adapter) if model.adapter else None
    return ProxyModel(ScoringFunction(model.radius, model.hidden), adapter)


def _optimizer(proxy: ProxyModel, recipe: TrainingRecipe) -> torch.optim.AdamW:
    parts = [(proxy.scoring, recipe.learning_rate), (proxy.adapter, recipe.adapter_rate)]
    groups = [{"params": list(part.parameters()), "full_rate": rate} for part, rate in parts if [*part.parameters()]]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _average(decay: float, average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """Move the average towards the new weights; quickly at first, so that it forgets where training began."""
    decay = min(decay, (1 + float(count)) / (10 + float(count)))
    return average + (new - average) * (1 - decay)


def _states(average: nn.Module, proxy: nn.Module) -> nn.Module:
    return nn.ModuleDict({"average": average, "now": proxy})


def _sampler(recipe: TrainingRecipe, photos: list[Photo]) -> Callable[[int, int], Drawn]:
    """Return what draws pair ``index`` of a step: first those with keypoints, then the warps."""
    known = [photo for photo in photos if photo.category not in recipe.leave_out]
    keypoints = KeypointSampler(known, recipe.seed, recipe.views, recipe.keypoints)
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
    """Take pairs from all over the list, so that every category is there."""
    pairs = list(load_pairs(recipe.data, "val"))
    if not pairs:
        raise DataError(f"{recipe.data / 'val_pairs.json'} lists no pairs: training needs one at least to validate on")
    count = min(recipe.validation_pairs, len(pairs))
    return [pairs[index * len(pairs) // count] for index in range(count)]


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


def _go_on(
    path: Path, average: nn.Module, proxy: nn.Module, optimizer: torch.optim.Optimizer, start: dict[str, Any]
) -> dict[str, Any]:
    try:
        progress = load_checkpoint(path, _states(average, proxy), optimizer)
    except RuntimeError:
        progress = {}
    if progress.get("recipe") != start["recipe"]:
        raise DataError(
            f"{path} belongs to another recipe or other annotations: give another out folder, or --fresh to begin anew"
        )
    return progress


def _described(proxy: ProxyModel, recipe: TrainingRecipe, progress: dict[str, Any], pck: list[float]) -> Weights:
    figures = {f"validation PCK@{alpha}": round(value, 2) for alpha, value in zip(ALPHAS, pck, strict=True)}
    training = {"fingerprint": progress["recipe"], "seed": recipe.seed, "step": progress["step"], **figures}
    return Weights(dict(proxy.state_dict()), {"model": recipe.model.to_dict(), "training": training})


def _alphas() -> str:
    return "/".join(f"{alpha:g}" for alpha in ALPHAS)


def _progress_bar(console: Console, visible: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress(TextColumn("{task.description}"), *columns, loss, console=console, disable=not visible)
