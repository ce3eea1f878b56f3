"""What a model is loaded with: its name and options, checked as far as that needs no weights."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, get_args

from semcorr.errors import ModelError, did_you_mean
from semcorr.features import FeatureOptions, Precision
from semcorr.files import local_path
from semcorr.matchers.decode import Decoding
from semcorr.models.configs import ModelConfig

MODEL_NAMES: dict[str, str] = {
    "pmnc": "PatchMatch-based neighbourhood consensus (CVPR 2021), trained with its features; the default",
    "pmnc-universal": "the same consensus for any backbone, on its unmodified features; the default with backbone=",
    "ncnet": "dense neighbourhood consensus (NeurIPS 2018)",
    "ancnet": "adaptive neighbourhood consensus (CVPR 2020)",
    "nearest": "nearest neighbours of the features, no consensus",
}

WITHOUT_WEIGHTS = ("nearest",)
"""Models that have no parameters to learn."""


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


@dataclass(frozen=True)
class Choices:
    """The arguments of `semcorr.load`, by the same names; ``device`` is a string.

    Raises:
        ModelError: If the model's name is unknown, or it has no weights but a file is given.
        ValueError: If ``decoding`` or ``precision`` is unknown.
    """

    name: str
    backbone: str | None = None
    stages: tuple[int, ...] | None = None
    grid: int | None = None
    image_size: int | None = None
    backbone_weights: str | os.PathLike[str] | None = None
    weights: str | os.PathLike[str] | None = None
    decoding: Decoding = "soft-argmax"
    device: str = "cpu"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.decoding not in get_args(Decoding):
            raise ValueError(f"decoding must be 'soft-argmax' or 'argmax'; got {self.decoding!r}")
        if self.precision not in get_args(Precision):
            known = " or ".join(map(repr, get_args(Precision)))
            raise ValueError(f"precision must be {known}; got {self.precision!r}")
        if self.name in WITHOUT_WEIGHTS and self.weights is not None:
            raise ModelError(f"the model {self.name!r} has no weights: omit weights, or choose 'pmnc'")

    def check_kind(self, config: ModelConfig) -> None:
        """Check that weights are of the kind of the named model.

        Raises:
            ModelError: If they are not.
        """
        if config.kind != self.name.removesuffix("-universal"):
            raise ModelError(
                f"{self.weights} contains weights of {config.kind!r}, not of {self.name!r}: load it as {config.kind!r}"
            )

    def feature_options(self, config: ModelConfig | None, own_backbone: bool, own_features: bool) -> FeatureOptions:
        """Apply the requested changes to the model's feature options, if its trained modules allow them.

        Args:
            config: The model's configuration; None if it has none.
            own_backbone: Whether its weights contain a trained backbone.
            own_features: Whether they contain a trained backbone or an adapter.

        Raises:
            ModelError: If they do not.
            ValueError: If a number is out of range.
        """
        trained_on = FeatureOptions() if config is None else config.features
        changes: dict[str, Any] = {
            key: getattr(self, key)
            for key in ("grid", "image_size", "stages", "backbone")
            if getattr(self, key) is not None
        }
        if changes.get("backbone", trained_on.backbone) != trained_on.backbone:
            changes.setdefault("stages", None)  # stage indices of one backbone mean nothing for another
        if self.backbone_weights is not None:
            changes["weights"] = os.fspath(local_path(os.fspath(self.backbone_weights)))
        options = replace(trained_on, **changes)
        same_features = (options.backbone, options.stages) == (trained_on.backbone, trained_on.stages)
        if own_features and not same_features:
            raise ModelError(
                f"{self.name!r} was trained together with the features of {trained_on.backbone!r}: for other features "
                "choose 'pmnc-universal'"
            )
        if own_backbone and self.backbone_weights is not None:
            raise ModelError(
                f"{self.name!r} comes with its own trained backbone: omit backbone_weights, or choose 'pmnc-universal'"
            )
        return options
