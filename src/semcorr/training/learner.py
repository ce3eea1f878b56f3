"""The learner: what a recipe trains, its moving average, its optimiser, and their state on disk."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector
from torch.optim.swa_utils import AveragedModel

from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.metrics.pck import ALPHAS
from semcorr.models.configs import ADDED, config_to_dict
from semcorr.training.checkpoint import load_checkpoint, save_checkpoint
from semcorr.training.objectives.build import Objective, build_objective, read_filtered_only
from semcorr.training.objectives.start import load_start
from semcorr.training.recipe import TrainingRecipe, read_start
from semcorr.weights import Weights

MAX_NORM = 5.0
"""Gradients of a step are clipped to this norm."""


class Learner:
    """The objective of a recipe, the moving average of its weights, and its optimiser.

    Args:
        recipe: The recipe.
        extractor: The backbone.
        fabric: The devices.

    Attributes:
        objective: What learns.
        averaged: The objective with averaged weights, which is validated and kept.
    """

    def __init__(self, recipe: TrainingRecipe, extractor: FeatureExtractor, fabric: Fabric) -> None:
        self.recipe, self.fabric = recipe, fabric
        self.objective = build_objective(recipe, extractor)
        if recipe.start is not None:
            load_start(self.objective, recipe, recipe.start)
        if recipe.filtered_only:
            read_filtered_only(self.objective)
        self.objective.to(fabric.device)
        self._average = AveragedModel(self.objective, avg_fn=partial(_average, recipe.average))
        self.averaged = cast(Objective, self._average.module)
        self.optimizer: Any = _optimizer(self.objective, recipe)

    def resume(self, path: Path, fingerprint: str) -> dict[str, Any]:
        """Load a checkpoint and return its progress.

        Raises:
            DataError: If it belongs to a run with another fingerprint.
            ModelError: If the file is broken.
        """
        try:
            progress = load_checkpoint(path, self._states(), self.optimizer)
        except RuntimeError:
            progress = {}
        if progress.get("recipe") != fingerprint:
            raise DataError(
                f"{path} belongs to another recipe or other annotations: choose another output folder, or start over "
                "with --fresh"
            )
        return progress

    def save(self, path: Path, progress: dict[str, Any]) -> None:
        """Write a checkpoint."""
        save_checkpoint(path, self._states(), self.optimizer, progress)

    def update(self) -> None:
        """Take an optimiser step with the gradients that have been accumulated, and update the average.

        The gradients of several devices are summed.
        """
        learning = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if self.fabric.world_size > 1:
            gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in learning]
            summed = torch.as_tensor(self.fabric.all_reduce(parameters_to_vector(gradients), reduce_op="sum"))
            for parameter, part in zip(learning, torch.split(summed, [p.numel() for p in learning]), strict=True):
                parameter.grad = part.view_as(parameter)
        nn.utils.clip_grad_norm_(learning, MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.recipe.filtered_only:
            read_filtered_only(self.objective)
        self._average.update_parameters(self.objective)

    def precision(self) -> AbstractContextManager[None]:
        """Return the context that gives the objective the precision of the recipe."""
        mixed = self.recipe.precision == "bf16-mixed"
        return torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=mixed)

    def set_rates(self, step: int) -> None:
        """Set the learning rates of a step: linear warm-up, then a cosine to zero."""
        recipe = self.recipe
        factor = min(1.0, (step + 1) / recipe.warmup) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_rate"] * factor

    def described(self, progress: dict[str, Any], pck: list[float]) -> Weights:
        """Return the averaged weights with a description of how they were trained."""
        recipe, step = self.recipe, progress["step"]
        figures = {f"validation PCK@{alpha}": round(value, 2) for alpha, value in zip(ALPHAS, pck, strict=True)}
        training = {"fingerprint": progress["recipe"], "seed": recipe.seed, "step": step, "pairs": step * recipe.pairs}
        if recipe.start is not None:
            training |= {"start": recipe.start}
        training |= {"loss": recipe.loss, **figures}
        model = config_to_dict(recipe.model)
        if "rescaling" in model:  # it belongs to the confidence of other weights
            model |= {"rescaling": None}
        kept = {}  # what the start has beside what is trained: untouched features, the judge of matches
        if recipe.start is not None and (model.get("shares") or model.get("judge")):
            tensors = read_start(recipe.start).tensors
            kept = {key: value for key, value in tensors.items() if key.startswith(ADDED)}
        return Weights(self.averaged.learned() | kept, {"model": model, "training": training})

    def _states(self) -> nn.Module:
        return nn.ModuleDict({"average": self._average, "now": self.objective})


def _optimizer(objective: Objective, recipe: TrainingRecipe) -> torch.optim.AdamW:
    rates = {"adapter": recipe.adapter_rate, "scale": recipe.adapter_rate, "backbone": recipe.backbone_rate}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rates.get(name.split(".")[0], recipe.learning_rate), []).append(parameter)
    listed = [{"params": parameters, "full_rate": rate} for rate, parameters in groups.items()]
    return torch.optim.AdamW(listed, weight_decay=recipe.weight_decay)


def _average(decay: float, average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    """Move the average towards the new weights; faster during the first steps, to forget the initial weights."""
    decay = min(decay, (1 + float(count)) / (10 + float(count)))
    return average + (new - average) * (1 - decay)
