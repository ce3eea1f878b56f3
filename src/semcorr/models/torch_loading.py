"""Load models on torch: any backbone, device and precision, and the dense matchers."""

from __future__ import annotations

import os
from typing import Any

import torch

from semcorr.errors import ModelError
from semcorr.features.extractor import FeatureExtractor
from semcorr.files import local_path
from semcorr.matchers.dense.nearest import nearest
from semcorr.models.building import Built, build
from semcorr.models.choices import WITHOUT_WEIGHTS, Choices, default_name
from semcorr.models.configs import PMNCConfig
from semcorr.models.matcher import Matcher
from semcorr.models.settings import building
from semcorr.weights import MODELS, read_weights


def load(name: str | None = None, **options: Any) -> Matcher:
    """Load a model on torch, with the arguments of `semcorr.load`: for what reads or trains its modules."""
    return load_torch(Choices(default_name(options.get("backbone")) if name is None else name, **options))


@building()
def load_torch(choices: Choices) -> Matcher:
    """Load a model.

    Raises:
        ModelError: If a weights file is missing, broken or does not fit the model, or the device is not available.
        ValueError: If a number is out of range.
    """
    built = _built(choices)
    config = None if built is None else built.config
    own = built is not None and built.backbone is not None
    options = choices.feature_options(config, own, own or (built is not None and built.adapter is not None))
    plain = choices.decoding == "argmax"
    features = FeatureExtractor(
        options,
        adapter=built and built.adapter,
        trained_grid=options.grid if config is None else config.features.grid,
        tuned=built and built.backbone,
        precision=choices.precision,
        fine=None if plain or built is None else built.fine,
        untouched=built and built.untouched,
    )
    return Matcher(
        choices.name,
        features,
        nearest if built is None else built.matcher,
        0 if plain or built is None else 2,
        _checked_device(choices.device),
        plain_interpolation=plain,
        rescaling=config.rescaling if isinstance(config, PMNCConfig) else None,
        judge=None if plain or built is None else built.judge,
    )


def _built(choices: Choices) -> Built | None:
    """Build the trained modules of a model from its own weights or a file; None for a model that has none."""
    if choices.name in WITHOUT_WEIGHTS:
        return None
    if choices.weights is None:
        built = build(MODELS[choices.name].load())
    else:
        built = build(read_weights(local_path(os.fspath(choices.weights))))
    choices.check_kind(built.config)
    return built


def _checked_device(device: str) -> str:
    try:
        torch.zeros(1, device=torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"device {device!r} is not available; try 'cpu'") from error
    return device
