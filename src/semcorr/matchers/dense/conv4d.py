"""4-D convolution, computed by 2-D convolutions.

A 4-D kernel acts on the two source axes and the two target axes of a correlation map. torch's `conv2d` handles the
target axes, with the cells of the source grid as its batch. Offsets along the source axes become channels: those
*folded into the input* are gathered from neighbouring source cells before the 2-D convolution; those *folded into the
output* are computed as separate channels and added to neighbouring source cells after it. Both give the same sum. The
split of the axes determines the shape of the 2-D convolution and how much is copied. The one with the fewest channels
is chosen: both axes into the input for one input channel, both into the output for one output channel, and one into
each for many of both.

Source cells are processed in blocks of a few rows, or part of a row. This keeps the copies small compared to input and
output, and lets the C library reuse their memory on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

Kernel = tuple[int, int, int, int]
Block = tuple[int, int, int, int]
"""Part of the source grid: first row, first column, rows, columns."""

_BYTES = 9_000_000  # copies per block on a CPU; with 15 MB, `conv2d` took twice the time per cell, due to page faults
_BYTES_ELSEWHERE = 256_000_000  # on other devices, where each call is expensive but memory is not


class _Fold(NamedTuple):
    """Kernel sizes along the source axes that are folded into the input and into the output; 1 if not folded."""

    inputs: tuple[int, int]
    outputs: tuple[int, int]


def conv4d(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve the last four axes with zero padding that keeps their size (cross-correlation, as in `conv2d`).

    Differentiable once in all arguments. In half precision, sums over source offsets are kept in float32. Within
    ``torch.autocast`` it computes and returns autocast's dtype, as torch's own convolutions do.

    Args:
        inputs: ``(B, C, hs, ws, ht, wt)``, floating point.
        weight: ``(D, C, k0, k1, k2, k3)``, every k odd, of the dtype and on the device of ``inputs``.
        bias: ``(D,)``, with the same dtype and device; None adds nothing.

    Returns:
        ``(B, D, hs, ws, ht, wt)``, of the dtype and on the device of ``inputs``.

    Raises:
        ValueError: If a shape or dtype does not match, or a kernel size is even.

    >>> conv4d(torch.ones(1, 1, 3, 3, 3, 3), torch.ones(2, 1, 3, 3, 1, 3))[0, :, 1, 1, 1, 0]
    tensor([18., 18.])
    """
    if inputs.ndim != 6 or weight.ndim != 6 or inputs.shape[1] != weight.shape[1]:
        raise ValueError(
            "inputs must be (B, C, hs, ws, ht, wt) and weight (D, C, k0, k1, k2, k3) with the same C; "
            f"got {tuple(inputs.shape)} and {tuple(weight.shape)}"
        )
    if any(size % 2 == 0 for size in weight.shape[2:]):
        raise ValueError(f"kernel sizes must be odd; got {tuple(weight.shape[2:])}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape ({weight.shape[0]},); got {tuple(bias.shape)}")
    if torch.is_autocast_enabled(inputs.device.type):
        dtype = torch.get_autocast_dtype(inputs.device.type)
        inputs, weight, bias = inputs.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    if any(other.dtype != inputs.dtype for other in (weight, bias) if other is not None):
        raise ValueError(f"weight and bias must have the dtype of the inputs, {inputs.dtype}; got {weight.dtype}")
    convolved: Tensor = _Conv4d.apply(inputs, weight, bias)
    return convolved


class Conv4d(nn.Module):
    """Module for `conv4d`, initialised like torch's convolutions.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        kernel: Sizes along the two source axes and the two target axes, all odd.

    Raises:
        ValueError: If a number is less than 1, or a kernel size is even.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: Kernel) -> None:
        super().__init__()
        if min(in_channels, out_channels, *kernel) < 1 or any(size % 2 == 0 for size in kernel):
            raise ValueError(f"channels must be 1 or more and kernels odd; got {in_channels}, {out_channels}, {kernel}")
        bound = (in_channels * prod(kernel)) ** -0.5
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(B, in_channels, hs, ws, ht, wt)`` to ``(B, out_channels, hs, ws, ht, wt)``."""
        return conv4d(inputs, self.weight, self.bias)


