"""The architecture of EfficientNet-Lite as numbers, for its torch module and for its graph without torch.

The layers are those of EfficientNet-B0 (Tan and Le, ICML 2019, table 1), scaled. Lite has no squeeze-and-excitation,
and ReLU6 instead of swish. The depth of the stem, of the first stage and of the last is not scaled, and neither is the
width of the stem.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from semcorr.errors import ModelError

SCALES = {  # width and depth multipliers
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
    "tf_efficientnet_lite3": (1.2, 1.4),
    "tf_efficientnet_lite4": (1.4, 1.8),
}
MEAN, DEVIATION = (0.5,) * 3, (0.5,) * 3
"""Mean and standard deviation of pixels in 0…1, per channel, that the published weights expect."""

STEM = 32
"""Channels of the first convolution, whose kernel is 3 and whose stride is 2."""
LAST_OF_STAGE = (0, 1, 2, 4, 6)
"""The last group of blocks at strides 2, 4, 8, 16, 32."""
EARLY_BLOCKS = 3
"""Groups of blocks up to the early stage, whose stride is 8."""
EPS = 1e-3
"""Added to the variance in batch norms."""

_BLOCKS = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Block(NamedTuple):
    """An inverted residual block.

    Attributes:
        inside: Input channels.
        outside: Output channels.
        kernel: Kernel size of the depthwise convolution.
        stride: Stride of the depthwise convolution.
        expansion: Ratio of expanded channels to input channels.
    """

    inside: int
    outside: int
    kernel: int
    stride: int
    expansion: int

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.inside == self.outside and self.stride == 1


def groups_of(name: str) -> list[list[Block]]:
    """Return the groups of blocks of one of `SCALES`."""
    width, depth = SCALES[name]
    groups: list[list[Block]] = []
    before = STEM
    for index, (repeats, kernel, stride, expansion, channels) in enumerate(_BLOCKS):
        after = _scaled(channels, width)
        count = repeats if index in (0, len(_BLOCKS) - 1) else math.ceil(repeats * depth)
        first = Block(before, after, kernel, stride, expansion)
        groups.append([first, *[Block(after, after, kernel, 1, expansion)] * (count - 1)])
        before = after
    return groups


def _scaled(channels: int, factor: float) -> int:
    """Scale a number of channels and round it to a multiple of 8, at most a tenth below the exact value."""
    multiple = max(8, int(channels * factor + 4) // 8 * 8)
    return multiple + 8 if multiple < 0.9 * channels * factor else multiple


def choose_stages(stages: Sequence[int] | None, strides: Sequence[int], backbone: str) -> tuple[int, ...]:
    """Check the requested stages, or choose the last of stride 16 and the last of stride 32, or else the very last.

    Args:
        stages: Indices of stages; negative ones count from the last. None chooses.
        strides: The stride of every stage of the backbone.
        backbone: Its name, for the error message.

    Raises:
        ModelError: If there is no such stage, or one is requested twice.

    >>> choose_stages(None, [2, 4, 8, 16, 32], "…"), choose_stages((-1, 2), [2, 4, 8, 16, 32], "…")
    ((3, 4), (2, 4))
    """
    count = len(strides)
    if stages is None:
        last = {stride: index for index, stride in enumerate(strides)}
        return tuple(last[stride] for stride in (16, 32) if stride in last) or (count - 1,)
    chosen = sorted({stage % count for stage in stages if -count <= stage < count})
    if len(chosen) < len(stages):
        raise ModelError(
            f"stages {tuple(stages)} do not fit {backbone!r}: choose distinct stages from 0 to {count - 1}, "
            f"whose strides are {list(strides)}"
        )
    return tuple(chosen)
