"""A training recipe: one YAML file, validated before training starts; a misspelt key is an error."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from semcorr.errors import DataError, did_you_mean
from semcorr.features import FeatureOptions
from semcorr.features.fine import EARLY_BLOCKS
from semcorr.models.configs import ANCNetConfig, NCNetConfig, PMNCConfig

Loss = Literal["cross-entropy", "one-to-one", "weak"]


def _kind(model: Any) -> str:
    """Return the kind of a recipe's model; pmnc is the default."""
    return str(model.get("kind", "pmnc") if isinstance(model, dict) else getattr(model, "kind", "pmnc"))


AnyModel = Annotated[
    Annotated[PMNCConfig, Tag("pmnc")] | Annotated[NCNetConfig, Tag("ncnet")] | Annotated[ANCNetConfig, Tag("ancnet")],
    Discriminator(_kind),
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrainingRecipe:
    """Everything that a training run depends on.

    Attributes:
        model: The model that is trained, and the features that it reads. If it has fine descriptors, only these are
            trained, on the finished model that ``start`` names.
        data: Folder of the photographs, in the layout of `semcorr.data.formats.keypoints`.
        out: Folder for checkpoints and weights.
        seed: Random seed of the initial weights and of every choice of pairs.
        others: Further features that the same scoring function is trained on: each pair uses those of the model or one
            of these, at random, so that the function does not specialise in one backbone. Not with an adapter, which
            belongs to one backbone.
        leave_out: Categories that are neither trained nor validated on, to measure how the model generalises.
        photographs: Folder of further photographs without keypoints, ``category/*.jpg``, for warps and pseudo-labels;
            ``leave_out`` does not apply to them.
        cache: Folder in which features are kept, half a megabyte a view, or, with fewer than three
            frozen blocks, up to five times that; None keeps them in memory only.
        steps: Optimiser steps.
        pairs: Pairs with keypoints in a step.
        pictures: With an adapter: pictures with keypoints in a step, all matched with each other; the scoring function
            is trained on ``pairs`` of their pairs.
        together: With an adapter: sets of categories whose keypoints of the same name correspond, and whose pictures
            are matched with each other; all other categories are matched within themselves.
        frozen_blocks: How many of the backbone's blocks stay frozen; later ones are trained with the model, which for
            pmnc must have an adapter. None trains none.
        contrast: With an adapter: weight of the contrastive loss on the features.
        warps: Pairs in a step of a photograph and a warped, recoloured view of it.
        pseudo_labels: File of points that earlier models matched on ``photographs``, from scripts/pseudo_labels.py.
        pseudo: With an adapter: pairs in a step from that file.
        start: Weights of the same kind of model that training starts from: a model of the package, by its name, or a
            safetensors file. Fine descriptors continue from its own, if it has some.
        loss: ``cross-entropy`` at the keypoints; ``one-to-one``, ANC-Net's; or ``weak``, NC-Net's from pairs of the
            same category, which uses no keypoints, neither for training nor for choosing the weights.
        keypoints: Keypoints of a pair that are scored, drawn at random; each in both directions.
        views: Number of views of a photograph with keypoints: 1 as it is; 2 also mirrored, with left and right names
            exchanged; 4 both also warped and recoloured.
        warp_views: Number of warped views of a photograph without keypoints.
        learning_rate: Of AdamW, for the scoring function, after a warm-up; it falls to zero along a cosine.
        adapter_rate: Likewise, for the adapter.
        backbone_rate: Likewise, for the backbone's trained blocks.
        average: Decay of the moving average of the weights; the average is what is validated and kept.
        weight_decay: Of AdamW.
        warmup: Steps until the full learning rate.
        validate_every: Steps between two validations; each writes a checkpoint.
        validation_pairs: Number of pairs of the validation list that are used.
        accelerator: Lightning Fabric's: cpu, cuda, mps or auto.
        precision: 32-true, or bf16-mixed: torch's autocast to bfloat16, where the hardware supports it.
        devices: Number of devices; they share the pairs of a step, whose number they must divide. With an adapter,
            every device has pictures of its own.
    """

    model: AnyModel
    data: Path
    out: Path
    seed: int = Field(default=0, ge=0)
    others: tuple[FeatureOptions, ...] = ()
    leave_out: tuple[str, ...] = ()
    photographs: Path | None = None
    cache: Path | None = None
    steps: int = Field(default=2000, ge=1)
    pairs: int = Field(default=8, ge=1)
    pictures: int = Field(default=8, ge=2)
    together: tuple[tuple[str, ...], ...] = ()
    frozen_blocks: int | None = Field(default=None, ge=0)
    contrast: float = Field(default=0.5, ge=0)
    warps: int = Field(default=0, ge=0)
    pseudo_labels: Path | None = None
    pseudo: int = Field(default=0, ge=0)
    start: str | None = None
    loss: Loss = "cross-entropy"
    keypoints: int = Field(default=6, ge=1)
    views: Literal[1, 2, 4] = 2
    warp_views: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    adapter_rate: float = Field(default=1e-3, gt=0)
    backbone_rate: float = Field(default=2e-4, gt=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: int = Field(default=20, ge=1)
    validate_every: int = Field(default=100, ge=1)
    validation_pairs: int = Field(default=200, ge=1)
    accelerator: str = "cpu"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    devices: int = Field(default=1, ge=1)

    @property
    def joint(self) -> bool:
        """Whether features are trained, not only the matcher."""
        return isinstance(self.model, PMNCConfig) and self.model.adapter > 0

    @model_validator(mode="after")
    def _check_amounts(self) -> TrainingRecipe:
        if not self.joint and (self.pairs + self.warps) % self.devices:
            raise ValueError(
                f"{self.pairs + self.warps} pairs cannot be shared by {self.devices} devices: choose a multiple"
            )
        if (self.warps or self.pseudo) and self.photographs is None:
            raise ValueError("warps and pseudo need a folder of photographs, category/*.jpg: set photographs")
        if bool(self.pseudo) != (self.pseudo_labels is not None):
            raise ValueError(
                "pseudo_labels needs pseudo, 1 or more, and pseudo needs pseudo_labels, a file of "
                "scripts/pseudo_labels.py"
            )
        if self.pseudo and not self.joint:
            raise ValueError("pseudo needs a model with an adapter: set model.adapter")
        return self

    @model_validator(mode="after")
    def _check_model(self) -> TrainingRecipe:
        if self.loss != "cross-entropy" and self.model.kind == "pmnc":
            raise ValueError(f"the loss {self.loss!r} needs the whole map, which pmnc does not compute")
        finished = self.joint and self.start is not None and self.frozen_blocks == EARLY_BLOCKS
        if isinstance(self.model, PMNCConfig) and self.model.fine and not finished:
            raise ValueError(
                "fine descriptors are trained on a finished model whose early blocks are frozen: set model.adapter, "
                f"start, and frozen_blocks {EARLY_BLOCKS}"
            )
        if self.frozen_blocks is not None and self.model.kind == "pmnc" and not self.joint:
            raise ValueError("pmnc trains a backbone together with an adapter: set model.adapter")
        if self.frozen_blocks is not None and self.others:
            raise ValueError("only one backbone can be trained: remove others or frozen_blocks")
        if self.others and self.joint:
            raise ValueError("an adapter belongs to one backbone: remove others or the adapter")
        if self.loss == "weak" and self.warps:
            raise ValueError("the weak loss does not use warps: remove them")
        if self.loss == "weak" and self.pairs < 2:
            raise ValueError("the weak loss makes its negatives from other pairs of the step: set pairs to 2 or more")
        return self


def check_categories(recipe: TrainingRecipe, categories: Collection[str]) -> None:
    """Refuse a recipe that names categories which the data do not have: a misspelt one would be trained on.

    Args:
        recipe: The recipe, with ``leave_out`` and ``together``.
        categories: The categories of the data.

    Raises:
        DataError: With the names nearest to the first unknown one.
    """
    for key, names in (("leave_out", recipe.leave_out), *(("together", group) for group in recipe.together)):
        for name in names:
            if name not in categories:
                known = f"{did_you_mean(name, categories)}; the data have {', '.join(sorted(categories))}"
                raise DataError(f"{key}: no photograph is of the category {name!r}{known}")


def read_recipe(
    path: Path,
    data: Path | None = None,
    out: Path | None = None,
    photographs: Path | None = None,
    seed: int | None = None,
) -> TrainingRecipe:
    """Read and validate a recipe.

    Args:
        path: The YAML file.
        data: Replaces its ``data``.
        out: Replaces its ``out``.
        photographs: Replaces its ``photographs``.
        seed: Replaces its ``seed``.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If it is not a valid recipe; the message names the key.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} must contain keys and values, such as configs/pmnc.yaml")
    given = {"data": data, "out": out, "photographs": photographs, "seed": seed}
    values |= {key: value for key, value in given.items() if value is not None}
    try:
        return TypeAdapter(TrainingRecipe).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "recipe"
        if first["type"] == "unexpected_keyword_argument":
            raise DataError(f"{path}: unknown key {place}{did_you_mean(str(first['loc'][-1]), _KEYS)}") from None
        raise DataError(f"{path}, {place}: {first['msg'].lower()}") from None


_KINDS = (TrainingRecipe, PMNCConfig, NCNetConfig, ANCNetConfig, FeatureOptions)
_KEYS = {field.name for kind in _KINDS for field in fields(kind)}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, without keys that stand twice: one of the values would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the key {twice[0]!r} stands twice")
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"
