"""Transfer points by blending the matches of the four cells around each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semcorr.geometry import Size, cell_centres_array, cells_to_pixels, pixels_to_cells
from semcorr.match.types import Bytes, Field, Floats, Transferred
from semcorr.native import core
from semcorr.native import points as native

FAINT = 1e-3
"""Added to every confidence, so that four matches of confidence zero still give an answer."""

_POINTS_AT_ONCE = 1 << 18
_SAME_PART = 3.0  # largest distance of proposals that are blended, in target cells; chosen on the validation pairs
_SPREAD = 1.5  # cells, of the Gaussian that makes a match smooth
_ROUNDS = 4  # of averaging, in which cells that disagree count less and less
_AROUND = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])


class Direction(NamedTuple):
    """One direction of a match: everything needed to transfer points.

    Attributes:
        field: The match of each source cell.
        source_size: Height and width of the source in pixels.
        target_size: Height and width of the target in pixels.
        target_grid: Rows and columns of the target's cells.
        plain: Interpolate bilinearly, as in the evaluations of NC-Net and ANC-Net, instead of blending proposals.
    """

    field: Field
    source_size: Size
    target_size: Size
    target_grid: Size
    plain: bool = False

    def cell_size(self) -> Floats:
        """Return width and height of a target cell in pixels, ``(2,)``."""
        (height, width), (rows, columns) = self.target_size, self.target_grid
        return np.array([width / columns, height / rows], dtype=np.float32)


def move(direction: Direction, points: Floats) -> Transferred:
    """Transfer points ``(N, 2)`` (x, y), in pixels inside the source, to the target."""
    blended, share = blend(direction, points)
    return Transferred(blended.points, blended.confidence * share)


def move_all(direction: Direction) -> Transferred:
    """Transfer the centre of every source pixel: points ``(H, W, 2)``, confidence ``(H, W)``."""
    height, width = size = direction.source_size
    centres = cells_to_pixels(cell_centres_array(size), size, size).reshape(-1, 2)
    parts = [move(direction, centres[i : i + _POINTS_AT_ONCE]) for i in range(0, len(centres), _POINTS_AT_ONCE)]
    points = np.concatenate([part.points for part in parts]).reshape(height, width, 2)
    return Transferred(points, np.concatenate([part.confidence for part in parts]).reshape(height, width))


def blend(direction: Direction, points: Floats) -> tuple[Transferred, Floats]:
    """Let the four cells around each point propose a match, as neighbours do in PatchMatch, and blend the proposals.

    A proposal is the match of a cell plus the offset from the cell's centre to the point, measured in cells. Its weight
    is its bilinear weight times its confidence. Proposals far from the one with the largest weight belong to another
    part of the object and are ignored. Plain interpolation uses the matches themselves and bilinear weights alone.

    Args:
        direction: The matches.
        points: ``(N, 2)`` float32 (x, y) in pixels inside the source.

    Returns:
        The points in the target with the mean confidence of the proposals that were blended, and the sum of their
        bilinear weights ``(N,)``, 0…1.
    """
    if direction.plain or core() is None:
        return blend_plain(direction, points)
    (height, width), cell = direction.target_size, direction.cell_size()
    blending = native.Blending(
        np.ascontiguousarray(direction.field.points, dtype=np.float32),
        np.ascontiguousarray(direction.field.confidence, dtype=np.float32),
        (float(cell[0]), float(cell[1])),
        (float(width), float(height)),
        FAINT,
        _SAME_PART,
    )
    cells = pixels_to_cells(points, direction.source_size, grid_of(direction.field))
    blended, mean, share = native.blend(np.ascontiguousarray(cells, dtype=np.float32), blending)
    return Transferred(blended, mean), share


def blend_plain(direction: Direction, points: Floats) -> tuple[Transferred, Floats]:
    """NumPy implementation of `blend`."""
    grid, cell_size = grid_of(direction.field), direction.cell_size()
    height, width = direction.target_size
    cells = pixels_to_cells(points, direction.source_size, grid)
    last = np.array([grid[1] - 1, grid[0] - 1])
    inner = np.clip(cells, 0, last)  # beyond the outermost centres, only the outermost cells propose
    neighbours = np.floor(inner).astype(np.int64)[None] + _AROUND[:, None]  # (4, N, 2)
    nearness = np.clip(1 - np.abs(inner - neighbours), 0, 1).prod(axis=2)  # (4, N)
    x, y = np.moveaxis(np.minimum(neighbours, last), 2, 0)
    matches, confidence = direction.field.points[y, x], direction.field.confidence[y, x]
    if direction.plain:
        interpolated = (nearness[..., None] * matches).sum(axis=0)
        mean = (nearness * confidence).sum(axis=0).astype(np.float32)
        return Transferred(interpolated.astype(np.float32), mean), np.ones_like(mean)
    proposals = matches + (cells - neighbours) * cell_size  # (4, N, 2)
    weights = nearness * (confidence + FAINT)
    leader = np.take_along_axis(proposals, weights.argmax(axis=0)[None, :, None], axis=0)
    agrees = np.linalg.norm((proposals - leader) / cell_size, axis=2) <= _SAME_PART
    weights *= agrees
    weights /= weights.sum(axis=0)
    blended = np.clip((weights[..., None] * proposals).sum(axis=0), 0, [width, height])
    share: Floats = (nearness * agrees).sum(axis=0).astype(np.float32)
    mean = ((nearness * agrees * confidence).sum(axis=0) / share).astype(np.float32)
    return Transferred(blended.astype(np.float32), mean), share


def visibility_at(direction: Direction, points: Floats) -> Floats:
    """Interpolate visibility bilinearly at ``points (..., 2)`` in source pixels: ``(...)``; 1 where it is unknown."""
    visibility = direction.field.visibility
    if visibility is None:
        return np.ones(points.shape[:-1], np.float32)
    return interpolate(visibility[..., None], direction.source_size, points)[..., 0]


def interpolate(values: Floats, source_size: Size, points: Floats) -> Floats:
    """Interpolate values of cells ``(rows, columns, C)`` bilinearly at ``points (..., 2)`` in pixels: ``(..., C)``."""
    rows, columns = values.shape[:2]
    cells = pixels_to_cells(points, source_size, (rows, columns))
    inner = np.clip(cells, 0, np.array([columns - 1, rows - 1], dtype=np.float32))
    low = np.floor(inner).astype(np.int64)
    x, y = low[..., 0], low[..., 1]
    right, below = np.minimum(x + 1, columns - 1), np.minimum(y + 1, rows - 1)
    dx, dy = np.moveaxis(inner - low, -1, 0)[..., None]
    upper = values[y, x] * (1 - dx) + values[y, right] * dx
    lower = values[below, x] * (1 - dx) + values[below, right] * dx
    blended: Floats = (upper * (1 - dy) + lower * dy).astype(np.float32)
    return blended


class Smooth(NamedTuple):
    """One direction of a match as one smooth map, for pictures: every pixel ``(H, W)`` of the source.

    Attributes:
        points: ``(H, W, 2)`` in target pixels.
        worth: ``(H, W)``, 0…1: how probable it is that the target shows the pixel, and that its match is right.
    """

    points: Floats
    worth: Floats


def smooth(direction: Direction) -> Smooth:
    """Spread the matches that are worth most over those around them, until neighbouring pixels move alike.

    Matches of cells may jump from one part of an object to another, so that a warped picture breaks into tiles. Here
    displacements are averaged over neighbouring cells, weighted by what they are worth and by how well they agree.
    """
    field, size = direction.field, direction.source_size
    worth = field.confidence if field.visibility is None else field.confidence * field.visibility
    grid = grid_of(field)
    start = cells_to_pixels(cell_centres_array(grid), direction.target_size, grid)
    moved = (field.points - start) / direction.cell_size()  # in target cells
    weight, average = (worth**2 + FAINT)[..., None], moved
    for _ in range(_ROUNDS):
        total = _spread(weight)
        average = _spread(weight * moved) / np.maximum(total, 1e-12)
        off = np.linalg.norm(moved - average, axis=2, keepdims=True) / _SAME_PART
        weight = (worth**2 + FAINT)[..., None] * np.exp(-(off**2))
    centres = cells_to_pixels(cell_centres_array(size), size, size)
    unit = np.array(direction.target_size[::-1], np.float32) / np.array(size[::-1], np.float32)
    shift = interpolate((average * direction.cell_size()).astype(np.float32), size, centres)
    limits = np.array(direction.target_size[::-1], np.float32)
    points: Floats = np.clip(centres * unit + shift, 0, limits).astype(np.float32)
    return Smooth(points, interpolate(worth[..., None], size, centres)[..., 0])


def _spread(values: Floats) -> Floats:
    """Average values of cells ``(rows, columns, C)`` with a Gaussian of `_SPREAD` cells, zeros beyond the border."""
    reach = int(3 * _SPREAD)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SPREAD) ** 2)
    for axis in (0, 1):
        padding = [(reach, reach) if axis == k else (0, 0) for k in range(3)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, padding), 2 * reach + 1, axis)
        values = windows @ (kernel / kernel.sum())
    return values


def warp(target: Bytes, points: Floats) -> Bytes:
    """Sample an image bilinearly at points ``(H, W, 2)`` in its pixels: ``(H, W, 3)`` uint8."""
    height, width = target.shape[:2]
    last = np.array([width - 1, height - 1], dtype=np.float32)
    warped = np.empty((*points.shape[:2], 3), dtype=np.uint8)
    for row, positions in zip(warped, points, strict=True):  # row by row, to save memory
        cells = np.clip(pixels_to_cells(positions, (height, width), (height, width)), 0, last)  # (W, 2)
        low = cells.astype(np.int64)
        x, y = low.T
        right, below = np.minimum(x + 1, width - 1), np.minimum(y + 1, height - 1)
        dx, dy = (cells - low).T[..., None]
        upper = target[y, x] * (1 - dx) + target[y, right] * dx
        lower = target[below, x] * (1 - dx) + target[below, right] * dx
        row[:] = np.rint(upper * (1 - dy) + lower * dy)
    return warped


def grid_of(field: Field) -> Size:
    """Return the rows and columns of a field."""
    return field.confidence.shape[0], field.confidence.shape[1]
