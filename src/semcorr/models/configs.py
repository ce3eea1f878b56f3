"""Model configurations, as stored in the metadata of weights files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from semcorr.errors import ModelError
from semcorr.features import FeatureOptions
from semcorr.files import one_line
from semcorr.matchers.pmnc.search import SearchOptions


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


ModelConfig: TypeAlias = PMNCConfig | NCNetConfig | ANCNetConfig

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


@contextmanager
def reading_weights() -> Iterator[None]:
    """Report errors of reading a model from weights as one kind.

    Raises:
        ModelError: If these are not the weights of a model.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"these are not weights of a semcorr model of this version ({one_line(error, 120)}): use a file "
            "written by its `semcorr train`"
        ) from error


def split_prefix(tensors: dict[str, Any], prefix: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Split tensors into those without a prefix and those with it, without their prefix; None if there are none."""
    found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return {key: value for key, value in tensors.items() if not key.startswith(prefix)}, found or None
