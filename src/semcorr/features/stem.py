"""A backbone in two parts: the stem, which stays as it is and is computed once, and the later blocks, which learn."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from semcorr.errors import ModelError


def stem_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of a timm feature network.

    Raises:
        ModelError: If it does not consist of a first convolution and blocks, as EfficientNet and MobileNet do.
    """
    blocks = getattr(network, "blocks", None)
    if not (isinstance(blocks, nn.Sequential) and hasattr(network, "conv_stem") and hasattr(network, "_stage_out_idx")):
        raise ModelError(
            f"{type(network).__name__} cannot be trained: only EfficientNet and MobileNet backbones can; "
            "set frozen_blocks to null to train on its frozen features"
        )
    return list(blocks)


def stem(network: nn.Module, pixels: Tensor, blocks: int) -> Tensor:
    """Compute the first convolution and so many blocks of a network.

    Args:
        network: A feature network of blocks.
        pixels: ``(B, 3, H, W)``, normalised.
        blocks: How many.
    """
    parts: Any = network
    values: Tensor = parts.bn1(parts.conv_stem(pixels))
    for block in stem_blocks(network)[:blocks]:
        values = block(values)
    return values


def later_stages(network: nn.Module, values: Tensor, blocks: int) -> list[Tensor]:
    """Compute the rest of the network, and return the stages that it is cut down to.

    Args:
        network: A feature network of blocks.
        values: What `stem` returned for as many blocks.
        blocks: How many blocks are done.
    """
    wanted: Any = network._stage_out_idx
    stages = []
    for number, block in enumerate(stem_blocks(network)[blocks:], start=blocks + 1):
        values = block(values)
        if number in wanted:
            stages.append(values)
    return stages
