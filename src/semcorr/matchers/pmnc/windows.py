"""Windows of the scoring function: the correlations around a pair of cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semcorr.matchers.scored import Booleans, Floats, Integers


def window_offsets(radius: int, dilation: int = 1) -> NDArray[np.int64]:
    """Return the ``((2r+1)², 2)`` offsets (dy, dx) of a window in cells, row by row.

    >>> window_offsets(1, dilation=2)[:4].tolist()
    [[-2, -2], [-2, 0], [-2, 2], [0, -2]]
    """
    steps = np.arange(-radius, radius + 1, dtype=np.int64) * dilation
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)


def what_is_read(radius: int, reach: int | None) -> Booleans:
    """Return which correlations of a window are read, by source offset and target offset: ``(S, S)`` bool.

    >>> float(what_is_read(2, None).mean()), int(what_is_read(2, 1).sum())
    (1.0, 169)
    """
    offsets = window_offsets(radius)
    far = np.abs(offsets[:, None] - offsets).max(axis=2)
    read: Booleans = far <= (2 * radius if reach is None else reach)
    return read


def windows_of(maps: Floats, radius: int, dilation: int) -> Floats:
    """Return the windows around all pairs of cells, as a view of the zero-padded maps.

    Args:
        maps: Correlation channels ``(channels, hs, ws, ht, wt)``.
        radius: Radius of the window in cells.
        dilation: Spacing of the window's cells.

    Returns:
        ``(channels, hs, ws, ht, wt, side, side, side, side)``: the last axes are rows and columns of the source offset,
        then of the target offset.
    """
    reach = radius * dilation
    padded = np.pad(maps, ((0, 0), *[(reach, reach)] * 4))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 4, axis=(1, 2, 3, 4))
    return windows[..., ::dilation, ::dilation, ::dilation, ::dilation]


def cut_windows(windows: Floats, pairs: Integers) -> Floats:
    """Copy the windows around pairs ``p · Q + q``, ``(N,)``, from those of `windows_of`: ``(N, channels, S, S)``."""
    channels, hs, ws, ht, wt, side = windows.shape[:6]
    py, px, qy, qx = np.unravel_index(pairs, (hs, ws, ht, wt))
    cut: Floats = windows[:, py, px, qy, qx].swapaxes(0, 1).reshape(-1, channels, side**2, side**2)
    return cut
