"""Images with their features, as a model matches them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcorr.features import FeatureMap
from semcorr.models.turning import Turn, TurnedPicture


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
        pictures: The turned images.
        encoded: Their features.
    """

    image: NDArray[np.uint8]
    turns: list[Turn]
    pictures: list[TurnedPicture]
    encoded: list[Encoded]