class _Conv4d(torch.autograd.Function):
    """Saves only the input for the backward pass, none of the copies gathered from it."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _convolve(inputs, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        back = weight.transpose(0, 1).flip(2, 3, 4, 5)
        of_inputs = _convolve(gradient, back, None) if ctx.needs_input_grad[0] else None
        of_weight = _weight_gradient(inputs, gradient, weight) if ctx.needs_input_grad[1] else None
        of_bias = gradient.sum((0, 2, 3, 4, 5)) if ctx.needs_input_grad[2] else None
        return of_inputs, of_weight, of_bias


def _choose_fold(weight: Tensor) -> _Fold:
    """Choose the fold with the fewest channels in input and output together."""
    out_channels, in_channels, k0, k1 = weight.shape[:4]
    folds = (_Fold((1, 1), (k0, k1)), _Fold((k0, 1), (1, k1)), _Fold((k0, k1), (1, 1)))
    return min(folds, key=lambda fold: in_channels * prod(fold.inputs) + out_channels * prod(fold.outputs))


def _convolve(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    fold = _choose_fold(weight)
    batch, _, hs, ws, ht, wt = inputs.shape
    (o0, o1), padding = fold.outputs, (weight.shape[4] // 2, weight.shape[5] // 2)
    kernel = _fold_weight(weight, fold)
    precise = torch.promote_types(inputs.dtype, torch.float32)
    total = inputs.new_empty((batch, weight.shape[0], hs, ws, ht, wt), dtype=precise)
    total[:] = 0 if bias is None else bias.view(-1, 1, 1, 1, 1)
    for block in _blocks(inputs, sum(kernel.shape[:2])):
        partial = F.conv2d(_gather(inputs, block, fold.inputs), kernel, padding=padding)
        partial = partial.view(batch, *block[2:], o0, o1, -1, ht, wt)
        for a in range(o0):
            for b in range(o1):
                (y, x), (to_y, to_x) = _overlap(block, (o0 // 2 - a, o1 // 2 - b), (hs, ws))
                total[:, :, to_y, to_x] += partial[:, y, x, a, b].permute(0, 3, 1, 2, 4, 5)
    return total.to(inputs.dtype)


def _weight_gradient(inputs: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    fold = _choose_fold(weight)
    out_channels, in_channels, _, _, k2, k3 = weight.shape
    folded = (out_channels * prod(fold.outputs), in_channels * prod(fold.inputs), k2, k3)
    padding = (k2 // 2, k3 // 2)
    total = inputs.new_zeros(folded, dtype=torch.promote_types(inputs.dtype, torch.float32))
    for block in _blocks(inputs, sum(folded[:2])):
        read, of_output = _gather(inputs, block, fold.inputs), _gather(gradient, block, fold.outputs)
        total += conv2d_weight(read, folded, of_output, padding=padding)  # type: ignore[no-untyped-call]
    unfolded = total.view(*fold.outputs, out_channels, *fold.inputs, in_channels, k2, k3)
    # offsets folded into the output point in the opposite direction to those folded into the input
    sides = unfolded.flip(0, 1).permute(2, 5, 0, 3, 1, 4, 6, 7)  # (D, C, o0, i0, o1, i1, k2, k3)
    return sides.reshape(weight.shape).to(weight.dtype)


def _fold_weight(weight: Tensor, fold: _Fold) -> Tensor:
    """Fold a kernel ``(D, C, k0, k1, k2, k3)`` into ``(o0·o1·D, i0·i1·C, k2, k3)``, offsets before channels."""
    out_channels, in_channels, _, _, k2, k3 = weight.shape
    (o0, o1), (i0, i1) = fold.outputs, fold.inputs
    sides = weight.reshape(out_channels, in_channels, o0, i0, o1, i1, k2, k3)  # along each axis, o or i is 1
    return sides.permute(2, 4, 0, 3, 5, 1, 6, 7).reshape(o0 * o1 * out_channels, i0 * i1 * in_channels, k2, k3)


def _blocks(maps: Tensor, channels: int) -> Iterator[Block]:
    """Divide the source grid of ``(B, C, hs, ws, ht, wt)`` into blocks; each, with ``channels``, fits the limit."""
    batch, _, hs, ws, ht, wt = maps.shape
    size = batch * channels * ht * wt * maps.element_size()
    cells = max(1, (_BYTES if maps.device.type == "cpu" else _BYTES_ELSEWHERE) // max(1, size))
    high, wide = _evenly(hs, cells // max(1, ws)), _evenly(ws, cells)
    for y in range(0, hs, high):
        for x in range(0, ws, wide):
            yield y, x, min(high, hs - y), min(wide, ws - x)


def _evenly(length: int, limit: int) -> int:
    """Return the size, at least 1, of the fewest equal parts of a length that do not exceed ``limit``."""
    parts = -(-length // max(1, limit))
    return max(1, -(-length // max(1, parts)))


def _gather(maps: Tensor, block: Block, reach: tuple[int, int]) -> Tensor:
    """Gather the maps of the neighbours of each source cell of a block: ``(B·rows·columns, i0·i1·C, ht, wt)``."""
    batch, channels, hs, ws, ht, wt = maps.shape
    near = maps.new_zeros(batch, *block[2:], *reach, channels, ht, wt)
    for a in range(reach[0]):
        for b in range(reach[1]):
            (y, x), (from_y, from_x) = _overlap(block, (a - reach[0] // 2, b - reach[1] // 2), (hs, ws))
            near[:, y, x, a, b] = maps[:, :, from_y, from_x].permute(0, 2, 3, 1, 4, 5)
    return near.flatten(3, 5).flatten(0, 2)


def _overlap(block: Block, shift: tuple[int, int], grid: tuple[int, int]) -> tuple[list[slice], list[slice]]:
    """Return the slices, in the block and in the grid, of the block's cells that lie in the grid after ``shift``."""
    inside, moved = [], []
    for begin, count, step, size in zip(block[:2], block[2:], shift, grid, strict=True):
        first = max(0, -begin - step)
        last = max(first, min(count, size - begin - step))
        inside.append(slice(first, last))
        moved.append(slice(begin + step + first, begin + step + last))
    return inside, moved
