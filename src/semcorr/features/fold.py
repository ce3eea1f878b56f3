"""Fold batch normalisation into the preceding convolution: the same features in fewer passes over memory."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-3
"""Largest accepted change of a feature, relative to the largest value of its stage."""


@torch.no_grad()
def fold_batch_norm(network: nn.Module, probe: Tensor, features: list[Tensor]) -> nn.Module:
    """Fold every batch norm that directly follows a convolution.

    A norm is assumed to follow the convolution listed before it in its module. The assumption is checked on an input:
    if any feature changes, the network is returned unchanged.

    Args:
        network: A feature network in evaluation mode that maps ``(1, 3, H, W)`` to a list of feature maps.
        probe: An input.
        features: The network's output for this input.

    Returns:
        A folded copy of the network, or the network itself.
    """
    folded = copy.deepcopy(network)
    if not _fold(folded):
        return network
    unchanged = all(_close(a, b) for a, b in zip(features, folded(probe), strict=True))
    return folded if unchanged else network


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= TOLERANCE * a.abs().max())


def _fold(module: nn.Module) -> int:
    """Fold the norms within ``module`` in place, and return their number."""
    count, convolution = 0, None
    for name, child in list(module.named_children()):
        if isinstance(child, _BatchNorm) and convolution is not None and child.running_mean is not None:
            mean, variance = child.running_mean, child.running_var
            assert variance is not None
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight, convolution.bias, mean, variance, child.eps, child.weight, child.bias
            )
            # timm's norm layers include the activation that follows
            setattr(module, name, nn.Sequential(*(c for c in child.children() if not isinstance(c, nn.Identity))))
            count += 1
        elif not isinstance(child, nn.Conv2d):
            count += _fold(child)
        convolution = child if isinstance(child, nn.Conv2d) else None
    return count
