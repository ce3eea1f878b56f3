"""Named models: how each is put together, and the weights that belong to it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from semcorr.errors import ModelError, did_you_mean
from semcorr.features import FeatureExtractor, FeatureOptions, Precision
from semcorr.matchers.decode import Decoding
from semcorr.matchers.nearest import nearest
from semcorr.models.configs import Built, PMNCConfig, build
from semcorr.models.matcher import Matcher
from semcorr.models.settings import building
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


@building()
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
    if decoding not in get_args(Decoding):
        raise ValueError(f"decoding must be 'soft-argmax' or 'argmax'; got {decoding!r}")
    built = _built(name, weights)
    changes = {"grid": grid, "image_size": image_size, "stages": stages, "backbone": backbone}
    options = _feature_options(name, built, changes, backbone_weights)
    plain = decoding == "argmax"
    config = None if built is None else built.config
    return Matcher(
        name,
        FeatureExtractor(
            options,
            adapter=built and built.adapter,
            trained_grid=options.grid if config is None else config.features.grid,
            tuned=built and built.backbone,
            precision=precision,
            fine=None if plain or built is None else built.fine,
        ),
        nearest if built is None else built.matcher,
        0 if plain or built is None else 2,
        _checked_device(device),
        plain_interpolation=plain,
        rescaling=config.rescaling if isinstance(config, PMNCConfig) else None,
    )


def _built(name: str, weights: str | os.PathLike[str] | None) -> Built | None:
    """Build the trained parts of a model, from its own weights or a file; None for `nearest`, which has none."""
    if name == "nearest":
        if weights is not None:
            raise ModelError("the model 'nearest' has no weights of its own: leave weights out, or choose 'pmnc'")
        return None
    built = build(MODELS[name].load() if weights is None else read_weights(Path(weights).expanduser()))
    if built.config.kind != name.removesuffix("-universal"):
        raise ModelError(f"{weights} holds weights of {built.config.kind!r}, not of {name!r}: load it by that name")
    return built


def _feature_options(
    name: str, built: Built | None, changes: dict[str, Any], backbone_weights: str | os.PathLike[str] | None
) -> FeatureOptions:
    """Return the model's own feature options with the wanted changes, if its trained parts allow them."""
    own = FeatureOptions() if built is None else built.config.features
    changes = {key: value for key, value in changes.items() if value is not None}
    if changes.get("backbone", own.backbone) != own.backbone:
        changes.setdefault("stages", None)  # those of another backbone have other numbers
    if backbone_weights is not None:
        changes["weights"] = os.fspath(Path(backbone_weights).expanduser())
    options = replace(own, **changes)
    if built is None:
        return options
    if (built.adapter or built.backbone) and (options.backbone, options.stages) != (own.backbone, own.stages):
        raise ModelError(
            f"{name!r} was trained together with the features of {own.backbone!r}: for other features choose "
            "'pmnc-universal'"
        )
    if built.backbone is not None and backbone_weights is not None:
        raise ModelError(
            f"{name!r} has trained its own backbone: leave backbone_weights out, or choose 'pmnc-universal'"
        )
    return options


def _checked_device(device: torch.device | str) -> torch.device:
    try:
        checked = torch.device(device)
        torch.zeros(1, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"device {str(device)!r} cannot be used here; try 'cpu'") from error
    return checked
