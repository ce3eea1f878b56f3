"""Training a backbone, wholly or from a stage on: any timm network that gives feature maps.

The network is cut in two. What comes before the cut stays frozen, so that its output is computed once for each view and
kept; what comes after it is computed in every step. Networks that cannot be walked module by module, such as vision
transformers, are cut before their first layer: the pixels are kept.

Batch norms stay as they are: with the statistics of their pretraining, and folded into the convolution before them
where that is possible, as at inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from semcorr.errors import DataError
from semcorr.features import FeatureExtractor, join_stages
from semcorr.features.efficientnet_lite import EfficientNetLite
from semcorr.features.pointwise import with_pointwise
from semcorr.geometry import Size

PIXELS = -1
"""Where a network is cut whose pixels are kept."""


@dataclass(frozen=True)
class Cut:
    """Where a network is cut.

    Attributes:
        modules: Number of modules (of EfficientNet-Lite: groups of blocks) whose output is kept, or `PIXELS`.
        checkpointing: Whether activations are recomputed in the backward pass instead of being stored.
    """

    modules: int
    checkpointing: bool = False


class Backbone(nn.Module):
    """A backbone that is trained from a stage on.

    Args:
        network: timm's feature network, or an EfficientNet-Lite; what requires gradients learns.
        cut: Where it is cut.

    Attributes:
        learning: The names of the network's parameters that learn.
    """

    def __init__(self, network: nn.Module, cut: Cut) -> None:
        super().__init__()
        self.network, self.cut = network, cut
        self.learning = frozenset(name for name, value in network.named_parameters() if value.requires_grad)
        if cut.checkpointing and cut.modules == PIXELS:
            _checkpoint_inside(network)
        depthwise = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in network.modules())
        self._full_precision = depthwise  # gradients of depthwise convolutions in bfloat16 are slow on a CPU

    @torch.no_grad()
    def keep(self, pixels: Tensor) -> Tensor:
        """Compute the frozen part for normalised pixels ``(B, 3, h, w)`` of one size: ``(B, C', h', w')``."""
        if self.cut.modules == PIXELS:
            return pixels
        if isinstance(self.network, EfficientNetLite):
            return self.network.stem(pixels, self.cut.modules)
        for module in list(self.network.children())[: self.cut.modules]:
            pixels = module(pixels)
        return pixels

    def features(self, kept: Tensor, grid: Size) -> Tensor:
        """Return the features ``(B, C, rows, columns)`` of what `keep` returned for pictures of one size."""
        values = kept.contiguous(memory_format=torch.channels_last)
        mixed = torch.is_autocast_enabled(kept.device.type) and not (self._full_precision and kept.device.type == "cpu")
        with torch.autocast(kept.device.type, torch.bfloat16, enabled=mixed):
            stages = self._stages(values)
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            stages = [stage.movedim(3, 1) for stage in stages]
        return join_stages([stage.float() for stage in stages], grid)

    def _stages(self, values: Tensor) -> Sequence[Tensor]:
        if self.cut.modules == PIXELS and not (self.cut.checkpointing and _is_walkable(self.network)):
            return cast(Sequence[Tensor], self.network(values))
        if isinstance(self.network, EfficientNetLite) and not self.cut.checkpointing:
            return self.network.later_stages(values, self.cut.modules)
        return self._walk(values)

    def _walk(self, values: Tensor) -> list[Tensor]:
        """Apply the modules after the cut, and collect the stages that are used."""
        modules, used = _modules(self.network)
        first = max(0, self.cut.modules)
        if self.cut.modules == PIXELS and isinstance(self.network, EfficientNetLite):
            values = self.network.stem(values, 0)
        stages = [values] if first - 1 in used else []
        for index, module in enumerate(modules[first:], start=first):
            for part in module if isinstance(module, nn.Sequential) else [module]:
                values = checkpoint(part, values, use_reentrant=False) if self.cut.checkpointing else part(values)
            if index in used:
                stages.append(values)
        return stages


def train_from(extractor: FeatureExtractor, stage: int, checkpointing: bool = False) -> Backbone:
    """Take over an extractor's network, and let it learn from a stage on.

    Args:
        extractor: The extractor, whose network is changed in place.
        stage: timm's index of the first stage that learns, as in `semcorr.features.FeatureOptions.stages`; 0 is the
            whole network.
        checkpointing: Recompute activations in the backward pass, which saves memory and takes longer.

    Raises:
        DataError: If no stage that is used would learn.
    """
    network = extractor.network
    info: Any = network.feature_info
    used = [index % len(info.info) for index in info.out_indices]
    if not 0 <= stage <= max(used):
        raise DataError(
            f"train_from must be a stage from 0 to {max(used)}, the last that the features of "
            f"{extractor.options.backbone!r} use; got {stage}"
        )
    with_pointwise(network)
    for parameter in _learning(network, stage):
        parameter.requires_grad_(True)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)
    return Backbone(network, Cut(_cut(network, stage, min(used)), checkpointing))


