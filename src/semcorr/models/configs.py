"""What a weights file says about itself: which kind of model, on which features, of which shape."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from semcorr.errors import ModelError
from semcorr.features import FeatureOptions
from semcorr.features.adapter import Adapter
from semcorr.features.fine import FineDescriptors
from semcorr.files import one_line
from semcorr.matchers.dense.ancnet import AdaptiveConsensus, ANCNet, SelfSimilarity
from semcorr.matchers.dense.ncnet import NCNet, NeighbourhoodConsensus
from semcorr.matchers.pmnc.gpu.matcher import PMNC
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.weights import Weights


@dataclass(frozen=True)
class PMNCConfig:
    """PMNC.

    Attributes:
        features: The features that it was trained on.
        radius: The scoring window's radius in cells of the training grid.
        hidden: Width of the scoring function.
        reach: How much of the window is read; see `semcorr.matchers.pmnc.scoring.ScoringFunction`. None is all of it.
        votes: Weight of the votes of the whole picture beside the scoring function; see `semcorr.matchers.pmnc.voting`.
        adapter: Width of the adapter that was trained on the features; 0 is none.
        fine: Width of the fine descriptors that matches are corrected by; 0 is none.
        search: How PatchMatch searches.
        rescaling: Coefficients for `semcorr.matchers.dense.confidence.rescale`, fitted on validation pairs; None
            leaves the confidence as it is decoded.
    """

    features: FeatureOptions = field(default_factory=FeatureOptions)
    radius: int = 2
    hidden: int = 16
    reach: int | None = None
    votes: float = 0.0
    adapter: int = 0
    fine: int = 0
    search: SearchOptions = field(default_factory=SearchOptions)
    rescaling: tuple[float, ...] | None = None
    kind: Literal["pmnc"] = "pmnc"

    def build(self) -> PMNC:
        """Return the matcher with untrained weights."""
        scoring = ScoringFunction(self.radius, self.hidden, reach=self.reach)
        return PMNC(scoring, self.features.grid, self.search, self.votes)

    def build_adapter(self, channels: int) -> Adapter | None:
        """Return the untrained adapter for features of so many channels, if there is one."""
        return Adapter(channels, self.adapter) if self.adapter else None


@dataclass(frozen=True)
class NCNetConfig:
    """NC-Net; the paper's for PF-PASCAL is 5-5-5 with 16-16-1, its code's small one 3-3-3 with 10-10-1.

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
    """ANC-Net; the paper's has kernels of 3 and 5 and 16 channels.

    Attributes:
        features: The features that it was trained on.
        small: Kernel size in the source of the first layer's non-isotropic half.
        large: Every other kernel size.
        channels: Of the first and the second 4-D layer.
        descriptor: Channels of the self-similarity descriptor's two convolutions.
        normalised: Whether descriptors have norm 1; the authors' have not.
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

BACKBONE = "backbone."  # what a trained backbone's tensors are called in a file
FINE = "fine."  # and those of fine descriptors
_KINDS: dict[str, type[PMNCConfig] | type[NCNetConfig] | type[ANCNetConfig]] = {
    "pmnc": PMNCConfig,
    "ncnet": NCNetConfig,
    "ancnet": ANCNetConfig,
}


def config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Return plain JSON values, for `config_from_dict`."""
    return asdict(config)


def config_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Read what `config_to_dict` wrote; keys that this version does not know are refused.

    Raises:
        KeyError: If something is missing, or the kind is unknown.
        TypeError: If a key is unknown.
        ValueError: If a value is out of range.
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    features = dict(values["features"])
    if features.get("stages") is not None:
        features["stages"] = tuple(features["stages"])
    values["features"] = FeatureOptions(**features)
    kind = values.get("kind", "pmnc")  # files of version 0.1.0 are of this kind and do not say so
    if kind == "pmnc":
        search = dict(values["search"])
        if "offsets" in search:
            search["offsets"] = tuple((int(dy), int(dx)) for dy, dx in search["offsets"])
        values["search"] = SearchOptions(**search)
    return _KINDS[kind](**values)


class Built(NamedTuple):
    """A matcher, and what was trained together with it.

    Attributes:
        config: Its architecture.
        matcher: The matcher.
        adapter: Of its features.
        fine: Its fine descriptors.
        backbone: Weights of a trained backbone, for `semcorr.features.FeatureExtractor`.
    """

    config: ModelConfig
    matcher: LearnedMatcher
    adapter: Adapter | None = None
    fine: FineDescriptors | None = None
    backbone: dict[str, Tensor] | None = None


def build(stored: Weights) -> Built:
    """Build a matcher, and the adapter of its features if it has one, from weights that say how they want to be used.

    Raises:
        ModelError: If they are not a model's.
    """
    try:
        config = config_from_dict(stored.metadata["model"])
        tensors = {key: value.float() for key, value in stored.tensors.items()}
        if isinstance(config, PMNCConfig):
            return _build_pmnc(config, tensors)
        matcher, (others, backbone) = config.build(), _apart(tensors)
        matcher.load_state_dict(others)
        return Built(config, matcher.eval().requires_grad_(False), backbone=backbone)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        reason = one_line(error, 120)
        raise ModelError(
            f"these are not weights of a semcorr model of this version ({reason}): take a file "
            "that its `semcorr train` wrote"
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
    others, backbone = _apart(tensors)
    nn.ModuleDict(parts).load_state_dict(others)
    return Built(config, matcher, adapter, fine, backbone)


def _apart(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Part the tensors of a file into those of the model and those of its trained backbone, None if it has none."""
    backbone = {key.removeprefix(BACKBONE): value for key, value in tensors.items() if key.startswith(BACKBONE)}
    return {key: value for key, value in tensors.items() if not key.startswith(BACKBONE)}, backbone or None
