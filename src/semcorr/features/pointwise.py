"""1×1 convolutions as matrix products: PyTorch's convolution is slow for small batches on one thread."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Pointwise(nn.Conv2d):
    """A 1×1 convolution, with the parameters of `torch.nn.Conv2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H, W)``; fastest if channels come last in memory."""
        return F.linear(input.movedim(1, 3), self.weight.flatten(1), self.bias).movedim(3, 1)


def with_pointwise(module: nn.Module) -> nn.Module:
    """Replace all plain 1×1 convolutions within a module, in place; they keep their parameters and names."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d) and _is_pointwise(child):
            pointwise = Pointwise(child.in_channels, child.out_channels, 1, bias=child.bias is not None)
            pointwise.weight, pointwise.bias = child.weight, child.bias
            setattr(module, name, pointwise)
        else:
            with_pointwise(child)
    return module


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.groups == 1 and layer.padding == (0, 0)
