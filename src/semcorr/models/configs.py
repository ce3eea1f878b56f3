"""What a weights file says about itself: which kind of model, on which features, of which shape."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from semcorr.errors import ModelError
from semcorr.features import FeatureOptions
from semcorr.features.adapter import Adapter
from semcorr.features.fine import FineDescriptors
from semcorr.features.untouched import Gate, Untouched
from semcorr.matchers.ancnet import AdaptiveConsensus, ANCNet, SelfSimilarity
from semcorr.matchers.evidence import Judge
from semcorr.matchers.ncnet import NCNet, NeighbourhoodConsensus
from semcorr.matchers.pmnc.matcher import PMNC
from semcorr.matchers.pmnc.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.weights import Weights, expanded


@dataclass(frozen=True)
class PMNCRecipe:
    """PMNC.

    Attributes:
        features: The features that it was trained on.
        radius: The scoring window's radius in cells of the training grid.
        hidden: Width of the scoring function.
        reach: How much of the window is read; see `semcorr.matchers.pmnc.scoring.ScoringFunction`. None is all of it.
        votes: Weight of the votes of the whole picture beside the scoring function; see `semcorr.matchers.pmnc.voting`.
        adapter: Width of the adapter that was trained on the features; 0 is none.
        fine: Width of the fine descriptors that matches are corrected by; 0 is none.
        shares: Least and greatest share of the tuned features where untouched ones are joined with them; see
            `semcorr.features.untouched`. None joins none.
        judge: Hidden units of the network that tells visibility and confidence; see `semcorr.matchers.evidence`. 0 is
            none.
        search: How PatchMatch searches.
        rescaling: Coefficients for `semcorr.matchers.confidence.rescale`, found on validation pairs; None leaves the
            confidence as it is decoded.
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
        """Return the untrained adapter for features of so many channels, if there is one."""
        return Adapter(channels, self.adapter) if self.adapter else None


@dataclass(frozen=True)
class NCNetRecipe:
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
class ANCNetRecipe:
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


ModelRecipe: TypeAlias = PMNCRecipe | NCNetRecipe | ANCNetRecipe
LearnedMatcher: TypeAlias = PMNC | NCNet | ANCNet

BACKBONE = "backbone."  # what a trained backbone's tensors are called in a file
FINE = "fine."  # those of fine descriptors
UNTOUCHED = "untouched."  # those of the backbone's later blocks before training
JUDGE = "judge."  # and those of what tells visibility and confidence
ADDED = (UNTOUCHED, "gate.", JUDGE)  # what a finished model gets beside what was trained
_KINDS: dict[str, type[PMNCRecipe] | type[NCNetRecipe] | type[ANCNetRecipe]] = {
    "pmnc": PMNCRecipe,
    "ncnet": NCNetRecipe,
    "ancnet": ANCNetRecipe,
}


def recipe_to_dict(recipe: ModelRecipe) -> dict[str, Any]:
    """Return plain JSON values, for `recipe_from_dict`."""
    return asdict(recipe)


def recipe_from_dict(values: dict[str, Any]) -> ModelRecipe:
    """Read what `recipe_to_dict` wrote; keys that this version does not know are refused.

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
        recipe: How it wants to be used.
        matcher: The matcher.
        adapter: Of its features.
        fine: Its fine descriptors.
        backbone: Weights of a trained backbone, for `semcorr.features.FeatureExtractor`.
        untouched: What untouched features are made with, to be joined with those of the trained backbone.
        judge: What tells visibility, confidence and similarity.
    """

    recipe: ModelRecipe
    matcher: LearnedMatcher
    adapter: Adapter | None = None
    fine: FineDescriptors | None = None
    backbone: dict[str, Tensor] | None = None
    untouched: Untouched | None = None
    judge: Judge | None = None


def build(stored: Weights) -> Built:
    """Build a matcher, and the adapter of its features if it has one, from weights that say how they want to be used.

    Raises:
        ModelError: If they are not a model's.
    """
    try:
        recipe = recipe_from_dict(stored.recipe["model"])
        tensors = expanded(stored.tensors)
        if isinstance(recipe, PMNCRecipe):
            return _build_pmnc(recipe, tensors)
        matcher, (others, backbone) = recipe.build(), _apart(tensors)
        matcher.load_state_dict(others)
        return Built(recipe, matcher.eval().requires_grad_(False), backbone=backbone)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"these are not weights of a semcorr model of this version ({textwrap.shorten(reason, 120)}): take a file "
            "that its `semcorr train` wrote"
        ) from error


def _build_pmnc(recipe: PMNCRecipe, tensors: dict[str, Tensor]) -> Built:
    matcher = recipe.build().eval().requires_grad_(False)
    parts: dict[str, nn.Module] = {"scoring": matcher.scoring}
    adapter = recipe.build_adapter(tensors["adapter.enter.weight"].shape[1]) if recipe.adapter else None
    if adapter is not None:
        parts["adapter"] = adapter.eval().requires_grad_(False)
    fine = None
    if recipe.fine:
        early, deep = (tensors[f"{FINE}{name}.weight"].shape[1] for name in ("from_early", "from_deep"))
        fine = FineDescriptors(early, deep, recipe.fine)
        parts["fine"] = fine.eval().requires_grad_(False)
    others, backbone = _apart(tensors)
    gate = None
    if recipe.shares is not None:
        gate = Gate(tensors["gate.familiar.weight"].shape[1], *recipe.shares)
        parts["gate"] = gate.eval().requires_grad_(False)
    others, before = _apart(others, UNTOUCHED)
    others, judging = _apart(others, JUDGE)
    nn.ModuleDict(parts).load_state_dict(others)
    untouched = None if gate is None or before is None else Untouched(before, gate)
    judge = None
    if recipe.judge and judging is not None:
        judge = Judge(**{key: value.numpy() for key, value in judging.items()})
        judge.check(recipe.judge)
    return Built(recipe, matcher, adapter, fine, backbone, untouched, judge)


def _apart(tensors: dict[str, Tensor], prefix: str = BACKBONE) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Split the tensors of a file into those without a prefix and those with it, None if there are none."""
    found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return {key: value for key, value in tensors.items() if not key.startswith(prefix)}, found or None
