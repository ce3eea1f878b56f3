"""Model configurations, as stored in the metadata of weights files, and the models that are built from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from semcorr.errors import ModelError
from semcorr.features import FeatureOptions
from semcorr.features.adapter import Adapter
from semcorr.features.fine import FineDescriptors
from semcorr.features.untouched import Gate, Untouched
from semcorr.files import one_line
from semcorr.matchers.dense.ancnet import AdaptiveConsensus, ANCNet, SelfSimilarity
from semcorr.matchers.dense.ncnet import NCNet, NeighbourhoodConsensus
from semcorr.matchers.evidence import Judge
from semcorr.matchers.pmnc.gpu.matcher import PMNC
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.weights import Weights, expanded


@dataclass(frozen=True)
class PMNCConfig:
    """PatchMatch-based neighbourhood consensus (Lee et al., CVPR 2021).

    Attributes:
        features: The features that it was trained on.
        radius: Radius of the scoring window, in cells of the training grid.
        hidden: Hidden channels of the scoring function.
        reach: The part of the window that is read; see `semcorr.matchers.pmnc.gpu.scoring.ScoringFunction`. None
            reads all of it.
        votes: Weight of the global votes that are added to the score; see `semcorr.matchers.pmnc.voting`.
        adapter: Hidden channels of the adapter that was trained on the features; 0 means no adapter.
        fine: Channels of the fine descriptors that correct matches; 0 means no correction.
        shares: Least and greatest share of the tuned features where untouched ones are joined with them; see
            `semcorr.features.untouched`. None joins none.
        judge: Hidden units of the network that estimates visibility and confidence; see `semcorr.matchers.evidence`.
            0 means none.
        search: Options of the PatchMatch search.
        rescaling: Coefficients for `semcorr.matchers.dense.confidence.rescale`, fitted on validation pairs; None
            leaves the decoded confidence unchanged.
    """

    features: FeatureOptions = field(default_factory=FeatureOptions)
    radius: int = 2
    hidden: int = 16
    reach: int | None = None
    votes: float = 0.0
    adapter: int = 0
    fine: int = 0
    shares: tuple[float, float] | None = None
    judge: int = 0
    search: SearchOptions = field(default_factory=SearchOptions)
    rescaling: tuple[float, ...] | None = None
    kind: Literal["pmnc"] = "pmnc"

    def build(self) -> PMNC:
        """Return the matcher with untrained weights."""
        scoring = ScoringFunction(self.radius, self.hidden, reach=self.reach)
        return PMNC(scoring, self.features.grid, self.search, self.votes)

    def build_adapter(self, channels: int) -> Adapter | None:
        """Return the untrained adapter for features with that many channels; None if the model has no adapter."""
        return Adapter(channels, self.adapter) if self.adapter else None


@dataclass(frozen=True)
class NCNetConfig:
    """NC-Net (Rocco et al., NeurIPS 2018).

    For PF-PASCAL the paper uses kernels 5-5-5 with channels 16-16-1; the small model of its code 3-3-3 with 10-10-1.

    Attributes:
        features: The features that it was trained on.
        kernels: Kernel size of each 4-D layer.
        channels: Output channels of each 4-D layer.
    """

    features: FeatureOptions = field(default_factory=FeatureOptions)
    kernels: tuple[int, ...] = (5, 5, 5)
    channels: tuple[int, ...] = (16, 16, 1)
    kind: Literal["ncnet"] = "ncnet"

    def build(self) -> NCNet:
        """Return the matcher with untrained weights."""
        return NCNet(NeighbourhoodConsensus(self.kernels, self.channels))


@dataclass(frozen=True)
class ANCNetConfig:
    """ANC-Net (Li et al., CVPR 2020); the paper uses kernels of 3 and 5, and 16 channels.

    Attributes:
        features: The features that it was trained on.
        small: Kernel size, along the source axes, of the non-isotropic half of the first layer.
        large: All other kernel sizes.
        channels: Output channels of the first and of the second 4-D layer.
        descriptor: Output channels of the two convolutions of the self-similarity descriptor.
        normalised: Whether descriptors are L2-normalised; the authors' are not.
    """

    features: FeatureOptions = field(default_factory=FeatureOptions)
    small: int = 3
    large: int = 5
    channels: int = 16
    descriptor: tuple[int, int] = (64, 32)
    normalised: bool = False
    kind: Literal["ancnet"] = "ancnet"

    def build(self) -> ANCNet:
        """Return the matcher with untrained weights."""
        return ANCNet(
            AdaptiveConsensus(self.small, self.large, self.channels),
            SelfSimilarity(channels=self.descriptor, normalised=self.normalised),
        )


ModelConfig: TypeAlias = PMNCConfig | NCNetConfig | ANCNetConfig
DenseMatcher: TypeAlias = NCNet | ANCNet  # these compute their whole map, and train by `training.objectives.dense`
LearnedMatcher: TypeAlias = PMNC | DenseMatcher

BACKBONE = "backbone."  # prefix of the trained backbone's tensors in a weights file
FINE = "fine."  # prefix of the fine descriptors' tensors
UNTOUCHED = "untouched."  # prefix of the backbone's later blocks before training
JUDGE = "judge."  # prefix of the network that estimates visibility and confidence
GATE = "gate."  # prefix of what sets the share of untouched features
ADDED = (UNTOUCHED, GATE, JUDGE)  # prefixes of what a finished model gets beside what was trained
_KINDS: dict[str, type[PMNCConfig] | type[NCNetConfig] | type[ANCNetConfig]] = {
    "pmnc": PMNCConfig,
    "ncnet": NCNetConfig,
    "ancnet": ANCNetConfig,
}


def config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Return the configuration as plain JSON values, for `config_from_dict`."""
    return asdict(config)


