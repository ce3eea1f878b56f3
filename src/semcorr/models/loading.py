"""Named models: how each is put together, and the weights that belong to it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from semcorr.errors import ModelError, did_you_mean
from semcorr.features import FeatureExtractor, Precision
from semcorr.matchers.decode import Decoding
from semcorr.matchers.nearest import nearest
from semcorr.matchers.scores import ScoreCells
from semcorr.models.configs import ModelRecipe, PMNCRecipe, build
from semcorr.models.matcher import Matcher
from semcorr.weights import MODELS, read_weights

MODEL_NAMES: dict[str, str] = {
    "pmnc": "PatchMatch-based neighbourhood consensus (CVPR 2021), trained with its features; the default",
    "pmnc-universal": "the same consensus for any backbone, on untouched features; what backbone= uses",
    "ncnet": "dense neighbourhood consensus (NeurIPS 2018)",
    "ancnet": "adaptive neighbourhood consensus (CVPR 2020)",
    "nearest": "nearest neighbours of the features, no consensus",
}


def list_models() -> list[str]:
    """List the models; all have weights in the package, or need none.

    >>> list_models()
    ['pmnc', 'pmnc-universal', 'ncnet', 'ancnet', 'nearest']
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


def default_name(backbone: str | None) -> str:
    """Return the model that is meant where none is named.

    >>> default_name(None), default_name("resnet101")
    ('pmnc', 'pmnc-universal')
    """
    return "pmnc" if backbone is None else "pmnc-universal"


def load(
    name: str | None = None,
    *,
    backbone: str | None = None,
    stages: tuple[int, ...] | None = None,
    grid: int | None = None,
    image_size: int | None = None,
    backbone_weights: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    decoding: Decoding = "soft-argmax",
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
) -> Matcher:
    """Load a model, ready to match.

    Args:
        name: One of `list_models`; by default ``"pmnc"``, or with a backbone ``"pmnc-universal"``.
        backbone: A timm model name in place of the model's own; its weights are downloaded by timm on first use,
            unless they are in the package or given.
        stages: timm's indices of the backbone's stages to use; None takes those of stride 16 and 32.
        grid: Cells to a side of a square picture: 25 by default.
        image_size: Side in pixels at which the network sees a square picture: 400 by default.
        backbone_weights: A safetensors file for the backbone, with timm's names, or ``"random"``.
        weights: A safetensors file in place of the model's own, as `semcorr train` writes it.
        decoding: ``"soft-argmax"`` over the scored cells around the best one; or ``"argmax"``, as NC-Net and ANC-Net
            are evaluated by their authors: the best cell's centre, and points through plain bilinear interpolation of
            the four cells around them.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` …
        precision: What the features are computed in: ``"float32"``; or ``"bfloat16"``, which takes about half the time
            where the processor has instructions for it, and costs a little precision (docs/performance.md).

    Raises:
        ModelError: If a name is unknown or a weights file is missing, broken or unfit; the message says what to do.
        ValueError: If a number is out of range.

    >>> load("nearest").match
    <bound method Matcher.match of Matcher('nearest', ...)>
    """
    name = default_name(backbone) if name is None else name
    check_name(name)
    if name == "nearest" and weights is not None:
        raise ModelError("the model 'nearest' has no weights of its own: leave weights out, or choose 'pmnc'")
    score: ScoreCells
    recipe: ModelRecipe = PMNCRecipe()
    adapter = fine = tuned = untouched = judge = None
    if name == "nearest":
        score = nearest
    else:
        stored = read_weights(Path(weights)) if weights is not None else MODELS[name].load()
        recipe, score, adapter, fine, tuned, untouched, judge = build(stored)
        if recipe.kind != name.removesuffix("-universal"):
            raise ModelError(f"{weights} holds weights of {recipe.kind!r}, not of {name!r}: load it by that name")
    own = (recipe.features.backbone, recipe.features.stages)
    changes: dict[str, Any] = {"grid": grid, "image_size": image_size, "stages": stages}
    if backbone is not None and backbone != recipe.features.backbone:
        changes["backbone"] = backbone
        recipe = replace(recipe, features=replace(recipe.features, stages=None))
    if backbone_weights is not None:
        changes["weights"] = os.fspath(backbone_weights)
    options = replace(recipe.features, **{key: value for key, value in changes.items() if value is not None})
    if (adapter or tuned) and (options.backbone, options.stages) != own:
        raise ModelError(
            f"{name!r} was trained together with the features of {own[0]!r}: for other features choose 'pmnc-universal'"
        )
    if tuned is not None and backbone_weights is not None:
        raise ModelError(
            f"{name!r} has trained its own backbone: leave backbone_weights out, or choose 'pmnc-universal'"
        )
    if decoding not in get_args(Decoding):
        raise ValueError(f"decoding must be 'soft-argmax' or 'argmax'; got {decoding!r}")
    plain = decoding == "argmax"
    return Matcher(
        name,
        FeatureExtractor(options, adapter, recipe.features.grid, tuned, precision, None if plain else fine, untouched),
        score,
        0 if plain or name == "nearest" else 2,
        _checked_device(device),
        plain_interpolation=plain,
        rescaling=recipe.rescaling if isinstance(recipe, PMNCRecipe) and name != "nearest" else None,
        judge=None if plain else judge,
    )


def _checked_device(device: torch.device | str) -> torch.device:
    try:
        checked = torch.device(device)
        torch.zeros(1, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"device {str(device)!r} cannot be used here; try 'cpu'") from error
    return checked
