"""The part of a backbone that is trained: its later blocks, applied to the stored output of the frozen ones."""

from __future__ import annotations

import torch
from torch import Tensor

from semcorr.errors import DataError
from semcorr.features import FeatureExtractor, join_stages
from semcorr.features.efficientnet_lite import EfficientNetLite, trainable
from semcorr.features.pointwise import with_pointwise
from semcorr.geometry import Size


def unfreeze(extractor: FeatureExtractor, frozen: int) -> EfficientNetLite:
    """Take over an extractor's network, and let all but the first ``frozen`` groups of blocks learn.

    Raises:
        ModelError: If the backbone cannot be trained.
        DataError: If so many frozen blocks leave nothing to train, or include one of the stages in use.
    """
    network = trainable(extractor.network)
    most = min(1 + network.first_stage, len(network.blocks) - 1)
    if frozen > most:
        raise DataError(
            f"frozen_blocks must be {most} at most for the stages that the features use; got {frozen}: the later "
            "blocks would lack the first of these stages, or nothing would learn"
        )
    with_pointwise(network)
    network.blocks[frozen:].requires_grad_(True)
    return network


def later_features(network: EfficientNetLite, frozen: int, stem: Tensor, grid: Size) -> Tensor:
    """Return the features ``(1, C, rows, columns)`` of a picture from the output of its frozen blocks.

    Args:
        network: The backbone.
        frozen: Number of frozen groups of blocks.
        stem: Their output, ``(C', h', w')``.
        grid: Rows and columns of the features.
    """
    with torch.autocast(stem.device.type, enabled=False):  # depthwise gradients take three times as long in bfloat16
        values = stem[None].contiguous(memory_format=torch.channels_last)
        return join_stages(network.later_stages(values, frozen), grid)