def config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Read the output of `config_to_dict`.

    Raises:
        KeyError: If a key is missing, or the kind is unknown.
        TypeError: If a key is unknown to this version.
        ValueError: If a value is out of range.
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    features = dict(values["features"])
    if features.get("stages") is not None:
        features["stages"] = tuple(features["stages"])
    values["features"] = FeatureOptions(**features)
    kind = values.get("kind", "pmnc")  # the first files were all PMNC and did not record it
    if kind == "pmnc":
        search = dict(values["search"])
        if "offsets" in search:
            search["offsets"] = tuple((int(dy), int(dx)) for dy, dx in search["offsets"])
        values["search"] = SearchOptions(**search)
    return _KINDS[kind](**values)


class Built(NamedTuple):
    """A matcher and the modules that were trained together with it.

    Attributes:
        config: The model's configuration.
        matcher: The matcher, in evaluation mode.
        adapter: The adapter of its features, if it has one.
        fine: The network that computes fine descriptors, if it has one.
        backbone: Weights of the trained backbone, for `semcorr.features.FeatureExtractor`; None if it was not trained.
        untouched: What computes untouched features, to be joined with those of the trained backbone, if it has that.
        judge: What estimates visibility, confidence and similarity, if it has that.
    """

    config: ModelConfig
    matcher: LearnedMatcher
    adapter: Adapter | None = None
    fine: FineDescriptors | None = None
    backbone: dict[str, Tensor] | None = None
    untouched: Untouched | None = None
    judge: Judge | None = None


def build(stored: Weights) -> Built:
    """Build a model from its weights and the configuration in their metadata.

    Raises:
        ModelError: If these are not the weights of a model.
    """
    try:
        config = config_from_dict(stored.metadata["model"])
        tensors = expanded(stored.tensors)
        if isinstance(config, PMNCConfig):
            return _build_pmnc(config, tensors)
        matcher, (own, backbone) = config.build(), _split(tensors, BACKBONE)
        matcher.load_state_dict(own)
        return Built(config, matcher.eval().requires_grad_(False), backbone=backbone)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        reason = one_line(error, 120)
        raise ModelError(
            f"these are not weights of a semcorr model of this version ({reason}): use a file "
            "written by its `semcorr train`"
        ) from error


def _build_pmnc(config: PMNCConfig, tensors: dict[str, Tensor]) -> Built:
    matcher = config.build().eval().requires_grad_(False)
    parts: dict[str, nn.Module] = {"scoring": matcher.scoring}
    adapter = config.build_adapter(tensors["adapter.enter.weight"].shape[1]) if config.adapter else None
    if adapter is not None:
        parts["adapter"] = adapter.eval().requires_grad_(False)
    fine = None
    if config.fine:
        early, deep = (tensors[f"{FINE}{name}.weight"].shape[1] for name in ("from_early", "from_deep"))
        fine = FineDescriptors(early, deep, config.fine)
        parts["fine"] = fine.eval().requires_grad_(False)
    own, backbone = _split(tensors, BACKBONE)
    own, before = _split(own, UNTOUCHED)
    own, judging = _split(own, JUDGE)
    gate = None
    if config.shares is not None:
        gate = Gate(own["gate.familiar.weight"].shape[1], *config.shares)
        parts["gate"] = gate.eval().requires_grad_(False)
    nn.ModuleDict(parts).load_state_dict(own)
    untouched = None if gate is None or before is None else Untouched(before, gate)
    judge = None
    if config.judge and judging is not None:
        judge = Judge(**{key: value.numpy() for key, value in judging.items()})
        judge.check(config.judge)
    return Built(config, matcher, adapter, fine, backbone, untouched, judge)


def _split(tensors: dict[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Split tensors into those without a prefix and those with it, without their prefix; None if there are none."""
    found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return {key: value for key, value in tensors.items() if not key.startswith(prefix)}, found or None
