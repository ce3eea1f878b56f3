"""`semcorr.matchers.pmnc.windows` in torch."""

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
    """Read the target maps of the window cells around continuous source points.

    Args:
        maps: ``(channels, hs, ws, ht, wt)``.
        cells: ``(N, 2)`` (x, y) in cell coordinates.
        radius: The window's radius in cells.
        dilation: Spacing of the window's cells.

    Returns:
        ``(N, channels, S, ht, wt)``.
    """
    channels, hs, ws, ht, wt = maps.shape
    grid: Size = (hs, ws)
    offsets = window_offsets(radius, dilation, maps.device).flip(1)  # (S, 2) as (dx, dy)
    places = cells_to_sampling(cells[:, None] + offsets, grid)  # (N, S, 2)
    target_maps = maps.permute(0, 3, 4, 1, 2).reshape(1, channels * ht * wt, hs, ws)
    rows = F.grid_sample(target_maps, places[None], align_corners=False, padding_mode="zeros")
    return rows[0].reshape(channels, ht, wt, cells.shape[0], -1).permute(3, 0, 4, 1, 2)


def pad_maps(maps: Tensor, reach: int) -> Tensor:
    """Put zeros around correlation channels, and the channels last, so that a window is read in few long runs.

    Args:
        maps: ``(B, channels, hs, ws, ht, wt)``.
        reach: Cells of zeros at each end of the last four dimensions.

    Returns:
        ``(B, hs + 2·reach, ws + 2·reach, ht + 2·reach, wt + 2·reach, channels)``, contiguous.
    """
    return torch.nn.functional.pad(maps, (reach,) * 8).movedim(1, -1).contiguous()


def cut_windows(padded: Tensor, pairs: Tensor, radius: int, dilation: int) -> Tensor:
    """Cut the windows around pairs out of padded maps.

    Args:
        padded: From `pad_maps` with a reach of ``radius · dilation``.
        pairs: ``(N, 5)``, in the coordinates of the maps before padding.
        radius: The window's radius in cells.
        dilation: Spacing of the window's cells.

    Returns:
        ``(N, S, S, channels)``, source offsets before target offsets.
    """
    side = 2 * radius + 1
    strides = padded.stride()[1:5]
    steps = [stride * dilation for stride in strides]
    # Every window that begins anywhere in memory, as a view: the index then copies whole windows.
    begins = padded.numel() - sum(step * (side - 1) for step in steps) - (padded.shape[5] - 1)
    views = padded.as_strided((begins, *[side] * 4, padded.shape[5]), (1, *steps, 1))
    corners = pairs[:, 0] * padded.stride(0)  # (N,)
    for axis, stride in enumerate(strides, 1):
        corners = corners + pairs[:, axis] * stride
    return views[corners].flatten(3, 4).flatten(1, 2)
