"""The part of a backbone that learns: its later blocks, on what the frozen ones before them made of a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from semcorr.errors import DataError
from semcorr.features import FeatureExtractor, join_stages
from semcorr.features.efficientnet_lite import EfficientNetLite, trainable
from semcorr.features.pointwise import with_pointwise
from semcorr.geometry import Size


def unfrozen(extractor: FeatureExtractor, frozen: int) -> EfficientNetLite:
    """Take over an extractor's network, of which all but the first ``frozen`` groups of blocks shall learn.

    Raises:
        ModelError: If the backbone cannot be trained.
        DataError: If so many blocks leave nothing to learn, or one of the stages behind.
    """
    network = trainable(extractor.network)
    most = min(1 + network.first_stage, len(network.blocks) - 1)
    if frozen > most:
        raise DataError(
            f"frozen_blocks must be {most} at most for the stages that the features are of; got {frozen}: later blocks "
            "would be without the first of them, or nothing would learn"
        )
    with_pointwise(network)
    network.blocks[frozen:].requires_grad_(True)
    return network


def later_features(network: EfficientNetLite, frozen: int, stem: Tensor, grid: Size) -> Tensor:
    """Return the features ``(1, C, rows, columns)`` of what the frozen blocks made of a picture, ``(C', h', w')``."""
    with torch.autocast(stem.device.type, enabled=False):  # depthwise gradients in bfloat16 take thrice the time
        values = stem[None].contiguous(memory_format=torch.channels_last)
        return join_stages(network.later_stages(values, frozen), grid)
