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

from semcorr.data.formats.keypoints import load_pairs, load_photos
from semcorr.data.pairs import Pair, Photo, spread
from semcorr.data.records import Sizes
from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.features.fine import FineDescriptors
from semcorr.geometry import Size
from semcorr.matchers.decode import soft_argmax
from semcorr.metrics.pck import ALPHAS
from semcorr.models.configs import ADDED, BACKBONE, FINE, PMNCRecipe, recipe_to_dict
from semcorr.training.backbone import unfrozen
from semcorr.training.checkpoint import load_checkpoint, save_checkpoint
from semcorr.training.objectives.dense import ConsensusModel
from semcorr.training.objectives.fine import RefineModel
from semcorr.training.objectives.joint import JointModel
from semcorr.training.objectives.proxy import Example, ProxyModel
from semcorr.training.recipe import TrainingRecipe
from semcorr.training.sampling.sampling import (
    Drawn,
    FeatureBank,
    GroupSampler,
    KeypointSampler,
    Picture,
    PseudoLabelSampler,
    WarpSampler,
    group_of,
)
from semcorr.training.validation import validate
from semcorr.weights import MODELS, Weights, read_weights, write_weights

_MAX_NORM = 5.0  # of the gradient of a step
_WARP_POINTS = 40  # of a warp, for the loss on the features
_ROUNDING = 1e-3  # of weights that were kept in half precision, of their size


def train(recipe: TrainingRecipe, fresh: bool = False) -> Path:
    """Train a model; go on where an earlier run of the same recipe stopped.

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
    fabric = Fabric(accelerator=recipe.accelerator, devices=recipe.devices)  # its precisions round positions too
    fabric.launch()
    torch.manual_seed(recipe.seed)
    kinds = (recipe.model.features, *recipe.others)
    extractors = [FeatureExtractor(kind).to(fabric.device) for kind in kinds]
    banks = [FeatureBank(extractor, recipe.cache, blocks=recipe.frozen_blocks) for extractor in extractors]
    objective = build_objective(recipe, extractors[0])
    if recipe.start is not None:
        begin_from(objective, recipe)
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
    known = [photo for photo in photos if photo.category not in recipe.leave_out]
    find_gradients = (
        partial(_joint_step, fabric, model, banks[0], _groups(recipe, known), recipe)
        if recipe.joint
        else partial(_step, fabric, model, banks, _pairs(recipe, known), recipe)
    )
    console = Console(stderr=True)
    with _progress_bar(console, fabric.is_global_zero) as bar:
        task = bar.add_task("training", total=recipe.steps, completed=progress["step"], loss=math.nan)
        for step in range(progress["step"], recipe.steps):
            _set_rates(optimizer, recipe, step)
            loss = find_gradients(step)
            fabric.clip_gradients(model, optimizer, max_norm=_MAX_NORM)
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(objective)
            bar.update(task, advance=1, loss=loss)
            if (step + 1) % recipe.validate_every == 0 or step + 1 == recipe.steps:
                pck = validate(partial(_locate, averaged), banks[0], pairs)
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


def _set_rates(optimizer: Any, recipe: TrainingRecipe, step: int) -> None:
    rate = min(1.0, (step + 1) / recipe.warmup) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * rate


def _joint_step(
    fabric: Fabric,
    model: Any,
    bank: FeatureBank,
    draw: Callable[[int, int], tuple[Picture, ...]],
    recipe: TrainingRecipe,
    step: int,
) -> float:
    """Find the gradients of one step of a model whose features learn: groups of pictures, each device its own."""
    count = 1 + recipe.warps + recipe.pseudo
    first = fabric.global_rank * count
    groups = [[bank.pictured(picture) for picture in draw(step, first + i)] for i in range(count)]
    with _autocast(fabric, recipe):
        loss = model(groups, np.random.default_rng([recipe.seed, step, first, 1]))
    fabric.backward(loss)
    return float(loss.item())


def _step(
    fabric: Fabric,
    model: Any,
    banks: list[FeatureBank],
    draw: Callable[[int, int], Drawn],
    recipe: TrainingRecipe,
    step: int,
) -> float:
    """Find the gradients of one step: the mean loss of its pairs, one after the other, shared among the devices."""
    mine = range(fabric.global_rank, recipe.pairs + recipe.warps, fabric.world_size)
    total = 0.0
    for index in mine:
        kind = np.random.default_rng([recipe.seed, step, index, 1]).integers(len(banks))
        example = banks[kind].example(draw(step, index))
        with fabric.no_backward_sync(model, enabled=index != mine[-1]):
            with _autocast(fabric, recipe):
                loss = model(example) / len(mine)
            fabric.backward(loss)
        total += loss.item()
    return total


def _autocast(fabric: Fabric, recipe: TrainingRecipe) -> torch.autocast:
    return torch.autocast(fabric.device.type, torch.bfloat16, enabled=recipe.precision == "bf16-mixed")


Objective: TypeAlias = ProxyModel | JointModel | ConsensusModel | RefineModel


def _locate(objective: Objective, example: Example) -> Tensor:
    if isinstance(objective, RefineModel):
        return objective.locate(example)
    return soft_argmax(objective.score_points(example))[0]


def build_objective(recipe: TrainingRecipe, extractor: FeatureExtractor) -> Objective:
    """Build what a recipe's model learns with, untrained but for the backbone."""
    if not isinstance(recipe.model, PMNCRecipe):
        frozen = recipe.frozen_blocks
        backbone = None if frozen is None else unfrozen(extractor, frozen)
        return ConsensusModel(recipe.model.build(), recipe.loss, backbone, frozen or 0)
    scoring, adapter = recipe.model.build().scoring, recipe.model.build_adapter(extractor.channels)
    if adapter is None:
        return ProxyModel(scoring, recipe.model.votes)
    joint = JointModel(
        scoring,
        adapter,
        extractor,
        recipe.frozen_blocks,
        recipe.contrast,
        recipe.keypoints,
        recipe.pairs,
        recipe.model.votes,
    )
    if not recipe.model.fine:
        return joint
    return RefineModel(joint, FineDescriptors(extractor.early_channels, extractor.channels, recipe.model.fine))


