"""From coarse to fine: how large grids are searched.

Cells are put together into tiles of ``factor × factor``, as many cells as the scoring window's cells are apart. The
tiles are matched as cells are. Then the cells are searched from where their tiles went, in a *banded* map: between
tiles that are near a match it holds the correlations of cells, and between all others the mean of those, which is the
product of the tiles' mean features and costs next to nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def whole_tiles(features: Floats, factor: int) -> Floats:
    """Repeat the last row and column of ``(C, h, w)`` until both are multiples of ``factor``."""
    rows, columns = (-size % factor for size in features.shape[1:])
    return np.pad(features, ((0, 0), (0, rows), (0, columns)), mode="edge") if rows or columns else features


def means_of_tiles(features: Floats, factor: int) -> Floats:
    """Return the mean features of whole tiles, ``(C, h / factor, w / factor)``."""
    sums = np.zeros((len(features), features.shape[1] // factor, features.shape[2] // factor), np.float32)
    for y in range(factor):  # several times as quick as a mean over two axes of five
        for x in range(factor):
            sums += features[:, y::factor, x::factor]
    return sums / np.float32(factor**2)


def tiles_of(features: Floats, factor: int) -> Floats:
    """Return the L2-normalised mean features of tiles, ``(C, ceil(h / factor), ceil(w / factor))``."""
    if factor == 1:
        return features
    means = means_of_tiles(whole_tiles(features, factor), factor)
    tiles: Floats = means / np.maximum(np.sqrt((means**2).sum(axis=0, keepdims=True)), np.float32(1e-12))
    return tiles
