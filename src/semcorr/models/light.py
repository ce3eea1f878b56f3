"""Load the models that run without torch: those with the package's backbone, on the CPU and in float32."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcorr.features import FeatureOptions
from semcorr.features.architecture import LAST_OF_STAGE, SCALES, choose_stages
from semcorr.features.light.extractor import LightExtractor, folded
from semcorr.features.light.network import Architecture
from semcorr.files import local_path
from semcorr.matchers.evidence import Judge
from semcorr.matchers.nearest import nearest
from semcorr.matchers.pmnc.matcher import PatchMatcher
from semcorr.matchers.pmnc.scoring import Scoring
from semcorr.models.choices import WITHOUT_WEIGHTS, Choices
from semcorr.models.configs import (
    BACKBONE,
    FINE,
    JUDGE,
    ModelConfig,
    PMNCConfig,
    config_from_dict,
    reading_weights,
    split_prefix,
)
from semcorr.models.matcher import Matcher
from semcorr.weights import BACKBONES, MODELS, expanded_arrays, read_arrays

Floats = NDArray[np.float32]


def load_light(choices: Choices) -> Matcher | None:
    """Load a model, or return None if it needs torch.

    Raises:
        ModelError: If a weights file is missing, broken or does not fit the model.
        ValueError: If a number is out of range.
    """
    if (choices.device, choices.precision) != ("cpu", "float32") or choices.backbone_weights is not None:
        return None
    if choices.name in WITHOUT_WEIGHTS:
        options = choices.feature_options(None, False, False)
        return _matcher(choices, options, None, {}) if _has_backbone(options, {}) else None
    stored = (
        MODELS[choices.name].arrays()
        if choices.weights is None
        else read_arrays(local_path(os.fspath(choices.weights)))
    )
    with reading_weights():
        config: ModelConfig = config_from_dict(stored.metadata["model"])
    choices.check_kind(config)
    if not isinstance(config, PMNCConfig):
        return None
    with reading_weights():
        tensors = expanded_arrays(stored.tensors)
    has_backbone = any(key.startswith(BACKBONE) for key in tensors)
    options = choices.feature_options(config, has_backbone, has_backbone or config.adapter > 0)
    return _matcher(choices, options, config, tensors) if _has_backbone(options, tensors) else None


def _has_backbone(options: FeatureOptions, tensors: dict[str, Floats]) -> bool:
    """Return whether the weights of the backbone are in the package or among the tensors."""
    if options.backbone not in SCALES:
        return False
    return any(key.startswith(BACKBONE) for key in tensors) or (
        options.weights == "auto" and options.backbone in BACKBONES
    )


def _matcher(
    choices: Choices, options: FeatureOptions, config: PMNCConfig | None, tensors: dict[str, Floats]
) -> Matcher:
    plain = choices.decoding == "argmax"
    strides = [2 << stage for stage in range(len(LAST_OF_STAGE))]
    architecture = Architecture(
        options.backbone,
        choose_stages(options.stages, strides, options.backbone),
        config.adapter if config else 0,
        config.fine if config and not plain else 0,
        config.shares if config else None,
    )
    if not any(key.startswith(BACKBONE) for key in tensors):
        own = folded(BACKBONES[options.backbone].arrays().tensors)
        tensors = tensors | {f"{BACKBONE}{name}": values for name, values in own.items()}
    trained_grid = options.grid if config is None else config.features.grid
    with reading_weights():
        features = LightExtractor(options, architecture, tensors, trained_grid, _comparison(architecture, tensors))
        method: Any = nearest if config is None else _patch_matcher(config, tensors)
        judge = None if plain or config is None else _judge(config, tensors)
    return Matcher(
        choices.name,
        features,
        method,
        0 if plain or config is None else 2,
        plain_interpolation=plain,
        rescaling=None if config is None else config.rescaling,
        judge=judge,
    )


def _comparison(architecture: Architecture, tensors: dict[str, Floats]) -> tuple[float, float] | None:
    if not architecture.fine:
        return None
    return math.exp(tensors[f"{FINE}log_sharpness"].item()), math.exp(tensors[f"{FINE}log_spread"].item())


def _patch_matcher(config: PMNCConfig, tensors: dict[str, Floats]) -> PatchMatcher:
    hidden, offsets = config.hidden, (2 * config.radius + 1) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "window": (hidden, 2, offsets, offsets),
        "bias": (hidden,),
        "mix.weight": (hidden, hidden),
        "mix.bias": (hidden,),
        "out.weight": (1, hidden),
        "out.bias": (1,),
        "centre": (2,),
    }
    given = {name: tensors[f"scoring.{name}"] for name in shapes}
    for name, shape in shapes.items():
        if given[name].shape != shape:
            raise ValueError(f"scoring.{name} has shape {given[name].shape}; expected {shape}")
    window, bias, mix, mix_bias, out, out_bias, centre = given.values()
    scoring = Scoring(config.radius, config.reach, window, bias, mix, mix_bias, out[0], out_bias, centre)
    return PatchMatcher(scoring, config.features.grid, config.search, config.votes)


def _judge(config: PMNCConfig, tensors: dict[str, Floats]) -> Judge | None:
    _, given = split_prefix(tensors, JUDGE)
    if not config.judge or given is None:
        return None
    judge = Judge(**given)
    judge.check(config.judge)
    return judge