def begin_from(objective: Objective, recipe: TrainingRecipe) -> None:
    """Put in the weights that a recipe starts from.

    Args:
        objective: What learns.
        recipe: Its recipe, which has a ``start``.

    Raises:
        ModelError: If there is no such file, or it is broken.
        DataError: If the weights are of a model of another shape.
    """
    start = recipe.start
    assert start is not None
    tensors, known = MODELS[start].load() if start in MODELS else read_weights(Path(start))
    trained = any(key.startswith(BACKBONE) for key in tensors)
    if odd := _unlike(known.get("model", {}), recipe_to_dict(recipe.model), trained):
        raise DataError(f"start: {start} is of a model whose {odd} is not that of the recipe's model")
    learning: nn.Module = objective.joint if isinstance(objective, RefineModel) else objective
    fine = {key.removeprefix(FINE): value for key, value in tensors.items() if key.startswith(FINE)}
    tensors = {key: value for key, value in tensors.items() if not key.startswith((FINE, *ADDED))}
    if isinstance(objective, ConsensusModel):  # whose files name the matcher's tensors without it
        tensors = {key if key.startswith(BACKBONE) else f"matcher.{key}": value for key, value in tensors.items()}
    before = {key: value.clone() for key, value in _frozen(learning).items()}
    try:
        missing, unknown = learning.load_state_dict(tensors, strict=False)
        if fine and isinstance(objective, RefineModel):
            objective.fine.load_state_dict(fine)
    except RuntimeError:
        missing, unknown = ["of another shape"], []
    lacking = {key for key in missing if trained or not key.startswith(BACKBONE)} - {"scale"}
    if unknown or lacking:
        raise DataError(
            f"start: the weights of {start} do not fit the recipe's model: give it the same shape (adapter, radius, "
            "hidden and fine; or kernels and channels), and frozen_blocks if they have a trained backbone"
        )
    if not all(torch.allclose(value, before[key], _ROUNDING, 1e-6) for key, value in _frozen(learning).items()):
        raise DataError(
            f"start: {start} has trained blocks of the backbone that frozen_blocks keeps as they were: give a smaller "
            "number"
        )


def _unlike(start: dict[str, Any], wanted: dict[str, Any], trained: bool) -> str | None:
    """Name what sets two models apart though their weights may have the same shapes."""
    for key in ("kind", "normalised"):
        if start.get(key, "pmnc" if key == "kind" else None) != wanted.get(key):
            return key
    theirs, ours = start.get("features", {}), wanted["features"]
    for key in ("backbone", "stages") if trained else ():
        if list(theirs.get(key) or ()) != list(ours[key] or ()):
            return key
    return None


def _frozen(objective: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a trained backbone's frozen part."""
    if not isinstance(objective, JointModel | ConsensusModel) or objective.backbone is None or objective.frozen is None:
        return {}
    later = tuple(f"blocks.{index}." for index in range(objective.frozen, len(objective.backbone.blocks)))
    return {key: value for key, value in objective.backbone.state_dict().items() if not key.startswith(later)}


def _optimizer(objective: Objective, recipe: TrainingRecipe) -> torch.optim.AdamW:
    rates = {"adapter": recipe.adapter_rate, "scale": recipe.adapter_rate, "backbone": recipe.backbone_rate}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rates.get(name.split(".")[0], recipe.learning_rate), []).append(parameter)
    listed = [{"params": parameters, "full_rate": rate} for rate, parameters in groups.items()]
    return torch.optim.AdamW(listed, weight_decay=recipe.weight_decay)


