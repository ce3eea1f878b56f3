"""Load named models: list them, check names, and build a `Matcher` from weights and options."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, get_args

import torch

from semcorr.errors import ModelError, did_you_mean
from semcorr.features import FeatureExtractor, FeatureOptions, Precision
from semcorr.files import local_path
from semcorr.matchers.dense.decode import Decoding
from semcorr.matchers.dense.nearest import nearest
from semcorr.matchers.dense.scores import ScoreCells
from semcorr.models.configs import Built, PMNCConfig, build
from semcorr.models.matcher import Matcher
from semcorr.models.settings import building
from semcorr.weights import MODELS, read_weights

MODEL_NAMES: dict[str, str] = {
    "pmnc": "PatchMatch-based neighbourhood consensus (CVPR 2021), trained with its features; the default",
    "pmnc-universal": "the same consensus for any backbone, on its unmodified features; the default with backbone=",
    "ncnet": "dense neighbourhood consensus (NeurIPS 2018)",
    "ancnet": "adaptive neighbourhood consensus (CVPR 2020)",
    "nearest": "nearest neighbours of the features, no consensus",
}

WITHOUT_WEIGHTS: dict[str, ScoreCells] = {"nearest": nearest}
"""Models that have no parameters to learn, and the function that each of them scores with."""


def list_models() -> list[str]:
    """List the models; their weights are in the package, or they need none.

    >>> list_models()
    ['pmnc', 'pmnc-universal', ...]
    """
    return list(MODEL_NAMES)


def check_name(name: str) -> None:
    """Check that `load` accepts a name.

    Raises:
        ModelError: If the name is unknown; the message suggests similar names.
    """
    if name not in MODEL_NAMES:
        raise ModelError(
            f"unknown model {name!r}{did_you_mean(name, MODEL_NAMES)}; choose from: {', '.join(MODEL_NAMES)}"
        )


def default_name(backbone: str | None) -> str:
    """Return the default model for a backbone.

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
        name: One of `list_models`. The default is ``"pmnc"``, or ``"pmnc-universal"`` if a backbone is given.
        backbone: Name of a timm model to use instead of the model's own backbone. timm downloads its weights on first
            use, unless they are in the package or given as ``backbone_weights``.
        stages: Stages of the backbone to use, as timm's indices; None uses those of stride 16 and 32.
        grid: Cells along each side of the grid of a square image; 25 by default, 2 to 512.
        image_size: Side in pixels of a square image at the network's input; 400 by default, 32 to 4096.
        backbone_weights: A safetensors file for the backbone, with timm's tensor names, or ``"random"``.
        weights: A safetensors file written by `semcorr train`, to use instead of the model's own weights.
        decoding: ``"soft-argmax"`` over the scored cells around the best one; or ``"argmax"``, the protocol of NC-Net
            and ANC-Net: the centre of the best cell, with points transferred by bilinear interpolation between the
            matches of the four cells around them.
        device: A torch device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` …
        precision: Precision of the features: ``"float32"``; or ``"bfloat16"``, which takes about half the time on
            processors with bfloat16 instructions, for a small loss of accuracy (docs/performance.md).

    Returns:
        A matcher, ready to match.

    Raises:
        ModelError: If a name is unknown, or a weights file is missing, broken or does not fit the model; the message
            says what to do.
        ValueError: If a number or ``decoding`` is out of range.

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
            untouched=built and built.untouched,
        ),
        WITHOUT_WEIGHTS[name] if built is None else built.matcher,
        0 if plain or built is None else 2,
        _checked_device(device),
        plain_interpolation=plain,
        rescaling=config.rescaling if isinstance(config, PMNCConfig) else None,
        judge=None if plain or built is None else built.judge,
    )


def _built(name: str, weights: str | os.PathLike[str] | None) -> Built | None:
    """Build the trained modules of a model from its own weights or a file; None for a model that has none."""
    if name in WITHOUT_WEIGHTS:
        if weights is not None:
            raise ModelError(f"the model {name!r} has no weights: omit weights, or choose 'pmnc'")
        return None
    built = build(MODELS[name].load() if weights is None else read_weights(local_path(os.fspath(weights))))
    if built.config.kind != name.removesuffix("-universal"):
        raise ModelError(
            f"{weights} contains weights of {built.config.kind!r}, not of {name!r}: load it as {built.config.kind!r}"
        )
    return built


def _feature_options(
    name: str, built: Built | None, changes: dict[str, Any], backbone_weights: str | os.PathLike[str] | None
) -> FeatureOptions:
    """Apply the requested changes to the model's feature options, if its trained modules allow them."""
    trained_on = FeatureOptions() if built is None else built.config.features
    changes = {key: value for key, value in changes.items() if value is not None}
    if changes.get("backbone", trained_on.backbone) != trained_on.backbone:
        changes.setdefault("stages", None)  # stage indices of one backbone mean nothing for another
    if backbone_weights is not None:
        changes["weights"] = os.fspath(local_path(os.fspath(backbone_weights)))
    options = replace(trained_on, **changes)
    if built is None:
        return options
    same_features = (options.backbone, options.stages) == (trained_on.backbone, trained_on.stages)
    if (built.adapter or built.backbone) and not same_features:
        raise ModelError(
            f"{name!r} was trained together with the features of {trained_on.backbone!r}: for other features choose "
            "'pmnc-universal'"
        )
    if built.backbone is not None and backbone_weights is not None:
        raise ModelError(
            f"{name!r} comes with its own trained backbone: omit backbone_weights, or choose 'pmnc-universal'"
        )
    return options


def _checked_device(device: torch.device | str) -> torch.device:
    try:
        checked = torch.device(device)
        torch.zeros(1, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"device {str(device)!r} is not available; try 'cpu'") from error
    return checked
