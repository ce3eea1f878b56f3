"""Starting from the weights of a trained model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from semcorr.errors import DataError
from semcorr.models.configs import ADDED, BACKBONE, FINE, UNTOUCHED, PMNCConfig, config_to_dict
from semcorr.training.backbone import frozen_tensors
from semcorr.training.objectives.build import Objective, backbone_of
from semcorr.training.objectives.dense import ConsensusModel
from semcorr.training.objectives.fine import RefineModel
from semcorr.training.recipe import TrainingRecipe, read_start
from semcorr.weights import expanded

_ROUNDING = 1e-3  # relative error of weights that were stored in half precision
_PARTS = {
    "fine": "fine descriptors",
    "votes": "votes",
    "calibration": "a calibrated confidence",
    "untouched": "untouched features joined with its own",
    "judge": "a judge of visibility",
}


def load_start(objective: Objective, recipe: TrainingRecipe, start: str) -> None:
    """Load the weights that a recipe starts from into its objective.

    Args:
        objective: The objective.
        recipe: Its recipe.
        start: The recipe's ``start``.

    Raises:
        ModelError: If there is no such file, or it is broken.
        DataError: If the weights belong to a model of another shape, or of a backbone that was trained further than
            the recipe allows, or have something that would be lost.
    """
    stored = read_start(start)
    tensors, known = expanded(stored.tensors), stored.metadata
    trained = any(key.startswith(BACKBONE) for key in tensors)
    model = known.get("model", {})
    if different := _difference(model, config_to_dict(recipe.model), trained):
        raise DataError(f"start: the model of {start} differs from the recipe's model in {different}")
    _refuse_losses(model, recipe, start)
    backbone = backbone_of(objective)
    before = {} if backbone is None else {key: value.clone() for key, value in frozen_tensors(backbone).items()}
    if not _load(objective, tensors, trained):
        raise DataError(
            f"start: the weights of {start} do not fit the recipe's model: give it the same shape (adapter, radius, "
            "hidden and fine; or kernels and channels), and train_from if they include a trained backbone"
        )
    after = {} if backbone is None else frozen_tensors(backbone)
    if not all(torch.allclose(value, before[key], _ROUNDING, 1e-6) for key, value in after.items()):
        raise DataError(
            f"start: {start} has trained stages of the backbone that train_from would freeze: choose a smaller number"
        )


def _refuse_losses(start: dict[str, Any], recipe: TrainingRecipe, name: str) -> None:
    """Refuse a recipe that would silently lose something that its start has."""
    model = recipe.model
    if not isinstance(model, PMNCConfig):
        return
    lost = {
        "fine": bool(start.get("fine")) and not model.fine,
        "votes": bool(start.get("votes")) and not model.votes,
        "calibration": bool(start.get("rescaling")) and not recipe.calibrate,
        "untouched": start.get("shares") is not None and model.shares is None,
        "judge": bool(start.get("judge")) and not model.judge,
    }
    for part, gone in lost.items():
        if gone and part not in recipe.drop:
            raise DataError(
                f"start: {name} has {_PARTS[part]}, which this recipe would lose: leave out model to keep all that the "
                f"start has, or say drop: [{part}]"
            )


def _load(objective: Objective, tensors: dict[str, Tensor], trained: bool) -> bool:
    """Load tensors, and say whether they fit."""
    learning: nn.Module = objective.joint if isinstance(objective, RefineModel) else objective
    fine = {key.removeprefix(FINE): value for key, value in tensors.items() if key.startswith(FINE)}
    others = {_name(key, objective): value for key, value in tensors.items() if not key.startswith((FINE, *ADDED))}
    try:
        missing, unknown = learning.load_state_dict(others, strict=False)
        if fine and isinstance(objective, RefineModel):
            objective.fine.load_state_dict(fine)
    except RuntimeError:  # shapes differ
        return False
    lacking = {key for key in missing if trained or not key.startswith(BACKBONE)} - {"scale"}
    lacking = {key for key in lacking if not key.startswith(UNTOUCHED)}  # those are of before any training
    return not (unknown or lacking)


def _name(key: str, objective: Objective) -> str:
    """Return what an objective calls a tensor of a weights file."""
    if key.startswith(BACKBONE):
        return f"{BACKBONE}network.{key.removeprefix(BACKBONE)}"
    return f"matcher.{key}" if isinstance(objective, ConsensusModel) else key


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
