"""Correct matches by fine descriptors: sub-cell precision at the cost of a coarse grid, in NumPy.

Around the target position of each match, fine cells are compared with the fine descriptor of the source point, and the
match moves to the soft-argmax of this comparison. `semcorr.features.fine` computes the descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from semcorr.geometry import cell_centres_array, cells_to_pixels, pixels_to_cells
from semcorr.match.blend import blend, visibility_at
from semcorr.match.result import Match
from semcorr.match.types import Field, Floats
from semcorr.native import core
from semcorr.native import points as native
from semcorr.threads import in_parallel, thread_count

RADIUS = 3
"""Radius, in fine cells, of the window within which a match is corrected."""

POWER = 2.0
"""Factor on the log-probabilities. On validation pairs, 2 beats 1 at the finest threshold and equals it elsewhere."""

_AT_ONCE = 512


@dataclass(frozen=True)
class Correction:
    """How fine descriptors are compared.

    Attributes:
        sharpness: Log-probability of a cosine of 1.
        spread: Standard deviation of the distance from a match to the true position, in fine cells.
    """

    sharpness: float
    spread: float


def correct_match(match: Match, source: Floats, target: Floats, correction: Correction) -> Match:
    """Correct both directions of a match.

    Args:
        match: The match on its coarse grid.
        source: Fine descriptors of the source ``(D, h, w)`` float32, L2-normalised over D.
        target: Fine descriptors of the target ``(D, h', w')``, L2-normalised over D.
        correction: How they are compared.

    Returns:
        The match on the grid of the descriptors, or on its own grid if that is finer. The confidence is that of the
        coarse matches from which each point was blended.
    """
    ways = [(match, source, target, correction), (match.inverse(), target, source, correction)]
    forward, backward = in_parallel(lambda way: _correct_direction(*way), ways, thread_count())
    return replace(match, forward=forward, backward=backward)


def _correct_direction(match: Match, source: Floats, target: Floats, correction: Correction) -> Field:
    rows, columns = match.forward.confidence.shape
    source_grid, target_grid = (source.shape[1], source.shape[2]), (target.shape[1], target.shape[2])
    grid = source_grid if source_grid[0] * source_grid[1] > rows * columns else (rows, columns)
    points = cells_to_pixels(cell_centres_array(grid), match.source_size, grid).reshape(-1, 2)
    blended, _ = blend(match.direction, points)  # every fine cell belongs to one part of the object
    if grid == source_grid:
        descriptors = np.ascontiguousarray(source.reshape(len(source), -1).T)
    else:
        descriptors = _interpolate(source, pixels_to_cells(points, match.source_size, source_grid))
    start = pixels_to_cells(blended.points, match.target_size, target_grid)
    cells = correct_cells(descriptors, np.ascontiguousarray(np.moveaxis(target, 0, 2)), start, correction)
    corrected = np.clip(cells_to_pixels(cells, match.target_size, target_grid), 0, match.target_size[::-1])
    visible = None if match.forward.visibility is None else visibility_at(match.direction, points).reshape(grid)
    return Field(corrected.astype(np.float32).reshape(*grid, 2), blended.confidence.reshape(grid), visible)


def _interpolate(descriptors: Floats, cells: Floats) -> Floats:
    """Interpolate descriptors ``(D, h, w)`` bilinearly at ``(N, 2)`` cell coordinates: ``(N, D)``, L2-normalised."""
    last = np.array(descriptors.shape[:0:-1]) - 1
    inner = np.clip(cells, 0, last)
    low = np.floor(inner).astype(np.int64)
    (x, y), (right, below) = low.T, np.minimum(low + 1, last).T
    dx, dy = (inner - low).T
    upper = descriptors[:, y, x] * (1 - dx) + descriptors[:, y, right] * dx
    lower = descriptors[:, below, x] * (1 - dx) + descriptors[:, below, right] * dx
    values = (upper * (1 - dy) + lower * dy).T
    unit: Floats = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return unit


def correct_cells(descriptors: Floats, target: Floats, start: Floats, correction: Correction) -> Floats:
    """Move positions to the soft-argmax around them, in native code if it is available.

    Args:
        descriptors: Fine descriptor of each point, ``(N, D)`` float32, L2-normalised.
        target: Fine descriptors of the target, ``(h, w, D)``, L2-normalised over D.
        start: Positions ``(N, 2)`` (x, y) in the target's cells, inside it.
        correction: How descriptors are compared.

    Returns:
        Corrected positions ``(N, 2)`` (x, y) in the target's cells.
    """
    if core() is None:
        return correct_cells_plain(descriptors, target, start, correction)
    factor, nearness = POWER * correction.sharpness, POWER / (2 * correction.spread**2)
    own, others, positions = (np.ascontiguousarray(array, dtype=np.float32) for array in (descriptors, target, start))
    return native.correct(own, others, positions, RADIUS, factor, nearness)


def correct_cells_plain(descriptors: Floats, target: Floats, start: Floats, correction: Correction) -> Floats:
    """NumPy implementation of `correct_cells`."""
    height, width = target.shape[:2]
    steps = np.arange(-RADIUS, RADIUS + 1)
    corrected = np.empty_like(start)
    for first in range(0, len(start), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        nearest = np.rint(start[part]).astype(np.int64)
        x, y = nearest[:, 0, None] + steps, nearest[:, 1, None] + steps  # (N, side)
        window = target[np.clip(y, 0, height - 1)[:, :, None], np.clip(x, 0, width - 1)[:, None]]  # (N, side, side, D)
        cosines = np.einsum("nyxd,nd->nyx", window, descriptors[part], optimize=True)
        squared = (y - start[part, 1, None])[:, :, None] ** 2 + (x - start[part, 0, None])[:, None] ** 2
        logits = POWER * (correction.sharpness * cosines - squared / (2 * correction.spread**2))
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
        weights = np.where(inside, np.exp(logits - logits.max(axis=(1, 2), keepdims=True)), 0)
        weights /= weights.sum(axis=(1, 2), keepdims=True)
        corrected[part, 0] = (weights.sum(axis=1) * x).sum(axis=1)
        corrected[part, 1] = (weights.sum(axis=2) * y).sum(axis=1)
    return corrected
