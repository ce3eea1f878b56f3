"""Images with their features, as a model matches them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcorr.features import FeatureMap
from semcorr.match.result import Match
from semcorr.models.turning import Evidence, Turn, TurnedPicture, evidence_of


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image and its features, computed once to be matched many times.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        features: Its feature map, with a batch size of one.
        model: Description of the model that computed them.
        key: The `semcorr.features.FeatureExtractor.key` of that model.
        file: The file that the image was read from, if any.
    """

    image: NDArray[np.uint8]
    features: FeatureMap
    model: str = "an unknown model"
    key: Hashable = None
    file: Path | None = None


@dataclass(frozen=True, eq=False)
class EncodedTurns:
    """An image turned in several ways, each with its features: what matching in any direction needs of it.

    Attributes:
        image: The image as it is, ``(H, W, 3)`` uint8 RGB.
        turns: How it was turned; the first is not at all.
        pictures: The turned images, cropped by `semcorr.models.turning.crop_canvas`.
        encoded: Their features, which the choice of a turn is based on.
        points: The points that matter, ``(N, 2)`` in pixels of the image: the turn is chosen by how sure their matches
            are. None takes the whole image.
        whole: The uncropped images of the turns chosen so far, with their features, by index.
    """

    image: NDArray[np.uint8]
    turns: list[Turn]
    pictures: list[TurnedPicture]
    encoded: list[Encoded]
    points: NDArray[np.float32] | None = None
    whole: dict[int, tuple[TurnedPicture, Encoded]] = field(default_factory=dict)

    def evidence(self, index: int, match: Match) -> Evidence:
        """Return what speaks for the match of one of the turned images."""
        if self.points is None:
            return evidence_of(match)
        picture = self.pictures[index]
        limits = np.array(picture.image.shape[1::-1], np.float32)
        return evidence_of(match, np.clip(picture.to_turned(self.points), 0, limits))
