"""Named models: how each is put together, and the weights that belong to it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semcorr.consensus.scoring import ScoringFunction
from semcorr.errors import ModelError, did_you_mean
from semcorr.features import FeatureExtractor, FeatureOptions
from semcorr.features.adapter import Adapter
from semcorr.matchers import ScoreCells
from semcorr.matchers.nearest import nearest
from semcorr.matchers.pmnc import PMNC
from semcorr.model import Matcher
from semcorr.patchmatch import SearchOptions
from semcorr.weights import MODELS, Weights, read_weights

MODEL_NAMES: dict[str, str] = {
    "pmnc": "PatchMatch-based neighbourhood consensus (CVPR 2021); the default",
    "nearest": "nearest neighbours of the features, no consensus",
}


def list_models() -> list[str]:
    """List the names that `load` takes.

    >>> list_models()
    ['pmnc', 'nearest']
    """
    return list(MODEL_NAMES)


def check_name(name: str) -> None:
    """Refuse a name that `load` does not take.

    Raises:
        ModelError: With the names nearest to it.
    """
    if name not in MODEL_NAMES:
        raise ModelError(
            f"unknown model {name!r}{did_you_mean(name, MODEL_NAMES)}; there are: {', '.join(MODEL_NAMES)}"
        )


@dataclass(frozen=True)
class PMNCRecipe:
    """What a file of PMNC weights says about itself.

    Attributes:
        features: The features that it was trained on.
        radius: The scoring window's radius in cells of the training grid.
        hidden: Width of the scoring function.
        adapter: Width of the adapter that was trained on the features; 0 is none.
        search: How PatchMatch searches.
    """

    features: FeatureOptions = field(default_factory=FeatureOptions)
    radius: int = 2
    hidden: int = 16
    adapter: int = 0
    search: SearchOptions = field(default_factory=SearchOptions)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, for `from_dict`."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> PMNCRecipe:
        """Read what `to_dict` wrote; keys that this version does not know are refused."""
        features = dict(values["features"])
        if features.get("stages") is not None:
            features["stages"] = tuple(features["stages"])
        search = dict(values["search"])
        if "offsets" in search:
            search["offsets"] = tuple((int(dy), int(dx)) for dy, dx in search["offsets"])
        rest = {**values, "features": FeatureOptions(**features), "search": SearchOptions(**search)}
        return PMNCRecipe(**rest)


def load(
    name: str = "pmnc",
    *,
    backbone: str | None = None,
    stages: tuple[int, ...] | None = None,
    grid: int | None = None,
    image_size: int | None = None,
    backbone_weights: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
) -> Matcher:
    """Load a model, ready to match.

    Args:
        name: One of `list_models`.
        backbone: A timm model name in place of the model's own; its weights are downloaded by timm on first use,
            unless they are in the package or given.
        stages: timm's indices of the backbone's stages to use; None takes those of stride 16 and 32.
        grid: Cells to a side of a square picture: 25 by default.
        image_size: Side in pixels at which the network sees a square picture: 400 by default.
        backbone_weights: A safetensors file for the backbone, with timm's names, or ``"random"``.
        weights: A safetensors file in place of the model's own, as `semcorr train` writes it.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` …

    Raises:
        ModelError: If a name is unknown or a weights file is missing, broken or unfit; the message says what to do.
        ValueError: If a number is out of range.

    >>> load("nearest").match
    <bound method Matcher.match of Matcher('nearest', ...)>
    """
    check_name(name)
    if name == "nearest" and weights is not None:
        raise ModelError("the model 'nearest' has no weights of its own: leave weights out, or choose 'pmnc'")
    score: ScoreCells
    recipe, adapter = PMNCRecipe(), None
    if name == "nearest":
        score, radius = nearest, 0
    else:
        stored = read_weights(Path(weights)) if weights is not None else MODELS[name].load()
        recipe, score, adapter = build_pmnc(stored)
        radius = recipe.search.decode_radius
    own = (recipe.features.backbone, recipe.features.stages)
    changes: dict[str, Any] = {"grid": grid, "image_size": image_size, "stages": stages}
    if backbone is not None and backbone != recipe.features.backbone:
        changes["backbone"] = backbone
        recipe = replace(recipe, features=replace(recipe.features, stages=None))
    if backbone_weights is not None:
        changes["weights"] = os.fspath(backbone_weights)
    options = replace(recipe.features, **{key: value for key, value in changes.items() if value is not None})
    if adapter is not None and (options.backbone, options.stages) != own:
        raise ModelError(
            f"{name!r} was trained together with the features of {own[0]!r}: for other features choose 'pmnc-universal'"
        )
    extractor = FeatureExtractor(options, adapter, recipe.features.grid)
    return Matcher(name, extractor, score, radius, _checked_device(device))


def build_pmnc(stored: Weights) -> tuple[PMNCRecipe, PMNC, Adapter | None]:
    """Build PMNC, and the adapter of its features if it has one, from weights that say how they want to be used.

    Raises:
        ModelError: If they are not PMNC's.
    """
    try:
        recipe = PMNCRecipe.from_dict(stored.recipe["model"])
        parts: dict[str, dict[str, Tensor]] = {"scoring": {}, "adapter": {}}
        for key, value in stored.tensors.items():
            part, _, rest = key.partition(".")
            parts[part][rest] = value.float()
        scoring = ScoringFunction(recipe.radius, recipe.hidden)
        scoring.load_state_dict(parts["scoring"])
        adapter = None
        if recipe.adapter:
            adapter = Adapter(parts["adapter"]["enter.weight"].shape[1], recipe.adapter)
            adapter.load_state_dict(parts["adapter"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelError("these are not weights of a PMNC model: take a file that `semcorr train` wrote") from error
    return recipe, PMNC(scoring.eval().requires_grad_(False), recipe.features.grid, recipe.search), adapter


def _checked_device(device: torch.device | str) -> torch.device:
    try:
        checked = torch.device(device)
        torch.zeros(1, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"device {str(device)!r} cannot be used here; try 'cpu'") from error
    return checked
