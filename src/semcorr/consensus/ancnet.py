"""The consensus network of ANC-Net: a first layer of two kernel shapes, and symmetry stage by stage.

Li et al., Correspondence Networks with Adaptive Neighbourhood Consensus, CVPR 2020, section 3.3: kernels that reach
less far in one picture than in the other follow objects of different sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semcorr.consensus.ncnet import convolution_stack, symmetric


class AdaptiveConsensus(nn.Module):
    """Judge every correspondence by neighbourhoods of two shapes.

    Args:
        small: Kernel size in the source of the first layer's non-isotropic half.
        large: Every other kernel size.
        channels: After the first layer, half of them from each shape, and after the second.

    Raises:
        ValueError: If ``channels`` is odd or a kernel size even.
    """

    def __init__(self, small: int = 3, large: int = 5, channels: int = 16) -> None:
        super().__init__()
        if channels < 2 or channels % 2:
            raise ValueError(f"channels must be even, 2 or more; got {channels}")
        full = (large,) * 4
        self.unequal = convolution_stack((1, channels // 2), [(small, small, large, large)])
        self.equal = convolution_stack((1, channels // 2), [full])
        self.rest = convolution_stack((channels, channels, 1), [full, full])

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, 1, hs, ws, ht, wt)`` to the same shape, never negative."""
        first = torch.cat([symmetric(self.unequal, maps), symmetric(self.equal, maps)], dim=1)
        return symmetric(self.rest, first)
