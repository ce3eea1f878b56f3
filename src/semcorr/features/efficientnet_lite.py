"""EfficientNet-Lite as timm's feature networks have it, without timm: the backbone inside the package loads without it.

Importing timm takes longer than all else between the command and the first match, and 200 MB: it imports torchvision,
which imports PyTorch's compiler. Tensors have timm's names, features are the same (tests/features/).

The shapes are those of EfficientNet-B0 (Tan and Le, ICML 2019, table 1), scaled. Lite has no squeeze-and-excitation,
and ReLU6 in place of swish; the first stage, the last and the stem are unscaled in depth, the stem in width, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.errors import ModelError

SCALES = {  # factors of width and of depth
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
    "tf_efficientnet_lite3": (1.2, 1.4),
    "tf_efficientnet_lite4": (1.4, 1.8),
}
MEAN, DEVIATION = (0.5,) * 3, (0.5,) * 3
"""Of the pixels that the published weights were trained with."""

_STEM = 32
_BLOCKS = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_LAST_OF_STAGE = (0, 1, 2, 4, 6)  # the last group of blocks at strides 2, 4, 8, 16, 32
_EPS = 1e-3
_IN_PARTS = (1, 2)  # groups of blocks whose widened tensors are by far the largest of the network
_BYTES = 64  # of the widened channels of a place that are computed at once


@dataclass(frozen=True)
class StageInfo:
    """What timm's ``feature_info`` says: channels and stride of every stage, and which stages are put out."""

    info: list[dict[str, int]]
    out_indices: tuple[int, ...]

    def channels(self) -> list[int]:
        """List the channels of the stages that are put out."""
        return [self.info[index]["num_chs"] for index in self.out_indices]

    def reduction(self) -> list[int]:
        """List their strides."""
        return [self.info[index]["reduction"] for index in self.out_indices]


