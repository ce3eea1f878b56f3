"""A residual adapter: what training adds to frozen features, beginning at nothing."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 4
"""Of `Attention`."""

_WAVES = 4  # per axis, of the encoding of places


class Attention(nn.Module):
    """Let every cell look at the whole picture: which way the animal faces tells its left ear from its right.

    Self-attention (Vaswani et al., NeurIPS 2017), added to what comes in, beginning at nothing. Cells know where they
    are, from the centre of the picture and in units of its mean side, so that any grid will do.

    Args:
        channels: Channels that come in and go out.
        width: Channels of queries, keys and values, a multiple of `HEADS`.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.place = nn.Conv2d(4 * _WAVES, channels, 1)
        self.look = nn.Conv2d(channels, 3 * width, 1)
        self.see = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.see.weight)
        nn.init.zeros_(self.see.bias)  # type: ignore[arg-type]

    def forward(self, values: Tensor) -> Tensor:
        """Return ``(B, channels, rows, columns)``, the same shape as ``values``."""
        rows, columns = values.shape[2:]
        known = self.norm(values) + self.place(_waves(rows, columns, values))
        looked = self.look(known)  # (B, 3·width, rows, columns)
        heads = looked.reshape(len(looked), 3 * HEADS, -1, rows * columns).transpose(2, 3)  # (…, cells, width / heads)
        query, key, value = heads.chunk(3, dim=1)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(2, 3)
        return values + cast(Tensor, self.see(seen.reshape(len(looked), -1, rows, columns)))


def _waves(rows: int, columns: int, like: Tensor) -> Tensor:
    """Encode where cells are by sines and cosines, ``(1, 4·waves, rows, columns)``."""
    side = math.sqrt(rows * columns)
    found = []
    for count, shape in ((rows, (1, rows, 1)), (columns, (1, 1, columns))):
        places = (torch.arange(count, device=like.device) + 0.5 - count / 2) / side
        angles = places.view(shape) * (math.pi * 2.0 ** torch.arange(_WAVES, device=like.device)).view(-1, 1, 1)
        found += [angles.sin().expand(-1, rows, columns), angles.cos().expand(-1, rows, columns)]
    return torch.cat(found)[None].to(like.dtype)


class Adapter(nn.Module):
    """Correct features by what a small convolutional network reads from them, in the same space.

    Its last layer begins at zero, so that training starts from the untouched features and can only move away from them
    for a reason.

    Args:
        channels: Channels of the features.
        width: Channels inside.
        attention: Channels by which cells look at the whole picture; 0 is none.
    """

    def __init__(self, channels: int, width: int, attention: int = 0) -> None:
        super().__init__()
        self.scale = channels**0.5  # brings the values of L2-normalised features to about one
        self.enter = nn.Conv2d(channels, width, 1)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Conv2d(width, channels, 1)
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(3))
        self.attention = Attention(width, attention) if attention else None
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
        if self.attention is not None:
            inner = self.attention(inner)
        return F.normalize(features + self.leave(inner).to(features.dtype) / self.scale, dim=1)
