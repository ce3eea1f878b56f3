"""Models as torch modules, built from their configurations and weights."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, overload

from torch import Tensor, nn

from semcorr.features.adapter import Adapter
from semcorr.features.fine import FineDescriptors
from semcorr.features.untouched import Gate, Untouched
from semcorr.matchers.dense.ancnet import AdaptiveConsensus, ANCNet, SelfSimilarity
from semcorr.matchers.dense.ncnet import NCNet, NeighbourhoodConsensus
from semcorr.matchers.evidence import Judge
from semcorr.matchers.pmnc.gpu.matcher import PMNC
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.models.configs import (
    BACKBONE,
    FINE,
    JUDGE,
    UNTOUCHED,
    ANCNetConfig,
    ModelConfig,
    NCNetConfig,
    PMNCConfig,
    config_from_dict,
    reading_weights,
    split_prefix,
)
from semcorr.weights import Weights, expanded

DenseMatcher: TypeAlias = NCNet | ANCNet  # these compute their whole map, and train by `training.objectives.dense`
LearnedMatcher: TypeAlias = PMNC | DenseMatcher


def _untrained_pmnc(config: PMNCConfig) -> PMNC:
    scoring = ScoringFunction(config.radius, config.hidden, reach=config.reach)
    return PMNC(scoring, config.features.grid, config.search, config.votes)


@overload
def build_matcher(config: PMNCConfig) -> PMNC: ...
@overload
def build_matcher(config: NCNetConfig) -> NCNet: ...
@overload
def build_matcher(config: ANCNetConfig) -> ANCNet: ...
def build_matcher(config: ModelConfig) -> LearnedMatcher:
    """Return a matcher with untrained weights."""
    if isinstance(config, PMNCConfig):
        return _untrained_pmnc(config)
    if isinstance(config, NCNetConfig):
        return NCNet(NeighbourhoodConsensus(config.kernels, config.channels))
    return ANCNet(
        AdaptiveConsensus(config.small, config.large, config.channels),
        SelfSimilarity(channels=config.descriptor, normalised=config.normalised),
    )


def build_adapter(config: PMNCConfig, channels: int) -> Adapter | None:
    """Return the untrained adapter for features with that many channels; None if the model has no adapter."""
    return Adapter(channels, config.adapter) if config.adapter else None


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
    with reading_weights():
        config = config_from_dict(stored.metadata["model"])
        tensors = expanded(stored.tensors)
        if isinstance(config, PMNCConfig):
            return _build_pmnc(config, tensors)
        matcher, (own, backbone) = build_matcher(config), split_prefix(tensors, BACKBONE)
        matcher.load_state_dict(own)
        return Built(config, matcher.eval().requires_grad_(False), backbone=backbone)


def _build_pmnc(config: PMNCConfig, tensors: dict[str, Tensor]) -> Built:
    matcher = _untrained_pmnc(config).eval().requires_grad_(False)
    parts: dict[str, nn.Module] = {"scoring": matcher.scoring}
    adapter = build_adapter(config, tensors["adapter.enter.weight"].shape[1]) if config.adapter else None
    if adapter is not None:
        parts["adapter"] = adapter.eval().requires_grad_(False)
    fine = None
    if config.fine:
        early, deep = (tensors[f"{FINE}{name}.weight"].shape[1] for name in ("from_early", "from_deep"))
        fine = FineDescriptors(early, deep, config.fine)
        parts["fine"] = fine.eval().requires_grad_(False)
    own, backbone = split_prefix(tensors, BACKBONE)
    own, before = split_prefix(own, UNTOUCHED)
    own, judging = split_prefix(own, JUDGE)
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