class EfficientNetLite(nn.Module):
    """Images ``(B, 3, H, W)`` to a list of feature maps.

    Args:
        name: One of `SCALES`.
        out_indices: The stages that are put out, rising; what lies behind the last is not built. None is all five.
    """

    def __init__(self, name: str, out_indices: tuple[int, ...] | None = None) -> None:
        super().__init__()
        width, depth = SCALES[name]
        indices = tuple(range(len(_LAST_OF_STAGE))) if out_indices is None else out_indices
        widths = [_scaled(channels, width) for *_, channels in _BLOCKS]
        self.feature_info = StageInfo(
            [{"num_chs": widths[last], "reduction": 2 << stage} for stage, last in enumerate(_LAST_OF_STAGE)], indices
        )
        self.first_stage = _LAST_OF_STAGE[indices[0]]  # the group of blocks whose output is the first wanted stage
        self.conv_stem = _convolution(3, _STEM, 3, 2)
        self.bn1 = nn.BatchNorm2d(_STEM, _EPS)
        self.blocks = nn.ModuleList()
        before = _STEM
        for index, (repeats, kernel, stride, expansion, _) in enumerate(_BLOCKS[: _LAST_OF_STAGE[indices[-1]] + 1]):
            count = repeats if index in (0, len(_BLOCKS) - 1) else math.ceil(repeats * depth)
            parts = index in _IN_PARTS
            group = [_Block(before, widths[index], kernel, stride, expansion, parts)]
            group += [_Block(widths[index], widths[index], kernel, 1, expansion, parts) for _ in range(count - 1)]
            self.blocks.append(nn.Sequential(*group))
            before = widths[index]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the wanted stages, ``(B, C, H / stride, W / stride)`` each, sizes rounded up."""
        return self.later_stages(self.stem(images, 0), 0)

    def stem(self, images: Tensor, blocks: int) -> Tensor:
        """Compute the first convolution and so many groups of blocks: what can stay as it is while the rest learns."""
        x: Tensor = F.relu6(self.bn1(_convolve_same(self.conv_stem, images)), inplace=True)
        for group in self.blocks[:blocks]:
            x = group(x)
        return x

    def later_stages(self, x: Tensor, blocks: int) -> list[Tensor]:
        """Return those of the wanted stages that are what `stem` has computed, or come after it."""
        wanted = {_LAST_OF_STAGE[index] for index in self.feature_info.out_indices}
        found = [x] if blocks - 1 in wanted else []
        for index, group in enumerate(self.blocks[blocks:], start=blocks):
            x = group(x)
            if index in wanted:
                found.append(x)
        return found


def trainable(network: nn.Module) -> EfficientNetLite:
    """Return the network if its later blocks can be trained.

    Raises:
        ModelError: If they cannot.
    """
    if not isinstance(network, EfficientNetLite):
        raise ModelError(
            f"only the backbones {', '.join(SCALES)} can be trained: set frozen_blocks to null to learn on "
            "frozen features"
        )
    return network


class _Block(nn.Module):
    """Widen, convolve each channel by itself, narrow; added to the input where the shapes agree.

    Names follow timm's two classes of blocks, of which the first, in the first stage, does not widen.

    Args:
        inside: Channels that come in.
        outside: Channels that go out.
        kernel: Size of the kernel of each channel.
        stride: Of that convolution.
        expansion: How many times as many channels there are in between.
        parts: Whether the widened channels are computed a few at a time, once batch norms are folded.
    """

    def __init__(
        self, inside: int, outside: int, kernel: int, stride: int, expansion: int, parts: bool = False
    ) -> None:
        super().__init__()
        self.parts = parts
        middle, self.widens, self.residual = inside * expansion, expansion > 1, inside == outside and stride == 1
        if self.widens:
            self.conv_pw = _convolution(inside, middle, 1)
            self.bn1 = nn.BatchNorm2d(middle, _EPS)
            self.conv_dw = _convolution(middle, middle, kernel, stride, middle)
            self.bn2 = nn.BatchNorm2d(middle, _EPS)
            self.conv_pwl = _convolution(middle, outside, 1)
            self.bn3 = nn.BatchNorm2d(outside, _EPS)
        else:
            self.conv_dw = _convolution(middle, middle, kernel, stride, middle)
            self.bn1 = nn.BatchNorm2d(middle, _EPS)
            self.conv_pw = _convolution(middle, outside, 1)
            self.bn2 = nn.BatchNorm2d(outside, _EPS)

    def forward(self, x: Tensor) -> Tensor:
        if self.widens:
            folded = self.conv_pw.bias is not None
            inner = self._in_parts(x) if folded and self.parts else self._widened(x)
            y = self.bn3(self.conv_pwl(inner))
        else:
            inner = F.relu6(self.bn1(_convolve_same(self.conv_dw, x)), inplace=True)
            y = self.bn2(self.conv_pw(inner))
        return cast(Tensor, y + x if self.residual else y)

    def _widened(self, x: Tensor) -> Tensor:
        inner = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        return F.relu6(self.bn2(_convolve_same(self.conv_dw, inner)), inplace=True)

    def _in_parts(self, x: Tensor) -> Tensor:
        """Do as `_widened`, without ever holding all widened channels at the input's size."""
        pw, dw, found = self.conv_pw, self.conv_dw, []
        assert pw.bias is not None
        assert dw.bias is not None
        size = _BYTES // x.element_size()
        for begin in range(0, pw.out_channels, size):
            of = slice(begin, begin + size)
            inner = F.relu6(F.conv2d(x, pw.weight[of], pw.bias[of]), inplace=True)
            groups = inner.shape[1]
            inner = F.conv2d(_pad_same(dw, inner), dw.weight[of], dw.bias[of], dw.stride, dw.padding, 1, groups)
            found.append(F.relu6(inner, inplace=True))
        return torch.cat(found, dim=1)


def _scaled(channels: int, factor: float) -> int:
    """Scale a number of channels to a multiple of 8 that is no more than a tenth below."""
    multiple = max(8, int(channels * factor + 4) // 8 * 8)
    return multiple + 8 if multiple < 0.9 * channels * factor else multiple


def _convolution(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)


def _convolve_same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    return cast(Tensor, convolution(_pad_same(convolution, x)))


def _pad_same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Pad as TensorFlow does, more behind than before, so that a stride divides the size, rounded up."""
    stride, kernel = convolution.stride[0], convolution.kernel_size[0]
    if stride == 1:
        return x
    down, across = (kernel - stride + (-size) % stride for size in x.shape[2:])
    return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
