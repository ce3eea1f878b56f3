"""A residual adapter that is trained on frozen features and starts as the identity."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Adapter(nn.Module):
    """Add the output of a small convolutional network to the features that it reads.

    Its last layer is initialised to zero, so that training starts from the unmodified features.

    Args:
        channels: Channels of the features.
        width: Hidden channels.
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
            features: ``(B, C, rows, columns)``, L2-normalised over C, in any floating-point precision; the network
                computes in the precision of its weights.
            dilation: Dilation of the inner convolutions; on a grid twice as fine as in training, 2 keeps their extent
                in the image.

        Returns:
            The same shape, L2-normalised over C.
        """
        scaled = (features * self.scale).to(self.enter.weight.dtype)
        inner = F.relu(self.norms[0](self.enter(scaled)))
        for layer, norm in zip((self.first, self.second), self.norms[1:], strict=True):
            spread = F.conv2d(inner, layer.weight, layer.bias, padding=dilation, dilation=dilation)
            inner = inner + F.relu(norm(spread))
        return F.normalize(features + self.leave(inner).to(features.dtype) / self.scale, dim=1)
