"""A training recipe: one YAML file, checked whole before anything begins; a misspelt key fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from semcorr.errors import DataError
from semcorr.recipes import ANCNetRecipe, NCNetRecipe, PMNCRecipe
from semcorr.training.consensus import Loss


def _kind(model: Any) -> str:
    """Tell the kind of a recipe's model; PMNC needs not be named."""
    return str(model.get("kind", "pmnc") if isinstance(model, dict) else getattr(model, "kind", "pmnc"))


AnyModel = Annotated[
    Annotated[PMNCRecipe, Tag("pmnc")] | Annotated[NCNetRecipe, Tag("ncnet")] | Annotated[ANCNetRecipe, Tag("ancnet")],
    Discriminator(_kind),
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrainingRecipe:
    """Everything that a training run depends on.

    Attributes:
        model: The model that is trained and the features that it reads.
        data: Folder of the photographs, in the layout of `semcorr.data.keypoints`.
        out: Folder for checkpoints and weights.
        seed: Decides the initial weights and every choice of pairs.
        steps: Optimiser steps.
        pairs: Pairs in a step.
        loss: ``cross-entropy`` at the keypoints; ``one-to-one``, ANC-Net's; or ``weak``, NC-Net's from pairs of one
            category alone, which uses no keypoints, neither to learn nor to choose the weights.
        keypoints: Keypoints of a pair that are scored, drawn at random; each in both directions.
        learning_rate: Of AdamW, after a warm-up; it falls to zero along a cosine.
        weight_decay: Of AdamW.
        warmup: Steps until the full learning rate.
        flip: Share of photographs that are mirrored, left and right names changing places.
        validate_every: Steps between two validations; a checkpoint is written at each.
        validation_pairs: How many pairs of the validation list are used.
        accelerator: Lightning Fabric's: cpu, cuda, mps or auto.
        devices: How many.
    """

    model: AnyModel
    data: Path
    out: Path
    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=2000, ge=1)
    pairs: int = Field(default=8, ge=1)
    loss: Loss = "cross-entropy"
    keypoints: int = Field(default=6, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: int = Field(default=20, ge=1)
    flip: float = Field(default=0.5, ge=0, le=1)
    validate_every: int = Field(default=100, ge=1)
    validation_pairs: int = Field(default=200, ge=1)
    accelerator: str = "cpu"
    devices: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> TrainingRecipe:
        if self.loss != "cross-entropy" and self.model.kind == "pmnc":
            raise ValueError(f"the loss {self.loss!r} needs the whole map, which pmnc does not compute")
        if self.loss == "weak" and self.pairs < 2:
            raise ValueError("the weak loss needs pairs: 2 or more, to make negatives of")
        return self


def read_recipe(path: Path, data: Path | None = None, out: Path | None = None) -> TrainingRecipe:
    """Read and check a recipe.

    Args:
        path: The YAML file.
        data: Takes the place of its ``data``.
        out: Takes the place of its ``out``.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If it is not a recipe; the message names the key.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold keys and values, such as those of configs/pmnc.yaml")
    values |= {key: value for key, value in (("data", data), ("out", out)) if value is not None}
    try:
        return TypeAdapter(TrainingRecipe).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise DataError(f"{path}, {place}: {first['msg'].lower()}") from None
