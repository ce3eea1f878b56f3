"""Fine descriptors: an early stage of the backbone told by the deep features what it looks at.

The deep features know what a place is, on cells of 16 pixels; an early stage knows where its edges are, on cells of 8.
A small network reads both. Matches on the deep features are then corrected by comparing fine descriptors around them;
see `semcorr.refinement`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.geometry import cells_to_sampling
from semcorr.refinement import RADIUS, Refinement

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

    def refinement(self) -> Refinement:
        """Return how the descriptors are compared."""
        return Refinement(self.log_sharpness.detach().exp().item(), self.log_spread.detach().exp().item())

    def score_around(self, source: Tensor, target: Tensor, points: Tensor, matches: Tensor) -> tuple[Tensor, Tensor]:
        """Score the fine cells around matches, as `semcorr.refinement.refine` does, with gradients.

        Args:
            source: Descriptors ``(width, h, w)``.
            target: Descriptors ``(width, h', w')``.
            points: ``(N, 2)`` (x, y) in cell coordinates of the source's descriptors.
            matches: ``(N, 2)`` in those of the target's.

        Returns:
            Log-probabilities ``(N, cells)`` up to a constant, -inf outside the picture, and where the cells are,
            ``(N, cells, 2)`` (x, y) in cell coordinates of the target's descriptors.
        """
        places = cells_to_sampling(points, (source.shape[1], source.shape[2]))[None, None]
        read = F.grid_sample(source[None], places, align_corners=False, padding_mode="border")
        height, width = target.shape[1:]
        steps = torch.arange(-RADIUS, RADIUS + 1, device=target.device)
        dy, dx = torch.cartesian_prod(steps, steps).T
        cells = matches.round()[:, None] + torch.stack([dx, dy], dim=1)  # (N, cells, 2)
        x, y = cells.unbind(2)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
        around = target.flatten(1).T[index]  # (N, cells, channels)
        cosines = (around * F.normalize(read[0, :, 0].T, dim=1)[:, None]).sum(2)
        away = (cells - matches[:, None]).square().sum(2)
        logits = self.log_sharpness.exp() * cosines - away / (2 * self.log_spread.exp() ** 2)
        return logits.masked_fill(~inside, -torch.inf), cells
