"""EfficientNet-Lite, equal to timm's feature networks, so that the backbone in the package loads without timm.

Importing timm takes 200 MB and longer than everything else before the first match: it imports torchvision, which
imports PyTorch's compiler. Tensors have timm's names, and the features are the same (tests/features/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.errors import ModelError
from semcorr.features.architecture import EPS, LAST_OF_STAGE, SCALES, STEM, Block, groups_of

_IN_PARTS = (1, 2)  # groups of blocks whose expanded tensors are by far the largest of the network
_BYTES = 64  # bytes of expanded channels, per position, that are computed at once


@dataclass(frozen=True)
class StageInfo:
    """Channels and stride of every stage, and which stages are returned; equivalent to timm's ``feature_info``."""

    info: list[dict[str, int]]
    out_indices: tuple[int, ...]

    def channels(self) -> list[int]:
        """Return the channels of the returned stages."""
        return [self.info[index]["num_chs"] for index in self.out_indices]

    def reduction(self) -> list[int]:
        """Return the strides of the returned stages."""
        return [self.info[index]["reduction"] for index in self.out_indices]


class EfficientNetLite(nn.Module):
    """Map images ``(B, 3, H, W)`` to a list of feature maps.

    Args:
        name: One of `SCALES`.
        out_indices: Indices of the stages to return, in ascending order; later stages are not built. None returns all
            five.
    """

    def __init__(self, name: str, out_indices: tuple[int, ...] | None = None) -> None:
        super().__init__()
        indices = tuple(range(len(LAST_OF_STAGE))) if out_indices is None else out_indices
        groups = groups_of(name)
        widths = [groups[last][-1].outside for last in LAST_OF_STAGE]
        info = [{"num_chs": width, "reduction": 2 << stage} for stage, width in enumerate(widths)]
        self.feature_info = StageInfo(info, indices)
        self.used_groups = {LAST_OF_STAGE[index] for index in indices}  # groups of blocks that return a stage
        self.conv_stem = _convolution(3, STEM, 3, 2)
        self.bn1 = nn.BatchNorm2d(STEM, EPS)
        self.blocks = nn.ModuleList()
        for index, group in enumerate(groups[: LAST_OF_STAGE[indices[-1]] + 1]):
            self.blocks.append(nn.Sequential(*(_Block(block, index in _IN_PARTS) for block in group)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the chosen stages, each ``(B, C, H / stride, W / stride)`` with sizes rounded up."""
        return self.later_stages(self.stem(images, 0), 0)

    def stem(self, images: Tensor, blocks: int) -> Tensor:
        """Compute the first convolution and that many groups of blocks: the part that stays frozen in training."""
        x: Tensor = F.relu6(self.bn1(_convolve_same(self.conv_stem, images)), inplace=True)
        for group in self.blocks[:blocks]:
            x = group(x)
        return x

    @staticmethod
    def last_group(stage: int) -> int:
        """Return the group of blocks whose output is a stage."""
        return LAST_OF_STAGE[stage]

    def later_stages(self, x: Tensor, blocks: int) -> list[Tensor]:
        """Return the chosen stages from the output ``x`` of `stem` with the same ``blocks`` onwards."""
        stages = [x] if blocks - 1 in self.used_groups else []
        for index, group in enumerate(self.blocks[blocks:], start=blocks):
            x = group(x)
            if index in self.used_groups:
                stages.append(x)
        return stages


def trainable(network: nn.Module) -> EfficientNetLite:
    """Check that the network is an EfficientNet-Lite, whose early stage fine descriptors read, and return it.

    Raises:
        ModelError: If it is not.
    """
    if not isinstance(network, EfficientNetLite):
        raise ModelError(f"fine descriptors need one of the backbones {', '.join(SCALES)}: set model.fine to 0")
    return network


class _Block(nn.Module):
    """Inverted residual: expand, depthwise convolution, project; added to the input if the shapes agree.

    Layer names follow timm's two block classes; the one in the first stage does not expand.

    Args:
        block: Its channels, kernel, stride and expansion.
        parts: Whether a CPU computes the expanded channels a few at a time, once batch norms are folded.
    """

    def __init__(self, block: Block, parts: bool = False) -> None:
        super().__init__()
        inside, outside, kernel, stride, expansion = block
        self.parts = parts
        middle, self.widens, self.residual = inside * expansion, expansion > 1, block.residual
        if self.widens:
            self.conv_pw = _convolution(inside, middle, 1)
            self.bn1 = nn.BatchNorm2d(middle, EPS)
            self.conv_dw = _convolution(middle, middle, kernel, stride, middle)
            self.bn2 = nn.BatchNorm2d(middle, EPS)
            self.conv_pwl = _convolution(middle, outside, 1)
            self.bn3 = nn.BatchNorm2d(outside, EPS)
        else:
            self.conv_dw = _convolution(middle, middle, kernel, stride, middle)
            self.bn1 = nn.BatchNorm2d(middle, EPS)
            self.conv_pw = _convolution(middle, outside, 1)
            self.bn2 = nn.BatchNorm2d(outside, EPS)

    def forward(self, x: Tensor) -> Tensor:
        if self.widens:
            folded = self.conv_pw.bias is not None
            in_parts = folded and self.parts and x.device.type == "cpu"
            inner = self._expanded_in_parts(x) if in_parts else self._expanded(x)
            y = self.bn3(self.conv_pwl(inner))
        else:
            inner = F.relu6(self.bn1(_convolve_same(self.conv_dw, x)), inplace=True)
            y = self.bn2(self.conv_pw(inner))
        return cast(Tensor, y + x if self.residual else y)

    def _expanded(self, x: Tensor) -> Tensor:
        inner = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        return F.relu6(self.bn2(_convolve_same(self.conv_dw, inner)), inplace=True)

    def _expanded_in_parts(self, x: Tensor) -> Tensor:
        """Version of `_expanded` that never holds all expanded channels at the input's size."""
        pw, dw, parts = self.conv_pw, self.conv_dw, []
        assert pw.bias is not None
        assert dw.bias is not None
        size = _BYTES // x.element_size()
        for begin in range(0, pw.out_channels, size):
            of = slice(begin, begin + size)
            inner = F.relu6(F.conv2d(x, pw.weight[of], pw.bias[of]), inplace=True)
            groups = inner.shape[1]
            inner = F.conv2d(_pad_same(dw, inner), dw.weight[of], dw.bias[of], dw.stride, dw.padding, 1, groups)
            parts.append(F.relu6(inner, inplace=True))
        return torch.cat(parts, dim=1)


def _convolution(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)


def _convolve_same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return cast(Tensor, convolution(_pad_same(convolution, x)))


def _pad_same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Pad like TensorFlow's "same" convolution, so that output sizes are size / stride, rounded up."""
    stride, kernel = convolution.stride[0], convolution.kernel_size[0]
    if stride == 1:
        return x
    down, across = (kernel - stride + (-size) % stride for size in x.shape[2:])
    return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
