"""Fine descriptors: early-stage features conditioned on the deep ones.

Deep features say what an object part is, on cells of 16 pixels; an early stage says where its edges are, on cells of 8.
A small network reads both. Matches of the deep features are corrected by comparing fine descriptors around them; see
`semcorr.match.correct`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FineDescriptors(nn.Module):
    """Compute a descriptor for each cell of an early stage.

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
        """Compute fine descriptors.

        Args:
            early: Output of the early stage, ``(B, C', h, w)``.
            deep: Deep features ``(B, C, rows, columns)``, L2-normalised over C, on any grid of the same images.

        Returns:
            ``(B, width, h, w)`` float32, L2-normalised over the channels.
        """
        dtype = self.leave.weight.dtype
        context = self.from_deep((deep * self.scale).to(dtype))
        context = F.interpolate(context, early.shape[2:], mode="bilinear", align_corners=False)
        values = F.relu(self.norms[0](self.from_early(self.norm(early.to(dtype))) + context))
        values = values + F.relu(self.norms[1](self.inner(values)))
        return F.normalize(self.leave(values).float(), dim=1).contiguous()

    def comparison(self) -> tuple[float, float]:
        """Return the sharpness and the spread of `semcorr.match.correct.Correction`."""
        return self.log_sharpness.detach().exp().item(), self.log_spread.detach().exp().item()
