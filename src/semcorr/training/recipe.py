"""A training recipe: one YAML file, validated before training starts; a misspelt key is an error."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from semcorr.errors import DataError, did_you_mean
from semcorr.features import FeatureOptions
from semcorr.features.architecture import EARLY_BLOCKS
from semcorr.models.configs import ANCNetConfig, NCNetConfig, PMNCConfig
from semcorr.weights import MODELS, Weights, read_weights

# in an installed package, and in a checkout
_CONFIGS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[3] / "configs")

Loss = Literal["cross-entropy", "one-to-one", "weak"]


def _kind(model: Any) -> str:
    """Return the kind of a recipe's model; pmnc is the default."""
    return str(model.get("kind", "pmnc") if isinstance(model, dict) else getattr(model, "kind", "pmnc"))


AnyModel = Annotated[
    Annotated[PMNCConfig, Tag("pmnc")] | Annotated[NCNetConfig, Tag("ncnet")] | Annotated[ANCNetConfig, Tag("ancnet")],
    Discriminator(_kind),
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DataSource:
    """Where photographs with keypoints come from.

    Attributes:
        name: A data set (``"pf-pascal"``), or the folder of one.
        root: Its folder, where it is given by its name.
        annotations: With the data set ``"coco"``: any COCO keypoints file.
        images: With ``annotations``: the folder of its pictures.
        split: The split; None takes the training list to train on, and the validation list to validate on.
    """

    name: str
    root: Path | None = None
    annotations: Path | None = None
    images: Path | None = None
    split: str | None = None


Source = Annotated[
    DataSource, BeforeValidator(lambda value: {"name": str(value)} if isinstance(value, str | Path) else value)
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrainingRecipe:
    """Everything that a training run depends on.

    Attributes:
        model: The model that is trained, and the features that it reads. A recipe with a ``start`` may leave it out: it
            is then the model that training starts from.
        data: The photographs with keypoints: a folder, a data set's name, or name, root, annotations and images.
        out: Folder for checkpoints and weights.
        validation: What to validate on, in the same form; None takes the validation list of ``data``.
        seed: Random seed of the initial weights and of every choice of pairs.
        others: Further features that the same scoring function is trained on: each pair uses those of the model or one
            of these, at random, so that the function does not specialise in one backbone. Not with features that learn.
        leave_out: Categories that are neither trained nor validated on, to measure how the model generalises; nor are
            their ``photographs`` and pseudo-labels used.
        photographs: Folder of further photographs without keypoints, ``category/*.jpg``, for warps and pseudo-labels.
        cache: Folder in which the output of the frozen part of the backbone is kept, half a megabyte a view for the
            package's backbone, more for an earlier ``train_from``; None keeps it in memory only.
        steps: Optimiser steps.
        pairs_from: ``list``: pairs of the data set's own list; ``category``: drawn within a category. None takes the
            list of PF-PASCAL and SPair-71k, and draws from the others.
        pairs: Pairs with keypoints in a step; where pictures are drawn in groups, pairs of each group that the scoring
            function is trained on.
        pictures: Where features learn and pairs are drawn: pictures of a group, all matched with each other.
        groups: Where features learn and pairs are drawn: groups in a step.
        min_shared: A pair is used if it shares at least this many keypoints.
        together: Where features learn: sets of categories whose keypoints of the same name correspond, and whose
            pictures are matched with each other; all other categories are matched within themselves.
        train_from: timm's index of the first stage of the backbone that is trained with the model, as in
            ``features.stages``; 0 trains the whole backbone, None none of it.
        checkpointing: Recompute the backbone's activations in the backward pass: less memory, more time.
        contrast: Where features learn: weight of the contrastive loss on the features.
        least_share: Where the backbone learns: join its features, during training, with those that it gave before, so
            that they complement each other, as in a model with ``shares``. The share of the trained ones in the norm²
            is drawn for each group: from 0.75 to 1 where keypoints are annotated, elsewhere from this value to 0.8.
            None trains them alone.
        mirrors: Where features learn and pairs are drawn: this many pictures of a group are also matched with their
            own mirror images; needs views of 2 or more.
        filtered_only: For pmnc: score the filtered correlation alone, as the paper does.
        fine_only: Train the fine descriptors alone, on the finished model that ``start`` names.
        warps: Pairs in a step of a photograph and a warped, recoloured view of it.
        pseudo_labels: File of points that earlier models matched on ``photographs``, from `semcorr data pseudo-labels`.
        pseudo: Where features learn: pairs in a step from that file.
        start: Weights of the same kind of model that training starts from: a model of the package, by its name, or a
            safetensors file.
        drop: What of the start may be lost: ``fine`` descriptors, ``votes``, the ``calibration`` of the confidence, the
            ``untouched`` features joined with its own, the ``judge`` that estimates visibility.
        calibrate: For pmnc: calibrate the confidence on the validation pairs at the end.
        loss: ``cross-entropy`` at the keypoints; ``one-to-one``, ANC-Net's; or ``weak``, NC-Net's from pairs of the
            same category, which uses no keypoints, neither for training nor for choosing the weights.
        keypoints: Keypoints of a pair that are scored, drawn at random; each in both directions.
        views: Number of views of a photograph with keypoints: 1 as it is; 2 also mirrored, with left and right names
            exchanged; 4 adds a warped and recoloured version of both; 6, 8 and so on add further ones.
        warp_views: Number of warped views of a photograph without keypoints.
        workers: Where features learn: processes that prepare the images of the next steps in the background, which
            keeps a GPU busy; their views are not cached. 0 reads each view once and caches it.
        learning_rate: Of AdamW, for the scoring function, after a warm-up; it falls to zero along a cosine.
        adapter_rate: The same for the adapter.
        backbone_rate: The same for the backbone.
        average: Decay of the moving average of the weights; the average is what is validated and kept.
        weight_decay: Of AdamW.
        warmup: Steps until the full learning rate.
        validate_every: Steps between two validations; each writes a checkpoint.
        validation_pairs: Number of pairs of the validation list that are used.
        accelerator: Lightning Fabric's: cpu, cuda, mps or auto.
        precision: 32-true, or bf16-mixed: torch's autocast to bfloat16, where the hardware supports it.
        devices: Number of devices, which share the pairs or groups of a step; the result does not depend on it, up to
            rounding. `torchrun` sets it by itself.
    """

    model: AnyModel
    data: Source
    out: Path
    validation: Source | None = None
    seed: int = Field(default=0, ge=0)
    others: tuple[FeatureOptions, ...] = ()
    leave_out: tuple[str, ...] = ()
    photographs: Path | None = None
    cache: Path | None = None
    steps: int = Field(default=2000, ge=1)
    pairs_from: Literal["list", "category"] | None = None
    pairs: int = Field(default=8, ge=1)
    pictures: int = Field(default=8, ge=2)
    groups: int = Field(default=1, ge=1)
    min_shared: int = Field(default=3, ge=1)
    together: tuple[tuple[str, ...], ...] = ()
    train_from: int | None = Field(default=None, ge=0)
    checkpointing: bool = False
    contrast: float = Field(default=0.5, ge=0)
    least_share: float | None = Field(default=None, ge=0, le=0.8)
    mirrors: int = Field(default=0, ge=0)
    filtered_only: bool = False
    fine_only: bool = False
    warps: int = Field(default=0, ge=0)
    pseudo_labels: Path | None = None
    pseudo: int = Field(default=0, ge=0)
    start: str | None = None
    drop: tuple[Literal["fine", "votes", "calibration", "untouched", "judge"], ...] = ()
    calibrate: bool = True
    loss: Loss = "cross-entropy"
    keypoints: int = Field(default=6, ge=1)
    views: int = Field(default=2, ge=1)
    warp_views: int = Field(default=2, ge=1)
    workers: int = Field(default=0, ge=0)
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
        """Whether pmnc is trained together with features."""
        return isinstance(self.model, PMNCConfig) and (self.model.adapter > 0 or self.train_from is not None)

    @model_validator(mode="after")
    def _check_amounts(self) -> TrainingRecipe:
        if (self.warps or self.pseudo) and self.photographs is None:
            raise ValueError("warps and pseudo need a folder of photographs, category/*.jpg: set photographs")
        if bool(self.pseudo) != (self.pseudo_labels is not None):
            raise ValueError(
                "pseudo_labels needs pseudo, 1 or more, and pseudo needs pseudo_labels, a file of "
                "`semcorr data pseudo-labels`"
            )
        if self.pseudo and not self.joint:
            raise ValueError("pseudo needs features that learn: set model.adapter or train_from")
        if self.loss == "weak" and self.warps:
            raise ValueError("the weak loss does not use warps: remove them")
        if self.loss == "weak" and self.pairs < 2:
            raise ValueError("the weak loss makes its negatives from other pairs of the step: set pairs to 2 or more")
        return self

    @model_validator(mode="after")
    def _check_model(self) -> TrainingRecipe:
        pmnc = isinstance(self.model, PMNCConfig)
        if self.loss != "cross-entropy" and pmnc:
            raise ValueError(f"the loss {self.loss!r} needs the whole map, which pmnc does not compute")
        if self.filtered_only and not pmnc:
            raise ValueError(f"filtered_only is for pmnc; {self.model.kind} reads the filtered map anyway")
        if isinstance(self.model, PMNCConfig) and self.model.fine:
            if not (self.model.adapter and self.start is not None and self.train_from == EARLY_BLOCKS):
                raise ValueError(
                    "fine descriptors are trained on a finished model whose early stages are frozen: set "
                    f"model.adapter, start, and train_from to {EARLY_BLOCKS}"
                )
        elif self.fine_only:
            raise ValueError("fine_only needs fine descriptors: set model.fine")
        if self.least_share is not None and (self.train_from is None or not pmnc or self.fine_only):
            raise ValueError("least_share joins a backbone that learns with what it was: set train_from, for pmnc")
        if self.views > 1 and self.views % 2:
            raise ValueError(f"views must be 1 or an even number: every view is also mirrored; got {self.views}")
        if self.workers and not self.joint:
            raise ValueError("workers needs features that learn: set model.adapter or train_from, or remove workers")
        if self.mirrors and self.views == 1:
            raise ValueError("mirrors needs mirrored views: set views to 2 or more")
        if self.others and (self.joint or self.train_from is not None):
            raise ValueError("features that learn belong to one backbone: remove others, or the adapter and train_from")
        return self


def read_start(start: str) -> Weights:
    """Read the weights of a model of the package, by its name, or of a safetensors file.

    Raises:
        ModelError: If there is no such file, or it is broken.
    """
    return MODELS[start].load() if start in MODELS else read_weights(Path(start))


def find_recipe(name: str | Path) -> Path:
    """Return the path of a recipe: a file, or the name of one that comes with the package, such as ``"paper/ncnet"``.

    Raises:
        DataError: If there is no such recipe.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = next((folder for folder in _CONFIGS if folder.is_dir()), _CONFIGS[0])
    known = {file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))}
    if str(name) not in known:
        near = did_you_mean(str(name), known)
        raise DataError(f"there is no recipe {str(name)!r}{near}: give a YAML file, or one of {', '.join(known)}")
    return known[str(name)]


def read_recipe(path: Path, **changes: Any) -> TrainingRecipe:
    """Read and validate a recipe.

    Args:
        path: The YAML file.
        **changes: Values that replace those of the file, by their keys; None leaves the file's. Of ``data`` and
            ``validation``, what names no data set is added to the file's.

    Raises:
        FileNotFoundError: If there is no such file.
        DataError: If it is not a valid recipe; the message names the key.
        ModelError: If it leaves the model to its ``start``, which cannot be read.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} must contain keys and values, such as configs/pmnc.yaml")
    for key, value in changes.items():
        if value is not None:
            values[key] = _merged(values.get(key), value) if key in ("data", "validation") else value
    if "model" not in values and isinstance(values.get("start"), str):
        values["model"] = read_start(values["start"]).metadata.get("model")
    try:
        return TypeAdapter(TrainingRecipe).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "recipe"
        if first["type"] == "unexpected_keyword_argument":
            raise DataError(f"{path}: unknown key {place}{did_you_mean(str(first['loc'][-1]), _KEYS)}") from None
        raise DataError(f"{path}, {place}: {first['msg'].lower()}") from None


def _merged(source: Any, change: Any) -> Any:
    """Return a data source with changes: a new one where they name it."""
    if not isinstance(change, dict) or "name" in change or source is None:
        return change
    return (source if isinstance(source, dict) else {"name": str(source)}) | change


_KINDS = (TrainingRecipe, DataSource, PMNCConfig, NCNetConfig, ANCNetConfig, FeatureOptions)
_KEYS = {field.name for kind in _KINDS for field in fields(kind)}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, without keys that stand twice: one of the values would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the key {twice[0]!r} stands twice")
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"
