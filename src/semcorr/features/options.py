"""Options of feature extraction: the backbone, its stages, the image size and the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from semcorr.geometry import Size, grid_for

Precision = Literal["float32", "bfloat16"]
"""Precision that a network computes in; its features are float32 in both cases."""


@dataclass(frozen=True)
class FeatureOptions:
    """Options of feature extraction.

    Attributes:
        backbone: A timm model name, for example ``"tf_efficientnet_lite0"``, ``"resnet101.tv_in1k"`` or
            ``"vit_base_patch14_dinov2"``.
        stages: Indices of the stages to use (timm's ``out_indices``); negative ones count from the last. None uses the
            last stage of stride 16 and the last of stride 32, or the very last if the backbone has neither.
        image_size: Images are resized to about ``image_size²`` pixels for the network, keeping their aspect ratio.
        grid: Feature maps have about ``grid²`` cells.
        weights: ``"auto"`` uses the weights in the package if it has them, and downloads timm's otherwise;
            ``"random"`` leaves the backbone untrained; any other value is the path of a safetensors file with timm's
            tensor names.

    Raises:
        ValueError: If ``image_size`` is not 32 to 4096, ``grid`` not 2 to 512, or ``stages`` not whole numbers.
    """

    backbone: str = "tf_efficientnet_lite0"
    stages: tuple[int, ...] | None = None
    image_size: int = 400
    grid: int = 25
    weights: str = "auto"

    def __post_init__(self) -> None:
        for name, low, high in (("image_size", 32, 4096), ("grid", 2, 512)):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}; got {value!r}")
        if (stages := self.stages) is not None and not (
            isinstance(stages, Sequence) and stages and all(isinstance(stage, int) for stage in stages)
        ):
            raise ValueError(f"stages must be one or more whole numbers, or None; got {stages!r}")


def scaled(options: FeatureOptions, factor: float) -> FeatureOptions:
    """Return options whose input size and grid are enlarged by a factor."""
    return replace(options, image_size=round(factor * options.image_size), grid=round(factor * options.grid))


def network_size(image_size: Size, side: int, stride: int) -> Size:
    """Return the height and width in pixels of a network's input: about ``side²`` pixels, in whole strides."""
    rows, columns = grid_for(image_size, max(1, round(side / stride)))
    return rows * stride, columns * stride
