"""Fine descriptors: an early stage of the backbone told by the deep features what it looks at.

The deep features know what a place is, on cells of 16 pixels; an early stage knows where its edges are, on cells of 8.
A small network reads both. Matches on the deep features are then corrected by comparing fine descriptors around them;
see `semcorr.match.refine`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EARLY_BLOCKS = 3
"""Groups of blocks of EfficientNet-Lite that the early stage has passed: stride 8."""


class FineDescriptors(nn.Module):
    """Describe the cells of an early stage.

    Args:
        early: Channels of the early stage.
        deep: Channels of the deep features.
        width: Channels of the descriptors.
    """

    def __init__(self, early: int, deep: int, width: int) -> None:
        super().__init__()
        self.scale = deep**0.5  # brings the values of L2-normalised features to about one
        self.norm = nn.GroupNorm(1, early)
        self.from_early = nn.Conv2d(early, width, 3, padding=1)
        self.from_deep = nn.Conv2d(deep, width, 1)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, width, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(2))
        self.log_sharpness = nn.Parameter(torch.tensor(2.3))
        self.log_spread = nn.Parameter(torch.tensor(math.log(1.5)))

    def forward(self, early: Tensor, deep: Tensor) -> Tensor:
        """Describe.

        Args:
            early: ``(B, C', h, w)``, as the backbone gives it.
            deep: ``(B, C, rows, columns)``, L2-normalised over C, on any grid of the same pictures.

        Returns:
            ``(B, width, h, w)`` float32, L2-normalised over the channels.
        """
        dtype = self.leave.weight.dtype
        told = self.from_deep((deep * self.scale).to(dtype))
        told = F.interpolate(told, early.shape[2:], mode="bilinear", align_corners=False)
        values = F.relu(self.norms[0](self.from_early(self.norm(early.to(dtype))) + told))
        values = values + F.relu(self.norms[1](self.inner(values)))
        return F.normalize(self.leave(values).float(), dim=1).contiguous()

    def comparison(self) -> tuple[float, float]:
        """Return how descriptors are compared: sharpness and spread, as `semcorr.match.refine.Refinement` has them."""
        return self.log_sharpness.detach().exp().item(), self.log_spread.detach().exp().item()
