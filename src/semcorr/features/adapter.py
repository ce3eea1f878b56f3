"""A residual adapter: what training adds to frozen features, beginning at nothing."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Adapter(nn.Module):
    """Correct features by what a small convolutional network reads from them, in the same space.

    Its last layer begins at zero, so that training starts from the untouched features and can only move away from them
    for a reason.

    Args:
        channels: Channels of the features.
        width: Channels inside.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.scale = channels**0.5  # brings the values of L2-normalised features to about one
        self.enter = nn.Conv2d(channels, width, 1)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, channels, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(3))
        nn.init.zeros_(self.leave.weight)
        if self.leave.bias is not None:
            nn.init.zeros_(self.leave.bias)

    def forward(self, features: Tensor, dilation: int = 1) -> Tensor:
        """Adapt features.

        Args:
            features: ``(B, C, rows, columns)``, L2-normalised over C; what corrects them is computed in the precision
                of the weights.
            dilation: Spacing of the cells that the inner convolutions see: on a grid twice as fine as that of the
                training, two keeps their extent in the picture.

        Returns:
            The same shape, L2-normalised over C.
        """
        scaled = (features * self.scale).to(self.enter.weight.dtype)
        inner = F.relu(self.norms[0](self.enter(scaled)))
        for layer, norm in zip((self.first, self.second), self.norms[1:], strict=True):
            spread = F.conv2d(inner, layer.weight, layer.bias, padding=dilation, dilation=dilation)
            inner = inner + F.relu(norm(spread))
        return F.normalize(features + self.leave(inner).to(features.dtype) / self.scale, dim=1)
