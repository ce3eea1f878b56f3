"""Starting from the weights of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semcorr.errors import DataError
from semcorr.models.configs import ADDED, BACKBONE, FINE, config_to_dict
from semcorr.training.objectives.build import Objective
from semcorr.training.objectives.dense import ConsensusModel
from semcorr.training.objectives.fine import RefineModel
from semcorr.training.objectives.joint import JointModel
from semcorr.training.recipe import TrainingRecipe
from semcorr.weights import MODELS, Weights, read_weights

_ROUNDING = 1e-3  # relative error of weights that were stored in half precision


def read_start(start: str) -> Weights:
    """Read the weights of a model of the package, by its name, or of a safetensors file.

    Raises:
        ModelError: If there is no such file, or it is broken.
    """
    return MODELS[start].load() if start in MODELS else read_weights(Path(start))


def load_start(objective: Objective, recipe: TrainingRecipe, start: str) -> None:
    """Load the weights that a recipe starts from into its objective.

    Args:
        objective: The objective.
        recipe: Its recipe.
        start: The recipe's ``start``.

    Raises:
        ModelError: If there is no such file, or it is broken.
        DataError: If the weights belong to a model of another shape, or of a backbone that was trained further than
            the recipe allows.
    """
    tensors, known = read_start(start)
    trained = any(key.startswith(BACKBONE) for key in tensors)
    if different := _difference(known.get("model", {}), config_to_dict(recipe.model), trained):
        raise DataError(f"start: the model of {start} differs from the recipe's model in {different}")
    learning: nn.Module = objective.joint if isinstance(objective, RefineModel) else objective
    before = {key: value.clone() for key, value in _frozen(learning).items()}
    if not _load(objective, learning, tensors, trained):
        raise DataError(
            f"start: the weights of {start} do not fit the recipe's model: give it the same shape (adapter, radius, "
            "hidden and fine; or kernels and channels), and frozen_blocks if they include a trained backbone"
        )
    if not all(torch.allclose(value, before[key], _ROUNDING, 1e-6) for key, value in _frozen(learning).items()):
        raise DataError(
            f"start: {start} has trained blocks of the backbone that frozen_blocks would keep untrained: choose a "
            "smaller number"
        )


def _load(objective: Objective, learning: nn.Module, tensors: dict[str, Tensor], trained: bool) -> bool:
    """Load tensors, and say whether they fit."""
    fine = {key.removeprefix(FINE): value for key, value in tensors.items() if key.startswith(FINE)}
    others = {key: value for key, value in tensors.items() if not key.startswith((FINE, *ADDED))}
    if isinstance(objective, ConsensusModel):  # files do not have the prefix
        others = {key if key.startswith(BACKBONE) else f"matcher.{key}": value for key, value in others.items()}
    try:
        missing, unknown = learning.load_state_dict(others, strict=False)
        if fine and isinstance(objective, RefineModel):
            objective.fine.load_state_dict(fine)
    except RuntimeError:  # shapes differ
        return False
    lacking = {key for key in missing if trained or not key.startswith(BACKBONE)} - {"scale"}
    return not (unknown or lacking)


def _difference(start: dict[str, Any], wanted: dict[str, Any], trained: bool) -> str | None:
    """Name the first setting that makes two models different although their weights may have the same shapes."""
    for key in ("kind", "normalised"):
        if start.get(key, "pmnc" if key == "kind" else None) != wanted.get(key):
            return key
    start_features, features = start.get("features", {}), wanted["features"]
    for key in ("backbone", "stages") if trained else ():
        if list(start_features.get(key) or ()) != list(features[key] or ()):
            return f"features.{key}"
    return None


def _frozen(objective: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the frozen part of a backbone of which the rest is trained."""
    if not isinstance(objective, JointModel | ConsensusModel) or objective.backbone is None:
        return {}
    later = tuple(f"blocks.{index}." for index in range(objective.frozen, len(objective.backbone.blocks)))
    return {key: value for key, value in objective.backbone.state_dict().items() if not key.startswith(later)}
