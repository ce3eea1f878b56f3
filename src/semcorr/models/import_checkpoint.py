"""Convert the published checkpoints of NC-Net and ANC-Net to safetensors without executing their contents.

The authors' ``.pth.tar`` files are pickles: an ``argparse.Namespace`` of options beside a ``state_dict``. torch's
restricted reader creates only tensors and plain containers, and refuses every other class. The few harmless classes in
these files (the Namespace, NumPy arrays of losses) are replaced by an empty stand-in, so that not even those are built.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from semcorr.errors import ModelError
from semcorr.features import FeatureOptions
from semcorr.files import one_line
from semcorr.models.building import build
from semcorr.models.configs import ANCNetConfig, NCNetConfig, config_to_dict
from semcorr.weights import Weights

MAX_BYTES = 2 << 30  # the published files are more than ten times smaller
MAX_CHANNELS = 256
BACKBONE = "resnet101.tv_in1k"
# index in the authors' Sequential of torchvision's ResNet-101, and the stage's name in timm
_STAGES = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3"}


class Imported(NamedTuple):
    """A converted checkpoint: the weights of the model, and those of its backbone under timm's names."""

    model: Weights
    backbone: Weights


class _Empty:
    """Stands in for the objects in a checkpoint that are not tensors; accepts any arguments and discards them."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


_HARMLESS = (
    "argparse.Namespace",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
)


def import_checkpoint(kind: Literal["ncnet", "ancnet"], path: Path) -> Imported:
    """Convert a checkpoint written by the authors' code; nothing in it is executed.

    Args:
        kind: The method.
        path: The ``.pth.tar`` file.

    Raises:
        ModelError: If the file is broken, too large or has another layout; the message is one line.
        FileNotFoundError: If the file does not exist.
    """
    state = _read_state(path)
    try:
        config: NCNetConfig | ANCNetConfig
        config, tensors = _ncnet(state) if kind == "ncnet" else _ancnet(state)
        origin = {"imported": kind, "file": path.name}
        model = Weights(tensors, {"model": config_to_dict(config), "training": origin})
        build(model)
        return Imported(model, Weights(_backbone(state), origin))
    except ModelError as error:
        raise ModelError(f"{path} does not have the layout of a published {kind} checkpoint: {error}") from None


def _read_state(path: Path) -> dict[str, Tensor]:
    """Read the state dict with torch's restricted reader, and strip the prefix of data-parallel training."""
    if not hasattr(torch.serialization, "safe_globals"):
        raise ModelError(f"importing checkpoints needs torch 2.6 or newer; this is {torch.__version__}")
    size = path.stat().st_size
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ModelError(f"{path} is a damaged archive ({one_line(error)}): download it again") from None
    if size > MAX_BYTES:
        raise ModelError(
            f"{path} holds {size / 2**30:.1f} GiB: a checkpoint must be at most {MAX_BYTES / 2**30:.0f} GiB"
        )
    try:
        with torch.serialization.safe_globals([(_Empty, name) for name in _HARMLESS]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file can raise anything, and it all means the same to the user
        reason = one_line(error)
        raise ModelError(f"{path} cannot be read safely as a checkpoint: {reason}") from None
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ModelError(f"{path} contains no state_dict: use the .pth.tar file that the authors published")
    tensors = {key.removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}
    return {key.replace("vgg", "model"): value for key, value in tensors.items()}  # as the authors' code does


def _ncnet(state: dict[str, Tensor]) -> tuple[NCNetConfig, dict[str, Tensor]]:
    layers = sorted(
        int(parts[2])
        for key in state
        if (parts := key.split("."))[:2] == ["NeighConsensus", "conv"]
        and parts[2:3]
        and parts[2].isdecimal()
        and parts[3:] == ["weight"]
    )
    if not layers or layers != list(range(0, 2 * len(layers), 2)) or len(layers) > 8:
        raise ModelError(f"expected filters NeighConsensus.conv.0.weight, .2.weight …; found layers {layers}")
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        tensors |= _filters(state, f"NeighConsensus.conv.{layer}", f"consensus.layers.{layer}")
    weights = [tensors[f"consensus.layers.{layer}.weight"] for layer in layers]
    if any(len(set(weight.shape[2:])) > 1 for weight in weights):
        raise ModelError("filter sizes differ between axes: is this an ANC-Net checkpoint?")
    if any(before.shape[0] != after.shape[1] for before, after in pairwise(weights)) or weights[0].shape[1] != 1:
        raise ModelError(
            f"channels of successive layers do not match: {[tuple(weight.shape[:2]) for weight in weights]}"
        )
    kernels, channels = (tuple(weight.shape[axis] for weight in weights) for axis in (2, 0))
    return NCNetConfig(_features(), kernels, channels), tensors


def _ancnet(state: dict[str, Tensor]) -> tuple[ANCNetConfig, dict[str, Tensor]]:
    names = {"conv0.0": "unequal.0", "conv1.0": "equal.0", "conv2.0": "rest.0", "conv2.2": "rest.2"}
    tensors: dict[str, Tensor] = {}
    for theirs, ours in names.items():
        tensors |= _filters(state, f"NeighConsensus.{theirs}", f"consensus.{ours}")
    for theirs, ours in {"SS.conv": "describe.first", "SS.conv1": "describe.second"}.items():
        for part in ("weight", "bias"):
            tensors[f"{ours}.{part}"] = _floats(state, f"{theirs}.{part}")
    first, last = tensors["consensus.unequal.0.weight"], tensors["consensus.rest.0.weight"]
    descriptor = tensors["describe.first.weight"].shape[0], tensors["describe.second.weight"].shape[0]
    if max(*descriptor, last.shape[0]) > MAX_CHANNELS:
        raise ModelError(f"layers must have at most {MAX_CHANNELS} channels; got {descriptor} and {last.shape[0]}")
    return ANCNetConfig(_features(), first.shape[2], first.shape[4], last.shape[0], descriptor), tensors


def _features() -> FeatureOptions:
    return FeatureOptions(BACKBONE, stages=(3,), image_size=400, grid=25)


def _filters(state: dict[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    """Reorder the filters of a 4-D layer from (k0, D, C, k1, k2, k3) to (D, C, k0, k1, k2, k3)."""
    weight, bias = _floats(state, f"{theirs}.weight"), _floats(state, f"{theirs}.bias")
    if weight.ndim != 6:
        raise ModelError(f"{theirs}.weight must have six axes; got shape {tuple(weight.shape)}")
    weight = weight.permute(1, 2, 0, 3, 4, 5)
    if any(size % 2 == 0 or size > 11 for size in weight.shape[2:]) or max(weight.shape[:2]) > MAX_CHANNELS:
        raise ModelError(
            f"{theirs}.weight must have odd kernel sizes up to 11 and at most {MAX_CHANNELS} channels; "
            f"got (D, C, k…) = {tuple(weight.shape)}"
        )
    if bias.shape != weight.shape[:1]:
        raise ModelError(f"{theirs}.bias must have shape ({weight.shape[0]},); got {tuple(bias.shape)}")
    return {f"{ours}.weight": weight.contiguous(), f"{ours}.bias": bias}


def _backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the backbone's tensors to timm's names, and check that none is missing and all shapes are right."""
    import timm

    with torch.device("meta"):
        network = timm.create_model(BACKBONE, features_only=True, out_indices=(3,), pretrained=False)
    tensors = {}
    for name, expected in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        stage, _, rest = name.partition(".")
        index = next((index for index, timm_name in _STAGES.items() if timm_name == stage), stage)
        tensors[name] = _floats(state, f"FeatureExtraction.model.{index}.{rest}")
        if tensors[name].shape != expected.shape:
            raise ModelError(
                f"FeatureExtraction.model.{index}.{rest} must have shape {tuple(expected.shape)}, as in ResNet-101; "
                f"got {tuple(tensors[name].shape)}"
            )
    return tensors


def _floats(state: dict[str, Tensor], key: str) -> Tensor:
    """Return a tensor as float32; checked before it is copied, so that a forged size allocates no memory."""
    if key not in state:
        raise ModelError(f"{key} is missing")
    value = state[key]
    if not value.is_floating_point() or value.layout != torch.strided:
        raise ModelError(f"{key} must be floating point; got {value.dtype}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ModelError(f"{key} claims {value.numel()} values but contains fewer")
    if not torch.isfinite(value).all():
        raise ModelError(f"{key} contains values that are not finite")
    return value.detach().float().contiguous()
