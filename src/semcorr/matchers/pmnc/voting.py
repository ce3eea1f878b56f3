"""Votes: how much the whole picture speaks for a displacement, beyond the window of the scoring function.

Neighbours that move alike vote for each other, the more the nearer they are, and with no limit to the distance:

    V(p, q) = Σ over δ of a^|δ| · B(p + δ, q + δ),    B = M^1.5, spread a little over neighbouring displacements

where M is the softly mutual-filtered correlation. That is Hough voting for displacements (Ham et al., Proposal flow,
CVPR 2016; Min et al., Hyperpixel flow, ICCV 2019), with votes that fade with distance, so that parts of an object may
move each in their way. It knows neither backbone nor category; exchange of the two pictures only exchanges the axes.
"""

from __future__ import annotations

import numpy as np

from semcorr.matchers.scored import Floats

FADING = 0.75
"""From a cell to its neighbour in one direction."""

FLOOR = 0.02
"""What a displacement without votes is worth, of the best."""

POWER = 1.5
"""What filtered correlations are raised to; x·√x in native code."""


def vote(filtered: Floats) -> Floats:
    """Return the logarithm of the votes, relative to the best of either cell.

    Args:
        filtered: Softly mutual-filtered correlations ``(hs, ws, ht, wt)``, 0 or more, of about 25 cells to a side:
            votes fade from cell to cell.

    Returns:
        ``(hs, ws, ht, wt)`` float32, between the logarithm of 0.02 and that of 1.02.
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
    """Weigh every value and its two neighbours along an axis by 2, 1, 1."""
    moved = np.moveaxis(votes, axis, 0)
    spread = 2 * moved
    spread[1:] += moved[:-1]
    spread[:-1] += moved[1:]
    return np.moveaxis(spread, 0, axis)


def _along(votes: Floats, axis: int) -> Floats:
    """Add up what lies on the same diagonal of a source axis and its target axis, fading with the distance."""
    moved = np.moveaxis(votes, (axis, axis + 2), (0, 1))
    before, behind = moved.copy(), moved.copy()
    for i in range(1, len(moved)):
        before[i, 1:] += np.float32(FADING) * before[i - 1, :-1]
    for i in range(len(moved) - 2, -1, -1):
        behind[i, :-1] += np.float32(FADING) * behind[i + 1, 1:]
    return np.moveaxis(before + behind - moved, (0, 1), (axis, axis + 2))


def votes_of_cells(votes: Floats, factor: int, grid: tuple[int, int, int, int]) -> Floats:
    """Interpolate votes of tiles bilinearly, in both pictures, for cells.

    Args:
        votes: ``(Hs, Ws, Ht, Wt)``.
        factor: Cells to a side of a tile.
        grid: Rows and columns of the cells of both pictures.

    Returns:
        ``(hs, ws, ht, wt)``.
    """
    for axis, cells in enumerate(grid):
        places = between_tiles(cells, factor, votes.shape[axis])
        low = places.astype(np.int64)
        high = np.minimum(low + 1, votes.shape[axis] - 1)
        part = (places - np.floor(places)).reshape(-1, *[1] * (3 - axis))
        votes = votes.take(low, axis) * (1 - part) + votes.take(high, axis) * part
    return votes


def between_tiles(cells: int, factor: int, tiles: int) -> Floats:
    """Return where the centres of cells are along an axis, in tiles, ``(cells,)``, inside the outermost centres."""
    places = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
    inside: Floats = np.clip(places, 0, tiles - 1).astype(np.float32)
    return inside