def _average(decay: float, average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """Move the average towards the new weights; quickly at first, so that it forgets where training began."""
    decay = min(decay, (1 + float(count)) / (10 + float(count)))
    return average + (new - average) * (1 - decay)


def _states(average: nn.Module, objective: nn.Module) -> nn.Module:
    return nn.ModuleDict({"average": average, "now": objective})


def _pairs(recipe: TrainingRecipe, photos: list[Photo]) -> Callable[[int, int], Drawn]:
    """Return what draws pair ``index`` of a step: first those with keypoints, then the warps."""
    keypoints = KeypointSampler(photos, recipe.seed, recipe.views, 0 if recipe.loss == "weak" else recipe.keypoints)
    if recipe.loss == "weak":
        return lambda step, index: replace(
            keypoints.draw(step, index), negative=keypoints.draw(step, (index + 1) % recipe.pairs).source
        )
    if not recipe.warps:
        return keypoints.draw
    warps = WarpSampler(_photographs(recipe), recipe.seed, recipe.warp_views, recipe.keypoints)
    return lambda step, index: (keypoints if index < recipe.pairs else warps).draw(step, index)


def _groups(recipe: TrainingRecipe, photos: list[Photo]) -> Callable[[int, int], tuple[Picture, ...]]:
    """Return what draws group ``index`` of a step: pictures with keypoints, then warps, pseudo-labels, and so on."""
    keypoints = GroupSampler(photos, recipe.seed, recipe.views, recipe.pictures, recipe.together)
    files = _photographs(recipe) if recipe.warps or recipe.pseudo else []
    drawn: list[Callable[[int, int], Drawn]] = []
    if recipe.warps:
        drawn += [WarpSampler(files, recipe.seed, recipe.warp_views, _WARP_POINTS).draw] * recipe.warps
    if recipe.pseudo_labels is not None:
        drawn += [PseudoLabelSampler(recipe.pseudo_labels, files, recipe.seed, recipe.warp_views).draw] * recipe.pseudo
    count = 1 + len(drawn)

    def draw(step: int, index: int) -> tuple[Picture, ...]:
        if index % count == 0:
            return keypoints.draw(step, index)
        return group_of(drawn[index % count - 1](step, index))

    return draw


def _photographs(recipe: TrainingRecipe) -> list[tuple[Path, Size]]:
    assert recipe.photographs is not None
    sizes = Sizes()
    files = [(path, sizes(path, str(path))) for path in sorted(recipe.photographs.glob("*/*.jpg"))]
    if not files:
        raise DataError(f"{recipe.photographs} holds no photographs category/*.jpg: warps and pseudo-labels need some")
    return files


def _validation_pairs(recipe: TrainingRecipe) -> list[Pair]:
    pairs = [pair for pair in load_pairs(recipe.data, "val") if pair.source.category not in recipe.leave_out]
    if not pairs:
        raise DataError(
            f"{recipe.data / 'val_pairs.json'} lists no pairs of what is trained on: training needs one to validate on"
        )
    return spread(pairs, recipe.validation_pairs)


def _fingerprint(recipe: TrainingRecipe) -> str:
    """Name everything that the result depends on: the recipe, and the annotations that it is trained and judged on.

    Where they lie is left out, and how many devices share the work: each takes as many pairs of a step.
    """
    values = RootModel[TrainingRecipe](recipe).model_dump(mode="json")
    for key in ("data", "out", "photographs", "cache", "accelerator", "devices"):
        del values[key]
    if recipe.start in MODELS:
        values["start"] = MODELS[recipe.start].sha256
    for key in ("start", "pseudo_labels"):
        if values[key] is not None and Path(values[key]).is_file():
            values[key] = hashlib.sha256(Path(values[key]).read_bytes()).hexdigest()
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
    if recipe.joint:
        training |= {"pictures": step * recipe.pictures}
    training |= {"loss": recipe.loss, **figures}
    return Weights(objective.learned(), {"model": recipe_to_dict(recipe.model), "training": training})


def _alphas() -> str:
    return "/".join(f"{alpha:g}" for alpha in ALPHAS)


def _progress_bar(console: Console, visible: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress(TextColumn("{task.description}"), *columns, loss, console=console, disable=not visible)
