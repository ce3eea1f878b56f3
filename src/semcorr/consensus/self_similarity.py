"""ANC-Net's multi-scale self-similarity descriptor: what a cell looks like beside its own neighbours.

Li et al., Correspondence Networks with Adaptive Neighbourhood Consensus, CVPR 2020, section 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def self_similarity(features: Tensor, radius: int = 2) -> Tensor:
    """Correlate every cell with its neighbours in the same picture.

    Args:
        features: L2-normalised features ``(B, C, h, w)``.
        radius: Of the window, in cells.

    Returns:
        Cosines ``(B, (2r+1)², h, w)``, zero beyond the border. Offsets run column by column, as in the authors' code,
        so that their weights fit.
    """
    rows, columns = features.shape[2:]
    padded = F.pad(features, (radius,) * 4)
    steps = range(2 * radius + 1)
    windows = [(padded[:, :, y : y + rows, x : x + columns] * features).sum(1) for x in steps for y in steps]
    return torch.stack(windows, dim=1)


class SelfSimilarity(nn.Module):
    """Describe cells by their self-similarity at growing scales: the window itself and two convolutions over it.

    Args:
        radius: Of the window, in cells.
        channels: Of the two 3×3 convolutions.
        normalised: Give descriptors of norm 1, whose correlations are of the size of the features' and do not drown
            them at the start of training; the authors' are as they come.
    """

    def __init__(self, radius: int = 2, channels: tuple[int, int] = (64, 32), normalised: bool = False) -> None:
        super().__init__()
        self.radius, self.normalised = radius, normalised
        self.first = nn.Conv2d((2 * radius + 1) ** 2, channels[0], 3, padding=1)
        self.second = nn.Conv2d(channels[0], channels[1], 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map L2-normalised features ``(B, C, h, w)`` to descriptors ``(B, 25 + 64 + 32, h, w)``."""
        local = self_similarity(features, self.radius)
        wider = self.first(local).relu()
        descriptors = torch.cat([local, wider, self.second(wider).relu()], dim=1)
        return F.normalize(descriptors, dim=1) if self.normalised else descriptors
