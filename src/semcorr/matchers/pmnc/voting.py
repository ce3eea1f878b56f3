"""Votes: the support of the whole image for a displacement, beyond the window of the scoring function.

Correspondences with similar displacement support each other, with a weight that decays with their distance:

    V(p, q) = Σ over δ of a^|δ| · B(p + δ, q + δ),    B = M^1.5, smoothed over neighbouring displacements

where M is the soft-mutual-filtered correlation. This is Hough voting for displacements (Ham et al., Proposal Flow,
CVPR 2016; Min et al., Hyperpixel Flow, ICCV 2019) with votes that decay with distance, so that the parts of an object
may move independently. It depends on neither the backbone nor the category, and exchanging the two images only
exchanges the axes.
"""

from __future__ import annotations

import numpy as np

from semcorr.matchers.scored import Floats

FADING = 0.75
"""Decay a of a vote per cell of distance along an axis."""

FLOOR = 0.02
"""Value of a displacement without votes, relative to the best one."""

POWER = 1.5
"""Exponent of filtered correlations; x·√x in native code."""


def vote(filtered: Floats) -> Floats:
    """Return the logarithm of the votes, relative to the best of either cell.

    Args:
        filtered: Soft-mutual-filtered correlations ``(hs, ws, ht, wt)``, 0 or more. The decay per cell suits grids of
            about 25 cells along each side.

    Returns:
        ``(hs, ws, ht, wt)`` float32, from log 0.02 to log 1.02.
    """
    votes = filtered.astype(np.float32) ** np.float32(POWER)
    for axis in range(4):
        votes = _spread(votes, axis)
    for axis in range(2):
        votes = _along(votes, axis)
    best = np.sqrt(votes.max(axis=(2, 3), keepdims=True) * votes.max(axis=(0, 1), keepdims=True))
    relative: Floats = np.log(votes / np.maximum(best, np.finfo(np.float32).tiny) + np.float32(FLOOR))
    return relative


def _spread(votes: Floats, axis: int) -> Floats:
    """Smooth along an axis by the weights 1, 2, 1."""
    moved = np.moveaxis(votes, axis, 0)
    spread = 2 * moved
    spread[1:] += moved[:-1]
    spread[:-1] += moved[1:]
    return np.moveaxis(spread, 0, axis)


def _along(votes: Floats, axis: int) -> Floats:
    """Sum votes along the diagonals of a source axis and its target axis, weighted by the decay with distance."""
    moved = np.moveaxis(votes, (axis, axis + 2), (0, 1))
    from_before, from_after = moved.copy(), moved.copy()
    for i in range(1, len(moved)):
        from_before[i, 1:] += np.float32(FADING) * from_before[i - 1, :-1]
    for i in range(len(moved) - 2, -1, -1):
        from_after[i, :-1] += np.float32(FADING) * from_after[i + 1, 1:]
    return np.moveaxis(from_before + from_after - moved, (0, 1), (axis, axis + 2))


def votes_of_cells(votes: Floats, factor: int, grid: tuple[int, int, int, int]) -> Floats:
    """Interpolate the votes of tiles bilinearly, in both images, at the centres of cells.

    Args:
        votes: Votes of tiles, ``(Hs, Ws, Ht, Wt)``.
        factor: Cells along each side of a tile.
        grid: Rows and columns of cells of the source, then of the target.

    Returns:
        Votes of cells, ``(hs, ws, ht, wt)``.
    """
    for axis, cells in enumerate(grid):
        positions = between_tiles(cells, factor, votes.shape[axis])
        low = positions.astype(np.int64)
        high = np.minimum(low + 1, votes.shape[axis] - 1)
        part = (positions - np.floor(positions)).reshape(-1, *[1] * (3 - axis))
        votes = votes.take(low, axis) * (1 - part) + votes.take(high, axis) * part
    return votes


def between_tiles(cells: int, factor: int, tiles: int) -> Floats:
    """Return the positions of cell centres along an axis, in tiles, clipped to the outermost centres: ``(cells,)``."""
    positions = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
    clipped: Floats = np.clip(positions, 0, tiles - 1).astype(np.float32)
    return clipped
