"""Matches corrected by fine descriptors: sub-cell precision at the cost of a coarse grid. No torch is needed.

Every match proposes a place; the fine cells around it are compared with the fine descriptor of the point that it
belongs to, and the match moves to their soft-argmax. `semcorr.features.fine` makes the descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from semcorr.geometry import cell_centres_array, cells_to_pixels, pixels_to_cells
from semcorr.jit import import_compiled
from semcorr.match.blend import blend, visibility_at
from semcorr.match.result import Match
from semcorr.match.types import Field, Floats

RADIUS = 3
"""Radius in fine cells of the window that a match is corrected in."""

POWER = 2.0
"""What the log-probabilities are multiplied by; chosen on validation pairs, where 1 and 2 are alike but for the finest
threshold, and 2 is better there."""

_AT_ONCE = 512


@dataclass(frozen=True)
class Refinement:
    """How fine descriptors are compared.

    Attributes:
        sharpness: What a cosine of 1 is worth, as a log-probability.
        spread: Standard deviation of the way from a match to where it belongs, in fine cells.
    """

    sharpness: float
    spread: float


def refine(match: Match, source: Floats, target: Floats, refinement: Refinement) -> Match:
    """Correct a match, both ways.

    Args:
        match: On its coarse grid.
        source: Fine descriptors of the source ``(D, h, w)``, L2-normalised over D.
        target: Those of the target ``(D, h', w')``.
        refinement: How they are compared.

    Returns:
        The match on the grid of the descriptors, or on its own where that is the finer one. The confidence is that of
        the coarse matches which had a say.
    """
    return replace(
        match,
        forward=_refine(match, source, target, refinement),
        backward=_refine(match.inverse(), target, source, refinement),
    )


def _refine(match: Match, source: Floats, target: Floats, refinement: Refinement) -> Field:
    rows, columns = match.forward.confidence.shape
    here, there = (source.shape[1], source.shape[2]), (target.shape[1], target.shape[2])
    grid = here if here[0] * here[1] > rows * columns else (rows, columns)
    points = cells_to_pixels(cell_centres_array(grid), match.source_size, grid).reshape(-1, 2)
    moved, _ = blend(match.direction, points)  # every fine cell belongs to one part of the object
    if grid == here:
        descriptors = np.ascontiguousarray(source.reshape(len(source), -1).T)
    else:
        descriptors = _read(source, pixels_to_cells(points, match.source_size, here))
    begin = pixels_to_cells(moved.points, match.target_size, there)
    cells = correct(descriptors, np.ascontiguousarray(np.moveaxis(target, 0, 2)), begin, refinement)
    places = np.clip(cells_to_pixels(cells, match.target_size, there), 0, match.target_size[::-1])
    visible = None if match.forward.visibility is None else visibility_at(match.direction, points).reshape(grid)
    return Field(places.astype(np.float32).reshape(*grid, 2), moved.confidence.reshape(grid), visible)


def _read(descriptors: Floats, cells: Floats) -> Floats:
    """Interpolate descriptors ``(D, h, w)`` bilinearly at ``(N, 2)`` cell coordinates: ``(N, D)``, L2-normalised."""
    last = np.array(descriptors.shape[:0:-1]) - 1
    inner = np.clip(cells, 0, last)
    low = np.floor(inner).astype(np.int64)
    (x, y), (right, below) = low.T, np.minimum(low + 1, last).T
    dx, dy = (inner - low).T
    upper = descriptors[:, y, x] * (1 - dx) + descriptors[:, y, right] * dx
    lower = descriptors[:, below, x] * (1 - dx) + descriptors[:, below, right] * dx
    read = (upper * (1 - dy) + lower * dy).T
    found: Floats = (read / np.maximum(np.linalg.norm(read, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return found


def correct(descriptors: Floats, target: Floats, begin: Floats, refinement: Refinement) -> Floats:
    """Move places to the soft-argmax around them, in compiled code where that can be had.

    Args:
        descriptors: ``(N, D)``, L2-normalised.
        target: ``(h, w, D)``, likewise.
        begin: ``(N, 2)`` (x, y) in the target's cells, inside it.
        refinement: How they are compared.

    Returns:
        ``(N, 2)`` (x, y) in the target's cells.
    """
    compiled = import_compiled("semcorr.match.refine_compiled")
    if not isinstance(compiled, ModuleType):
        return correct_plain(descriptors, target, begin, refinement)
    factor, nearness = POWER * refinement.sharpness, POWER / (2 * refinement.spread**2)
    found: Floats = compiled.correct_compiled(descriptors, target, begin.astype(np.float32), RADIUS, factor, nearness)
    return found


def correct_plain(descriptors: Floats, target: Floats, begin: Floats, refinement: Refinement) -> Floats:
    """NumPy implementation of `correct`."""
    height, width = target.shape[:2]
    steps = np.arange(-RADIUS, RADIUS + 1)
    found = np.empty_like(begin)
    for start in range(0, len(begin), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        nearest = np.rint(begin[part]).astype(np.int64)
        x, y = nearest[:, 0, None] + steps, nearest[:, 1, None] + steps  # (N, side)
        around = target[np.clip(y, 0, height - 1)[:, :, None], np.clip(x, 0, width - 1)[:, None]]
        cosines = np.einsum("nyxd,nd->nyx", around, descriptors[part], optimize=True)
        away = (y - begin[part, 1, None])[:, :, None] ** 2 + (x - begin[part, 0, None])[:, None] ** 2
        logits = POWER * (refinement.sharpness * cosines - away / (2 * refinement.spread**2))
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
        weights = np.where(inside, np.exp(logits - logits.max(axis=(1, 2), keepdims=True)), 0)
        weights /= weights.sum(axis=(1, 2), keepdims=True)
        found[part, 0] = (weights.sum(axis=1) * x).sum(axis=1)
        found[part, 1] = (weights.sum(axis=2) * y).sum(axis=1)
    return found
