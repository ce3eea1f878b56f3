"""Which features: the backbone, its stages, the size of the pictures and of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "bfloat16"]
"""What a network computes in; its features are float32 either way."""


@dataclass(frozen=True)
class FeatureOptions:
    """How features are made.

    Attributes:
        backbone: A timm model name, for example ``"tf_efficientnet_lite0"``, ``"resnet101.tv_in1k"`` or
            ``"vit_base_patch14_dinov2"``.
        stages: timm's indices of the stages that are used (``out_indices``); negative ones count from the last.
            None takes every stage of stride 16 and of stride 32, or the last of a backbone that has neither.
        image_size: The network sees each picture with about ``image_size²`` pixels, its aspect ratio kept.
        grid: The picture gets about ``grid²`` cells.
        weights: ``"auto"`` takes those inside the package if there are any, else timm's; ``"random"`` leaves the
            backbone untrained; anything else is the path of a safetensors file with timm's names.
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
            raise ValueError(f"stages must be whole numbers, one or more, or None; got {stages!r}")