def frozen_tensors(backbone: Backbone) -> dict[str, Tensor]:
    """Return the tensors of a backbone that do not learn, by name."""
    return {name: value for name, value in backbone.network.state_dict().items() if name not in backbone.learning}


def _is_walkable(network: nn.Module) -> bool:
    """Say whether a network is a chain of modules, each taking the output of the one before."""
    return isinstance(network, EfficientNetLite) or hasattr(network, "return_layers")


def _modules(network: nn.Module) -> tuple[list[nn.Module], set[int]]:
    """List the chain of modules of a walkable network, and which of them put out a stage that is used."""
    if isinstance(network, EfficientNetLite):
        return list(network.blocks), network.used_groups
    names = list(dict(network.named_children()))
    returned: Any = network.return_layers
    return list(network.children()), {names.index(name) for name in returned}


def _cut(network: nn.Module, stage: int, first_used: int) -> int:
    """Return after how many modules to cut: before the first that learns, and not after the first stage in use."""
    if stage == 0 or not _is_walkable(network):
        return PIXELS
    return 1 + min(_position(network, stage - 1), _position(network, first_used))


def _position(network: nn.Module, stage: int) -> int:
    """Return the position in its chain of the module that puts out a stage."""
    info: Any = network.feature_info
    if isinstance(network, EfficientNetLite):
        return network.last_group(stage)
    names = list(dict(network.named_children()))
    return names.index(info.info[stage]["module"].replace(".", "_"))


def _learning(network: nn.Module, stage: int) -> list[nn.Parameter]:
    """List the parameters behind the stage before ``stage``, in the order in which the network defines its modules."""
    if stage == 0:
        return list(network.parameters())
    info: Any = network.feature_info
    before = (
        f"blocks.{network.last_group(stage - 1)}"
        if isinstance(network, EfficientNetLite)
        else str(info.info[stage - 1]["module"])
    ).replace(".", "_")
    modules = [(_plain_name(name), module) for name, module in network.named_modules()]
    last = max(index for index, (name, _) in enumerate(modules) if f"{name}_".startswith(f"{before}_"))
    return [parameter for _, module in modules[last + 1 :] for parameter in module.parameters(recurse=False)]


def _plain_name(name: str) -> str:
    """Return a module's name as `feature_info` has it, with underscores for dots."""
    return name.removeprefix("model.").removeprefix("body.").replace(".", "_")


def _checkpoint_inside(network: nn.Module) -> None:
    """Switch on timm's own checkpointing in the modules that have it."""
    from timm.layers.config import set_reentrant_ckpt

    set_reentrant_ckpt(False)
    for module in network.modules():
        if hasattr(module, "grad_checkpointing") and not hasattr(network, "return_layers"):
            setattr(module, "grad_checkpointing", True)  # noqa: B010 - no attribute that mypy knows
