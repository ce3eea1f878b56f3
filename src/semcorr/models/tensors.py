"""What a matcher computes with on torch: any backbone, any device, any precision."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from semcorr.features import FeatureMap
from semcorr.features.extractor import FeatureExtractor
from semcorr.features.feature_map import array_of
from semcorr.matchers.decode import CellMatches
from semcorr.matchers.dense.decode import decode
from semcorr.matchers.dense.scores import ScoreCells
from semcorr.models.engines import Decoded
from semcorr.models.settings import default_settings, use_one_thread


class TensorEngine:
    """Computes with torch; see `semcorr.models.engines.Engine`.

    Args:
        features: Computes feature maps; moved to the device.
        method: Scores pairs of cells; moved to the device if it is a module.
        device: A torch device.
    """

    batches = True

    def __init__(self, features: FeatureExtractor, method: ScoreCells, device: str) -> None:
        self.device, self.features = device, features.to(device)
        if isinstance(method, nn.Module):
            method.to(device)

    def encode(self, features: FeatureExtractor, images: Sequence[NDArray[np.uint8]]) -> list[FeatureMap]:
        """See `semcorr.models.engines.Engine`."""
        batch = features.encode(list(images))
        return [batch.row(row) for row in range(len(images))]

    @torch.inference_mode()
    def match(
        self, method: ScoreCells, sources: Sequence[FeatureMap], targets: Sequence[FeatureMap], radius: int
    ) -> list[Decoded]:
        """See `semcorr.models.engines.Engine`."""
        forward, backward = decode(method(_stack(sources), _stack(targets)), radius)
        ways = [[array_of(part) for part in way] for way in (forward, backward)]
        return [
            (CellMatches(*(part[row] for part in ways[0])), CellMatches(*(part[row] for part in ways[1])))
            for row in range(len(sources))
        ]

    def settings(self) -> AbstractContextManager[None]:
        """See `semcorr.models.engines.Engine`."""
        return default_settings(torch.device(self.device))

    def workers(self) -> int:
        """See `semcorr.models.engines.Engine`."""
        return torch.get_num_threads() if torch.device(self.device).type == "cpu" else 1

    def compute_alone(self) -> None:
        """See `semcorr.models.engines.Engine`."""
        use_one_thread()


def _stack(features: Sequence[FeatureMap]) -> FeatureMap:
    return FeatureMap(torch.cat([each.tensor for each in features]), tuple(each.image_sizes[0] for each in features))
