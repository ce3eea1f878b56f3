"""Any timm backbone as a feature extractor: chosen stages, each L2-normalised, joined on a chosen grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from semcorr.errors import ModelError, did_you_mean
from semcorr.features.feature_map import FeatureMap
from semcorr.features.fold import fold_batch_norm
from semcorr.geometry import Size, grid_for
from semcorr.image import to_tensor
from semcorr.weights import BACKBONES


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


class FeatureExtractor(nn.Module):
    """Turn pictures into feature maps.

    Args:
        options: Which backbone, which stages, which grid.

    Raises:
        ModelError: If timm does not know the backbone, or its weights cannot be had.
    """

    def __init__(self, options: FeatureOptions) -> None:
        super().__init__()
        self.options = options
        network, self.reductions = _build(options)
        self.network = fold_batch_norm(network.eval()).to(memory_format=torch.channels_last)
        for name, value in zip(("mean", "std"), _normalisation(options.backbone), strict=True):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def input_size(self, image_size: Size) -> Size:
        """Return height and width in pixels at which the network sees a picture: whole cells of its finest stage."""
        stride = min(self.reductions)
        rows, columns = grid_for(image_size, max(1, round(self.options.image_size / stride)))
        return rows * stride, columns * stride

    def forward(self, images: Tensor, grid: Size) -> Tensor:
        """Compute features.

        Args:
            images: ``(B, 3, H, W)`` float32 in 0…1, with H and W from `input_size`.
            grid: Rows and columns of the wanted feature map.

        Returns:
            ``(B, C, rows, columns)`` float32, L2-normalised over C; each stage has the same share of the norm.
        """
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        pixels = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        stages = [F.normalize(stage.float(), dim=1) for stage in self.network(pixels)]
        joined = torch.cat([_to_grid(stage, grid) for stage in stages], dim=1)
        return F.normalize(joined, dim=1).contiguous()

    @torch.inference_mode()
    def encode(self, images: list[NDArray[np.uint8]]) -> FeatureMap:
        """Compute the features of pictures that have the same network size.

        Args:
            images: ``(H, W, 3)`` uint8 arrays whose `input_size` is the same, such as one picture, or several of one
                size.

        Returns:
            Their feature map, on the device of the network.

        Raises:
            ValueError: If the network sizes differ.
        """
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        if len({self.input_size(size) for size in sizes}) != 1:
            raise ValueError(f"pictures of one batch need the same network size; got pictures of {sizes}")
        batch = torch.stack([to_tensor(image, self.input_size(sizes[0])) for image in images])
        mean = cast(Tensor, self.mean)
        return FeatureMap(self(batch.to(mean.device), grid_for(sizes[0], self.options.grid)), tuple(sizes))


def _to_grid(stage: Tensor, grid: Size) -> Tensor:
    if stage.shape[2:] == grid:
        return stage
    finer = stage.shape[2] > grid[0]
    resized = F.interpolate(stage, grid, mode="bilinear", align_corners=False, antialias=finer)
    return F.normalize(resized, dim=1)


def _build(options: FeatureOptions) -> tuple[nn.Module, list[int]]:
    """Create the timm network cut down to the stages that are used, with its weights, and their strides."""
    import timm

    name = options.backbone
    architecture = name.split(".")[0]
    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, timm.list_models())
        raise ModelError(f"unknown backbone {name!r}{hint}; timm.list_models() lists all")
    embedded = BACKBONES.get(architecture) if options.weights == "auto" else None
    keywords: dict[str, Any] = {"pretrained": options.weights != "random" and embedded is None}
    if options.weights not in ("auto", "random"):
        if not Path(options.weights).is_file():
            raise ModelError(f"no backbone weights at {options.weights}: give the path of a safetensors file")
        keywords["pretrained_cfg_overlay"] = {"file": options.weights}
    try:
        keywords["out_indices"] = options.stages if options.stages is not None else _default_stages(name)
        network = _create(name, **keywords)
    except Exception as error:  # timm, its hub and safetensors raise many kinds; all mean the same to the user
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(
            f"backbone {name!r} cannot be built: {reason} — with no network, hand its weights in as a safetensors file"
        ) from error
    if embedded is not None:
        tensors = {key: value.float() for key, value in embedded.load().tensors.items()}
        missing = network.load_state_dict(tensors, strict=False).missing_keys
        if missing := [key for key in missing if not key.endswith("num_batches_tracked")]:
            raise ModelError(f"stages {keywords['out_indices']} of {name!r} need weights that the package leaves out")
    strides = [int(stride) for stride in network.feature_info.reduction()]
    return network, strides


def _create(name: str, **keywords: Any) -> Any:
    """Create a timm feature network; vision transformers are told to take any picture size."""
    import timm

    try:
        return timm.create_model(name, features_only=True, dynamic_img_size=True, **keywords)
    except TypeError:  # not a vision transformer: it takes any size as it is
        return timm.create_model(name, features_only=True, **keywords)


def _default_stages(name: str) -> tuple[int, ...]:
    """Choose the last stage of stride 16 and the last of stride 32, or the very last where there are none."""
    with torch.device("meta"):
        strides = _create(name, pretrained=False).feature_info.reduction()
    last = {stride: index for index, stride in enumerate(strides)}
    return tuple(last[stride] for stride in (16, 32) if stride in last) or (-1,)


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation of the pixels that the backbone's weights were trained with."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return (config.mean, config.std) if config is not None else ((0.5,) * 3, (0.5,) * 3)
