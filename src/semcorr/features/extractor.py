"""Any timm backbone as a feature extractor: its chosen stages, L2-normalised and concatenated on a chosen grid."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from semcorr.features.adapter import Adapter
from semcorr.features.architecture import EARLY_BLOCKS
from semcorr.features.efficientnet_lite import EfficientNetLite, trainable
from semcorr.features.feature_map import FeatureMap
from semcorr.features.fine import FineDescriptors
from semcorr.features.options import FeatureOptions, Precision, network_size, scaled
from semcorr.features.timm_backbones import (
    build_network,
    is_nhwc,
    load_tuned,
    normalisation,
    probe_network,
    stage_info,
)
from semcorr.features.untouched import Untouched, join_features, later_blocks
from semcorr.geometry import Size, grid_for
from semcorr.image import to_tensor


class FeatureExtractor(nn.Module):
    """Compute feature maps of images.

    Args:
        options: The backbone, its stages, its weights and the grid.
        adapter: Adapter that was trained on these stages of this backbone.
        trained_grid: Cells along each side of the grid that the adapter was trained on.
        tuned: Weights of the backbone that was trained with the adapter, batch norms folded; replace those of the
            options.
        fine: Network that computes fine descriptors from an early stage of an EfficientNet-Lite.
        untouched: Later blocks of an EfficientNet-Lite, whose features are joined with the adapted ones.
        precision: Precision of the backbone, the adapter and the fine descriptors. ``"bfloat16"`` takes about half the
            time on processors with instructions for it (AVX-512 BF16, AMX, Arm BF16), and longer on others.

    Attributes:
        channels: Number of channels of the backbone's stages.
        width: Number of channels C of the features; twice as many where untouched features are joined.
        key: Hashable; equal for extractors that compute the same features, in other processes too.

    Raises:
        ModelError: If timm does not know the backbone, if it lacks a stage or accepts images of one size only, or if
            its weights cannot be downloaded or do not fit.
        ValueError: If ``precision`` is unknown.
    """

    def __init__(
        self,
        options: FeatureOptions,
        adapter: Adapter | None = None,
        trained_grid: int = 25,
        tuned: dict[str, Tensor] | None = None,
        precision: Precision = "float32",
        fine: FineDescriptors | None = None,
        untouched: Untouched | None = None,
    ) -> None:
        super().__init__()
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be {' or '.join(map(repr, get_args(Precision)))}; got {precision!r}")
        self.options, self.trained_grid, self.precision = options, trained_grid, precision
        self._dtype = getattr(torch, precision)
        start = options if tuned is None else replace(options, weights="random")
        network = build_network(start)
        parts = {"backbone": network.state_dict() if tuned is None else tuned}
        parts |= {name: part.state_dict() for name, part in (("adapter", adapter), ("fine", fine)) if part is not None}
        parts |= {} if untouched is None else {"untouched": untouched.weights, "gate": untouched.gate.state_dict()}
        adapted_from = None if adapter is None else trained_grid
        self.key: Hashable = (replace(options, weights=""), adapted_from, precision, _fingerprint(parts))
        network, self.stride = probe_network(network, options)
        if tuned is not None:
            load_tuned(network, tuned, options.backbone)
        self.network = network.to(self._dtype).to(memory_format=torch.channels_last)
        self.adapter, self.fine = adapter and adapter.to(self._dtype), fine and fine.to(self._dtype)
        self.channels = self.width = sum(stage_info(network).channels())
        self.early_channels = (
            stage_info(network).info[EARLY_BLOCKS - 1]["num_chs"] if isinstance(network, EfficientNetLite) else 0
        )
        self.untouched, self.gate = None, untouched and untouched.gate
        if untouched is not None:
            self.untouched = later_blocks(trainable(self.network), untouched.weights).to(self._dtype)
            self.width = 2 * self.channels
        for name, value in zip(("mean", "std"), normalisation(options.backbone), strict=True):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def input_size(self, image_size: Size) -> Size:
        """Return the height and width in pixels that an image is resized to: whole cells of the finest stage."""
        return network_size(image_size, self.options.image_size, self.stride)

    def grid(self, image_size: Size) -> Size:
        """Return the rows and columns of the feature map of an image."""
        return grid_for(image_size, self.options.grid)

    def forward(self, images: Tensor, grid: Size | None = None) -> Tensor:
        """Compute features.

        Args:
            images: ``(B, 3, H, W)`` float32 in 0…1, with H and W from `input_size`.
            grid: Rows and columns of the feature map; None uses the grid of the finest stage.

        Returns:
            ``(B, C, rows, columns)`` float32, L2-normalised over C; without an adapter, all stages have the same norm.
        """
        return self.describe(images, grid)[0]

    def describe(self, images: Tensor, grid: Size | None = None) -> tuple[Tensor, Tensor | None]:
        """Compute features as `forward` does, and fine descriptors ``(B, D, h, w)`` if the model has them."""
        with any_size(self.network, self.device):
            return self._describe(images, grid)

    def _describe(self, images: Tensor, grid: Size | None) -> tuple[Tensor, Tensor | None]:
        pixels = self.normalised(images)
        if self.fine is None and self.untouched is None:
            early, stages = None, self.network(pixels)
        else:
            early = trainable(self.network).stem(pixels, EARLY_BLOCKS)
            stages = trainable(self.network).later_stages(early, EARLY_BLOCKS)
        if is_nhwc(self.network):
            stages = [stage.movedim(3, 1) for stage in stages]
        grid = grid or max((stage.shape[2], stage.shape[3]) for stage in stages)
        features = join_stages(stages, grid)
        if self.adapter is not None:
            features = self.adapter(features, max(1, round(math.sqrt(math.prod(grid)) / self.trained_grid)))
        fine = None if early is None or self.fine is None else self.fine(early, features)
        if early is None or self.untouched is None or self.gate is None:
            return features, fine
        untouched = join_stages(self.untouched.later_stages(early, EARLY_BLOCKS), grid)
        return join_features(features, untouched, self.gate(untouched)), fine

    def normalised(self, images: Tensor) -> Tensor:
        """Return images ``(B, 3, h, w)``, 0…1, as the network takes them."""
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        return ((images - mean) / std).to(self._dtype).contiguous(memory_format=torch.channels_last)

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """Return an image ``(H, W, 3)`` uint8 as the network takes it: resized and normalised, ``(1, 3, h, w)``."""
        pixels = to_tensor(image, self.input_size((image.shape[0], image.shape[1])))[None]
        return self.normalised(pixels.to(self.device))

    def scaled(self, factor: float) -> FeatureExtractor:
        """Return this extractor with input size and grid enlarged by a factor; networks and `key` are shared."""
        other = copy.copy(self)
        other.options = scaled(self.options, factor)
        return other

    def comparison(self) -> tuple[float, float] | None:
        """Return how fine descriptors are compared, as `FineDescriptors.comparison` does; None if there are none."""
        return None if self.fine is None else self.fine.comparison()

    @property
    def device(self) -> torch.device:
        """Device that features are computed on."""
        return cast(Tensor, self.mean).device

    @torch.inference_mode()
    def encode(self, images: list[NDArray[np.uint8]]) -> FeatureMap:
        """Compute the features of a batch of images.

        Args:
            images: ``(H, W, 3)`` uint8 arrays with the same `input_size` and the same `grid`, such as images of one
                size.

        Returns:
            Their feature map, on the device of the network.

        Raises:
            ValueError: If the input sizes or the grids differ.
        """
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        if len({(self.input_size(size), self.grid(size)) for size in sizes}) != 1:
            raise ValueError(f"images of one batch need the same input size and grid; got images of sizes {sizes}")
        grid, size = self.grid(sizes[0]), self.input_size(sizes[0])
        batch = torch.stack([to_tensor(image, size) for image in images]).to(self.device)
        # more images at once than threads gain nothing, and allocating their memory takes time
        at_once = torch.get_num_threads() if self.device.type == "cpu" else len(images)
        parts = [self.describe(part, grid) for part in torch.split(batch, at_once)]
        fine = [part for _, part in parts if part is not None]
        return FeatureMap(torch.cat([part for part, _ in parts]), tuple(sizes), torch.cat(fine) if fine else None)


def any_size(network: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which images of a new size are computed without delay.

    On a GPU, it disables cuDNN for networks with depthwise convolutions, which cuDNN compiles again for every size.
    """
    depthwise = any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in network.modules())
    return torch.backends.cudnn.flags(enabled=False) if depthwise and device.type == "cuda" else nullcontext()


def _fingerprint(parts: dict[str, dict[str, Tensor]]) -> str:
    """Return a checksum of tensors and their names."""
    digest = hashlib.sha256()
    for part, tensors in sorted(parts.items()):
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat: Any = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()
            digest.update(flat)
    return digest.hexdigest()


def join_stages(stages: Sequence[Tensor], grid: Size) -> Tensor:
    """Resize the stages of a network to one grid, L2-normalise each, and concatenate them.

    Args:
        stages: Tensors ``(B, C', h', w')``, floating point.
        grid: Rows and columns of the result.

    Returns:
        ``(B, C, rows, columns)`` float32, L2-normalised over C.
    """
    joined = torch.cat([_to_grid(F.normalize(stage.float(), dim=1), grid) for stage in stages], dim=1)
    return F.normalize(joined, dim=1).contiguous()


def _to_grid(stage: Tensor, grid: Size) -> Tensor:
    if stage.shape[2:] == grid:
        return stage
    finer = stage.shape[2] > grid[0]
    resized = F.interpolate(stage, grid, mode="bilinear", align_corners=False, antialias=finer)
    return F.normalize(resized, dim=1)
