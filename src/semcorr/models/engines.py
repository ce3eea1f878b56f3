"""What a matcher computes with: NumPy, native code and ONNX Runtime; or torch, in `semcorr.models.tensors`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semcorr.features import FeatureMap
from semcorr.features.feature_map import array_of
from semcorr.features.light.extractor import LightExtractor
from semcorr.matchers.decode import CellMatches, decode
from semcorr.matchers.scored import Floats, Scored
from semcorr.threads import compute_alone, each_alone, thread_count

ScoreArrays = Callable[[Floats, Floats], Scored | Floats]
"""A matcher without torch: any callable from features ``(C, h, w)`` of two images to scored pairs or a table."""

Decoded = tuple[CellMatches, CellMatches]
"""The matches of the source's cells and those of the target's."""


class Engine(Protocol):
    """What `semcorr.models.matcher.Matcher` needs to compute."""

    features: Any
    device: str
    batches: bool  # whether all pairs given to `match` are held in memory at once

    def encode(self, features: Any, images: Sequence[NDArray[np.uint8]]) -> list[FeatureMap]:
        """Compute the features of images that share an input size and a grid, as batches of one.

        The extractor is the engine's own, possibly scaled.
        """

    def match(
        self, method: Any, sources: Sequence[FeatureMap], targets: Sequence[FeatureMap], radius: int
    ) -> list[Decoded]:
        """Match pairs of feature maps of the same two grids; ``radius`` as for `semcorr.matchers.decode.decode`."""

    def settings(self) -> AbstractContextManager[None]:
        """Set aside what other code in the process has changed and answers would depend on."""

    def workers(self) -> int:
        """Return how many images are best matched at once."""

    def compute_alone(self) -> None:
        """Let the calling thread, one of the `workers`, compute without others."""


class ArrayEngine:
    """Computes on the CPU without torch."""

    device, batches = "cpu", False

    def __init__(self, features: LightExtractor) -> None:
        self.features = features

    def encode(self, features: LightExtractor, images: Sequence[NDArray[np.uint8]]) -> list[FeatureMap]:
        """See `Engine`."""
        return each_alone(features.encode, images)

    def match(
        self, method: ScoreArrays, sources: Sequence[FeatureMap], targets: Sequence[FeatureMap], radius: int
    ) -> list[Decoded]:
        """See `Engine`."""
        return [
            decode(method(array_of(source.tensor)[0], array_of(target.tensor)[0]), radius)
            for source, target in zip(sources, targets, strict=True)
        ]

    def settings(self) -> AbstractContextManager[None]:
        """See `Engine`."""
        return nullcontext()

    def workers(self) -> int:
        """See `Engine`."""
        return thread_count()

    def compute_alone(self) -> None:
        """See `Engine`."""
        compute_alone()
