"""Torch version of `semcorr.matchers.pmnc.windows`."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.geometry import Size, cells_to_sampling
from semcorr.matchers.pmnc import windows


def window_offsets(radius: int, dilation: int = 1, device: torch.device | str | None = None) -> Tensor:
    """Return the ``((2r+1)², 2)`` offsets (dy, dx) of a window in cells, row by row."""
    return _offsets(radius, dilation).to(device)


@lru_cache(maxsize=64)
def _offsets(radius: int, dilation: int) -> Tensor:
    return torch.from_numpy(windows.window_offsets(radius, dilation))


def sample_rows(maps: Tensor, cells: Tensor, radius: int, dilation: int = 1) -> Tensor:
    """Interpolate the target maps of the window cells around continuous source points; zero outside the image.

    Args:
        maps: Correlation channels ``(channels, hs, ws, ht, wt)``.
        cells: Source points ``(N, 2)`` (x, y) in cell coordinates.
        radius: Radius of the window in cells.
        dilation: Spacing of the window's cells.

    Returns:
        ``(N, channels, S, ht, wt)``.
    """
    channels, hs, ws, ht, wt = maps.shape
    grid: Size = (hs, ws)
    offsets = window_offsets(radius, dilation, maps.device).flip(1)  # (S, 2) as (dx, dy)
    positions = cells_to_sampling(cells[:, None] + offsets, grid)  # (N, S, 2)
    target_maps = maps.permute(0, 3, 4, 1, 2).reshape(1, channels * ht * wt, hs, ws)
    rows = F.grid_sample(target_maps, positions[None], align_corners=False, padding_mode="zeros")
    return rows[0].reshape(channels, ht, wt, cells.shape[0], -1).permute(3, 0, 4, 1, 2)


def pad_maps(maps: Tensor, reach: int) -> Tensor:
    """Pad correlation channels with zeros and move channels last, so that a window is few contiguous pieces of memory.

    Args:
        maps: Correlation channels ``(B, channels, hs, ws, ht, wt)``.
        reach: Number of cells of padding at each end of the last four axes.

    Returns:
        ``(B, hs + 2·reach, ws + 2·reach, ht + 2·reach, wt + 2·reach, channels)``, contiguous.
    """
    return torch.nn.functional.pad(maps, (reach,) * 8).movedim(1, -1).contiguous()


def cut_windows(padded: Tensor, pairs: Tensor, radius: int, dilation: int) -> Tensor:
    """Copy the windows around pairs from padded maps.

    Args:
        padded: Output of `pad_maps` with a reach of ``radius · dilation``.
        pairs: Batch index, source row and column, and target row and column, ``(N, 5)``, before padding.
        radius: Radius of the window in cells.
        dilation: Spacing of the window's cells.

    Returns:
        ``(N, S, S, channels)``, source offsets before target offsets.
    """
    side = 2 * radius + 1
    strides = padded.stride()[1:5]
    steps = [stride * dilation for stride in strides]
    # A view of the windows that start at each element of memory: indexing it copies whole windows.
    starts = padded.numel() - sum(step * (side - 1) for step in steps) - (padded.shape[5] - 1)
    views = padded.as_strided((starts, *[side] * 4, padded.shape[5]), (1, *steps, 1))
    corners = pairs[:, 0] * padded.stride(0)  # (N,)
    for axis, stride in enumerate(strides, 1):
        corners = corners + pairs[:, axis] * stride
    return views[corners].flatten(3, 4).flatten(1, 2)
