"""Tuned features joined with untouched ones: what training taught the backbone, beside what it knew before.

Training with keypoints makes features precise on things like those that have keypoints, and blurs them on all others.
Neither half is given up: a picture is described by its tuned features with one share of the norm² and by those of the
backbone as it was before training with the rest. Each picture sets its own share, from its mean untouched features, so
that it is encoded once and matched with any other. Between pictures of shares a and b the cosine is
√(ab) · cosine of the tuned + √((1-a)(1-b)) · cosine of the untouched features.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from semcorr.features.architecture import EARLY_BLOCKS
from semcorr.features.efficientnet_lite import EfficientNetLite


class Gate(nn.Module):
    """Set the share of the tuned features in a picture's norm².

    Args:
        channels: Channels of the untouched features.
        least: Share for pictures that are nothing like those with keypoints.
        most: Share for pictures like those with keypoints.

    Raises:
        ValueError: If the shares are not 0 ≤ least ≤ most ≤ 1.
    """

    def __init__(self, channels: int, least: float, most: float) -> None:
        super().__init__()
        if not 0 <= least <= most <= 1:
            raise ValueError(f"shares must be 0 ≤ least ≤ most ≤ 1; got {least} and {most}")
        self.least, self.most = least, most
        self.familiar = nn.Linear(channels, 1)

    def forward(self, untouched: Tensor) -> Tensor:
        """Read untouched features ``(B, C, rows, columns)``; return shares ``(B, 1, 1, 1)`` float32."""
        familiar: Tensor = self.familiar(untouched.float().mean(dim=(2, 3))).sigmoid()
        return (self.least + (self.most - self.least) * familiar)[:, :, None, None]


class Untouched(NamedTuple):
    """What a model with joined features was built from.

    Attributes:
        weights: The backbone's later blocks before training, batch norms folded, with the names of the whole backbone.
        gate: Sets each picture's share.
    """

    weights: dict[str, Tensor]
    gate: Gate


def later_blocks(network: EfficientNetLite, weights: dict[str, Tensor]) -> EfficientNetLite:
    """Return a copy of a network whose blocks behind the early ones have other weights; the early ones are left out.

    Raises:
        RuntimeError: If the weights do not fit.
    """
    other = copy.deepcopy(network)
    other.conv_stem = other.bn1 = cast(nn.Conv2d, nn.Identity())  # type: ignore[assignment]
    for index in range(EARLY_BLOCKS):
        other.blocks[index] = nn.Identity()
    other.load_state_dict(weights)
    return other


def join_features(tuned: Tensor, untouched: Tensor, share: Tensor | float) -> Tensor:
    """Join features of the same cells, ``(B, C, rows, columns)`` each, L2-normalised over C.

    Args:
        tuned: What training made of the backbone.
        untouched: The backbone's own.
        share: Of the tuned features in the norm², 0…1, for all or ``(B, 1, 1, 1)``.

    Returns:
        ``(B, 2·C, rows, columns)``, L2-normalised over the channels, the tuned ones first.
    """
    shares = torch.as_tensor(share, dtype=tuned.dtype, device=tuned.device)
    return torch.cat([shares.sqrt() * tuned, (1 - shares).sqrt() * untouched], dim=1)
