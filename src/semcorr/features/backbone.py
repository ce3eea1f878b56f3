"""Any timm backbone as a feature extractor: chosen stages, each L2-normalised, joined on a chosen grid."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from semcorr.errors import ModelError, did_you_mean
from semcorr.features import efficientnet_lite
from semcorr.features.adapter import Adapter
from semcorr.features.efficientnet_lite import EfficientNetLite, trainable
from semcorr.features.feature_map import FeatureMap
from semcorr.features.fine import EARLY_BLOCKS, FineDescriptors
from semcorr.features.fold import fold_batch_norm
from semcorr.geometry import Size, grid_for
from semcorr.image import to_tensor
from semcorr.weights import BACKBONES, read_weights

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


class FeatureExtractor(nn.Module):
    """Turn pictures into feature maps.

    Args:
        options: Which backbone, which stages, which grid.
        adapter: Changes the features; it was trained on those of this backbone and these stages.
        trained_grid: Cells to a side of the grid that the adapter was trained on.
        tuned: Weights of the backbone that was trained with the adapter, batch norms folded, in place of the options'.
        fine: Makes fine descriptors of an early stage of an EfficientNet-Lite.
        precision: What backbone and adapter compute in. ``"bfloat16"`` takes about half the time where the processor
            has instructions for it (AVX-512 BF16, AMX, ARM's BF16), and more where not.

    Attributes:
        channels: Number of channels C of the features.
        key: Equal for extractors that give the same features of the same picture.

    Raises:
        ModelError: If timm does not know the backbone, or it has no such stages, or takes pictures of one size only,
            or its weights cannot be had or do not fit.
        ValueError: If the precision is no such name.
    """

    def __init__(
        self,
        options: FeatureOptions,
        adapter: Adapter | None = None,
        trained_grid: int = 25,
        tuned: dict[str, Tensor] | None = None,
        precision: Precision = "float32",
        fine: FineDescriptors | None = None,
    ) -> None:
        super().__init__()
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be {' or '.join(map(repr, get_args(Precision)))}; got {precision!r}")
        self.options, self.trained_grid, self.precision = options, trained_grid, precision
        own = None if adapter is None and tuned is None else object()  # features that no other extractor computes
        self.key: Hashable = (options, precision, own)
        self._dtype = getattr(torch, precision)
        start = options if tuned is None else replace(options, weights="random")
        network, self.stride = _try_out(_build(start), options)
        if tuned is not None:
            _put_in_tuned(network, tuned, options.backbone)
        self.network = network.to(self._dtype).to(memory_format=torch.channels_last)
        self.adapter, self.fine = adapter and adapter.to(self._dtype), fine and fine.to(self._dtype)
        self.channels = sum(_info(network).channels())
        self.early_channels = (
            _info(network).info[EARLY_BLOCKS - 1]["num_chs"] if isinstance(network, EfficientNetLite) else 0
        )
        for name, value in zip(("mean", "std"), _normalisation(options.backbone), strict=True):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def input_size(self, image_size: Size) -> Size:
        """Return height and width in pixels at which the network sees a picture: whole cells of its finest stage."""
        return _input_size(image_size, self.options.image_size, self.stride)

    def grid(self, image_size: Size) -> Size:
        """Return rows and columns of the feature map of a picture."""
        return grid_for(image_size, self.options.grid)

    def forward(self, images: Tensor, grid: Size | None = None) -> Tensor:
        """Compute features.

        Args:
            images: ``(B, 3, H, W)`` float32 in 0…1, with H and W from `input_size`.
            grid: Rows and columns of the wanted feature map; None is the network's own, of its finest stage.

        Returns:
            ``(B, C, rows, columns)`` float32, L2-normalised over C; each stage has the same share of the norm.
        """
        return self.describe(images, grid)[0]

    def describe(self, images: Tensor, grid: Size | None = None) -> tuple[Tensor, Tensor | None]:
        """Do as `forward`, and make the fine descriptors ``(B, D, h, w)`` too, if there are any."""
        pixels = self._normalised(images)
        if self.fine is None:
            early, stages = None, self.network(pixels)
        else:
            early = trainable(self.network).stem(pixels, EARLY_BLOCKS)
            stages = trainable(self.network).later_stages(early, EARLY_BLOCKS)
        if _is_nhwc(self.network):
            stages = [stage.movedim(3, 1) for stage in stages]
        grid = grid or max((stage.shape[2], stage.shape[3]) for stage in stages)
        features = join_stages(stages, grid)
        if self.adapter is not None:
            features = self.adapter(features, max(1, round(math.sqrt(math.prod(grid)) / self.trained_grid)))
        return features, None if early is None or self.fine is None else self.fine(early, features)

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = cast(Tensor, self.mean), cast(Tensor, self.std)
        return ((images - mean) / std).to(self._dtype).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def stem(self, image: NDArray[np.uint8], blocks: int) -> Tensor:
        """Compute the first blocks of the network on one picture ``(H, W, 3)``: ``(C', h', w')``."""
        pixels = to_tensor(image, self.input_size((image.shape[0], image.shape[1])))[None]
        return trainable(self.network).stem(self._normalised(pixels.to(self.device)), blocks)[0]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return cast(Tensor, self.mean).device

    @torch.inference_mode()
    def encode(self, images: list[NDArray[np.uint8]]) -> FeatureMap:
        """Compute the features of pictures that have the same network size and the same grid.

        Args:
            images: ``(H, W, 3)`` uint8 arrays whose `input_size` and `grid` are the same, such as one picture, or
                several of one size.

        Returns:
            Their feature map, on the device of the network.

        Raises:
            ValueError: If the network sizes or the grids differ.
        """
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        if len({(self.input_size(size), self.grid(size)) for size in sizes}) != 1:
            raise ValueError(f"pictures of one batch need the same network size and grid; got pictures of {sizes}")
        grid, size = self.grid(sizes[0]), self.input_size(sizes[0])
        batch = torch.stack([to_tensor(image, size) for image in images]).to(self.device)
        # more pictures at once than threads only take memory, which costs time to get
        at_once = torch.get_num_threads() if self.device.type == "cpu" else len(images)
        parts = [self.describe(part, grid) for part in torch.split(batch, at_once)]
        fine = [part for _, part in parts if part is not None]
        return FeatureMap(torch.cat([part for part, _ in parts]), tuple(sizes), torch.cat(fine) if fine else None)


def join_stages(stages: Sequence[Tensor], grid: Size) -> Tensor:
    """Join the stages of a network, each with the same share of the norm.

    Args:
        stages: ``(B, C', h', w')`` each.
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


def _build(options: FeatureOptions) -> nn.Module:
    """Create the timm network cut down to the stages that are used, with its weights."""
    name = options.backbone
    _check_name(name)
    stages = _chosen_stages(options)
    tensors = _weights_at_hand(options)
    try:
        network = _create(name, pretrained=options.weights == "auto" and tensors is None, out_indices=stages)
    except Exception as error:  # timm and its hub raise many kinds; all mean the same to the user
        raise ModelError(
            f"backbone {name!r} cannot be built: {_reason(error)} — with no network, hand its weights in as a "
            "safetensors file"
        ) from error
    if tensors is not None:
        _put_in(network, tensors, name)
    return network.eval()


def _check_name(name: str) -> None:
    architecture = name.split(".")[0]
    if architecture in efficientnet_lite.SCALES:
        return
    import timm  # it takes seconds, which the backbones of the package do without

    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, timm.list_models())
        raise ModelError(f"unknown backbone {name!r}{hint}; timm.list_models() lists all")


def _create(name: str, pretrained: bool, out_indices: tuple[int, ...] | None = None) -> nn.Module:
    """Create a timm feature network; vision transformers are told to take any picture size."""
    if name.split(".")[0] in efficientnet_lite.SCALES and not pretrained:
        return efficientnet_lite.EfficientNetLite(name.split(".")[0], out_indices)
    import timm

    keywords: dict[str, Any] = {"pretrained": pretrained}
    if out_indices is not None:
        keywords["out_indices"] = out_indices
    try:
        network: nn.Module = timm.create_model(name, features_only=True, dynamic_img_size=True, **keywords)
    except TypeError:  # not a vision transformer
        network = timm.create_model(name, features_only=True, **keywords)
    return network


def _chosen_stages(options: FeatureOptions) -> tuple[int, ...]:
    """Check the wanted stages, or choose the last of stride 16 and the last of stride 32, or else the very last."""
    try:
        with torch.device("meta"):
            strides = [int(stage["reduction"]) for stage in _info(_create(options.backbone, pretrained=False)).info]
    except Exception as error:
        raise ModelError(f"backbone {options.backbone!r} gives no feature maps: {_reason(error)}") from error
    if options.stages is None:
        last = {stride: index for index, stride in enumerate(strides)}
        return tuple(last[stride] for stride in (16, 32) if stride in last) or (len(strides) - 1,)
    count = len(strides)
    chosen = sorted({stage % count for stage in options.stages if -count <= stage < count})
    if len(chosen) < len(options.stages):
        raise ModelError(
            f"stages {options.stages} do not fit {options.backbone!r}: choose different ones from 0 to {count - 1}, "
            f"whose strides are {strides}"
        )
    return tuple(chosen)


def _weights_at_hand(options: FeatureOptions) -> dict[str, Tensor] | None:
    """Return the tensors that need no network: those of a file, or those inside the package."""
    if options.weights == "auto":
        embedded = BACKBONES.get(options.backbone.split(".")[0])
        return embedded.load().tensors if embedded is not None else None
    return None if options.weights == "random" else _read_file(Path(options.weights), options.backbone)


def _read_file(path: Path, name: str) -> dict[str, Tensor]:
    """Read a file of a timm model's weights, and refuse it if it holds any other tensor; the classifier may differ."""
    import timm

    if not path.is_file():
        raise ModelError(f"no backbone weights at {path}: give the path of a safetensors file")
    tensors = read_weights(path).tensors
    with torch.device("meta"):
        model: Any = timm.create_model(name, pretrained=False)
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    known = {*model.state_dict(), *dict(model.named_buffers())}  # older files hold buffers that timm stores no more
    _refuse("not known to", [key for key in tensors if key not in known and not key.startswith(heads)], name)
    return tensors


def _put_in(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load a timm model's tensors into the feature network that was cut out of it; every one that it has must fit."""
    # the cut-out network calls its tensors as the model does, but for a prefix and for dots that became underscores
    given = {key.replace(".", "_"): value for key, value in tensors.items()}
    own = network.state_dict()
    names = {key: key.removeprefix("model.").removeprefix("body.").replace(".", "_") for key in own}
    _refuse("missing for", [k for k in own if names[k] not in given and not k.endswith("num_batches_tracked")], name)
    found = {key: given[names[key]] for key in own if names[key] in given}
    _refuse("of another shape than in", [key for key in found if found[key].shape != own[key].shape], name)
    network.load_state_dict(found, strict=False)


def _put_in_tuned(network: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"the trained backbone does not fit {name!r}: {_reason(error)}") from error


def _refuse(problem: str, keys: list[str], name: str) -> None:
    if keys:
        more = f" and {len(keys) - 1} more" if keys[1:] else ""
        raise ModelError(
            f"the weights do not fit: {keys[0]}{more} {problem} these stages of {name!r}; give timm's file of it"
        )


@torch.no_grad()
def _try_out(network: nn.Module, options: FeatureOptions) -> tuple[nn.Module, int]:
    """Run the network once on a picture of 3:4, and fold its batch norms.

    Returns:
        The network, and the number of pixels whose multiples its input must measure: the stride of its finest stage,
        or that of its coarsest where it takes no other.

    Raises:
        ModelError: If it cannot take pictures of any size, or its stages are not what timm says.
    """
    info = _info(network)
    # those of the package are known to take any size: a small picture is enough, and quick
    side = 64 if options.backbone in BACKBONES else options.image_size
    for stride in sorted({min(info.reduction()), max(stage["reduction"] for stage in info.info)}):
        height, width = _input_size((3, 4), side, stride)
        probe = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        try:
            stages = network(probe)
        except Exception as error:  # every network has its own way to fail
            failure = error
            continue
        axis = 3 if _is_nhwc(network) else 1
        if [stage.shape[axis] if stage.ndim == 4 else 0 for stage in stages] != info.channels():
            shapes = [tuple(stage.shape) for stage in stages]
            raise ModelError(f"backbone {options.backbone!r} gives no maps of {info.channels()} channels but {shapes}")
        return fold_batch_norm(network, probe, stages), stride
    raise ModelError(
        f"backbone {options.backbone!r} cannot take a picture of {height} × {width} pixels: {_reason(failure)} — "
        "choose a backbone that takes pictures of any size"
    ) from failure


def _input_size(image_size: Size, side: int, stride: int) -> Size:
    rows, columns = grid_for(image_size, max(1, round(side / stride)))
    return rows * stride, columns * stride


def _info(network: nn.Module) -> Any:
    return network.feature_info


def _is_nhwc(network: nn.Module) -> bool:
    """Say whether timm's feature network puts the channels last, as Swin does."""
    return getattr(network, "output_fmt", "NCHW") == "NHWC"


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and deviation of the pixels that the backbone's weights were trained with."""
    if name.split(".")[0] in efficientnet_lite.SCALES:
        return efficientnet_lite.MEAN, efficientnet_lite.DEVIATION
    import timm

    config = timm.get_pretrained_cfg(name)
    return (config.mean, config.std) if config is not None else ((0.5,) * 3, (0.5,) * 3)
