"""Search of large grids from coarse to fine.

Cells are grouped into tiles of ``factor × factor``, where ``factor`` is the spacing of the scoring window's cells.
Tiles are matched like cells. The search of the cells then starts from the matches of their tiles, in a *banded* map:
for pairs of tiles near a match, it contains the correlations of cells; for all others, the mean of these, which is the
product of the tiles' mean features and costs almost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from semcorr.matchers.decode import decode, soft_argmax
from semcorr.matchers.scored import Booleans, Floats, Integers, Scored

BAND = 2
"""Radius, in tiles, around a tile's match within which cells are correlated."""

MODES = 3
"""Number of matches of each tile that its cells start from: the best, and the next best ones apart from it."""

DECODED = 2
"""Radius, in tiles, of the window of scores that a tile's match is decoded from."""


class Plan(NamedTuple):
    """How to search the cells, given the matches of their tiles.

    Attributes:
        near: Pairs of tiles whose cells are correlated, ``(Hs, Ws, Ht, Wt)``, bool.
        initial: Pairs of cells to start from, ``p · Q + q``, ``(N,)``, possibly with duplicates.
        certainty: Confidence of the tile match of each source cell ``(hs, ws)`` and of each target cell ``(ht, wt)``.
    """

    near: Booleans
    initial: Integers
    certainty: tuple[Floats, Floats]


def coarse_to_fine(
    source: Floats,
    target: Floats,
    factor: int,
    match_tiles: Callable[[Floats, Floats], Scored],
    match_cells: Callable[[Floats, Floats, Plan], Scored],
) -> Scored:
    """Match tiles, then cells.

    Args:
        source: L2-normalised features ``(C, hs, ws)``.
        target: Likewise, ``(C, ht, wt)``.
        factor: Cells along each side of a tile.
        match_tiles: Scores pairs of tiles, given the tile features of both images.
        match_cells: Scores pairs of cells, given the cell features of both images, padded to whole tiles, and the plan.

    Returns:
        The scored pairs of cells.
    """
    plan = make_plan(match_tiles(tiles_of(source, factor), tiles_of(target, factor)), factor)
    scored = match_cells(whole_tiles(source, factor), whole_tiles(target, factor), plan)
    (hs, ws), (ht, wt) = source.shape[1:], target.shape[1:]
    return _crop(scored, (hs, ws, ht, wt), plan.certainty)


def whole_tiles(features: Floats, factor: int) -> Floats:
    """Repeat the last row and column of ``(C, h, w)`` until both are multiples of ``factor``."""
    rows, columns = (-size % factor for size in features.shape[1:])
    return np.pad(features, ((0, 0), (0, rows), (0, columns)), mode="edge") if rows or columns else features


def means_of_tiles(features: Floats, factor: int) -> Floats:
    """Return the mean features of whole tiles, ``(C, h / factor, w / factor)``."""
    rows = np.add.reduce([features[:, y::factor] for y in range(factor)])  # rows first, which are contiguous in memory
    means: Floats = np.add.reduce([rows[:, :, x::factor] for x in range(factor)]) / np.float32(factor**2)
    return means


def tiles_of(features: Floats, factor: int) -> Floats:
    """Return the L2-normalised mean features of tiles, ``(C, ceil(h / factor), ceil(w / factor))``."""
    if factor == 1:
        return features
    means = means_of_tiles(whole_tiles(features, factor), factor)
    tiles: Floats = means / np.maximum(np.sqrt((means**2).sum(axis=0, keepdims=True)), np.float32(1e-12))
    return tiles


def make_plan(scored: Scored, factor: int) -> Plan:
    """Plan the search of the cells, given the scores of their tiles.

    Args:
        scored: The scored pairs of tiles.
        factor: Cells along each side of a tile.
    """
    forward, backward = decode(scored, radius=DECODED)
    hs, ws, ht, wt = scored.grid
    targets = ht * wt * factor**2
    near, initial = np.zeros(scored.grid, np.bool_), []
    swapped = scored.swapped()
    for of_source, of_target in zip(_modes(scored), _modes(swapped), strict=True):
        near |= _near(of_source, (ht, wt)) | _near(of_target, (hs, ws)).transpose(2, 3, 0, 1)
        q, p = _follow(of_source, (ht, wt), factor), _follow(of_target, (hs, ws), factor)  # (P,), (Q,)
        initial += [np.arange(len(q)) * targets + q, p * targets + np.arange(len(p))]
    certainty = _enlarge(forward.confidence, factor), _enlarge(backward.confidence, factor)
    return Plan(near, np.concatenate(initial), certainty)


def banded_correlation(source: Floats, target: Floats, near: Booleans, factor: int) -> Floats:
    """Correlate the cells of tiles that are near a match, and the mean features of all other tiles.

    Args:
        source: L2-normalised features ``(C, hs, ws)`` of whole tiles.
        target: Likewise, ``(C, ht, wt)``.
        near: As in `Plan`.
        factor: Cells along each side of a tile.

    Returns:
        ``(hs, ws, ht, wt)``.
    """
    means = np.einsum("cij,ckl->ijkl", means_of_tiles(source, factor), means_of_tiles(target, factor), optimize=True)
    for axis in range(4):
        near, means = near.repeat(factor, axis), means.repeat(factor, axis)
    banded: Floats = np.where(near, np.einsum("cij,ckl->ijkl", source, target, optimize=True), means)
    return banded


def _crop(scored: Scored, grid: tuple[int, int, int, int], certainty: tuple[Floats, Floats]) -> Scored:
    """Remove the cells that `whole_tiles` added."""
    hs, ws, ht, wt = grid
    pairs, scores = scored.pairs, scored.scores
    if scored.grid != grid:
        p, q = np.divmod(pairs, scored.grid[2] * scored.grid[3])
        (py, px), (qy, qx) = np.divmod(p, scored.grid[1]), np.divmod(q, scored.grid[3])
        inside = (py < hs) & (px < ws) & (qy < ht) & (qx < wt)
        pairs, scores = (((py * ws + px) * ht + qy) * wt + qx)[inside], scores[inside]
    return Scored(pairs, scores, grid, (certainty[0][:hs, :ws], certainty[1][:ht, :wt]))


def _modes(scored: Scored) -> list[Floats]:
    """Decode the best match of every source tile, and the next best ones apart from it: each ``(h, w, 2)``."""
    rows, columns, height, width = scored.grid
    cell, other = np.divmod(scored.pairs, height * width)
    scores = scored.scores
    modes: list[Floats] = []
    for _ in range(MODES):
        positions = soft_argmax(cell, other, scores, rows * columns, (height, width), DECODED)[0]
        modes.append(np.where(np.isfinite(positions), positions, modes[0]) if modes else positions)
        highest = np.full(rows * columns, -np.inf, np.float32)
        np.maximum.at(highest, cell, scores)
        best = np.full(rows * columns, height * width)
        at_best = scores == highest[cell]
        np.minimum.at(best, cell[at_best], other[at_best])
        (y, x), (best_y, best_x) = np.divmod(other, width), np.divmod(best[cell], width)
        apart = (np.abs(y - best_y) > DECODED) | (np.abs(x - best_x) > DECODED)
        cell, other, scores = cell[apart], other[apart], scores[apart]
    return [positions.reshape(rows, columns, 2) for positions in modes]


def _near(matches: Floats, grid: tuple[int, int]) -> Booleans:
    """Mark the tiles of the other image around each match: ``(h, w, 2)`` to ``(h, w, *grid)``."""
    rounded = np.rint(matches)
    by_row = np.abs(np.arange(grid[0]) - rounded[..., 1:]) <= BAND  # (h, w, rows)
    by_column = np.abs(np.arange(grid[1]) - rounded[..., :1]) <= BAND  # (h, w, columns)
    near: Booleans = by_row[..., None] & by_column[..., None, :]
    return near


def _follow(matches: Floats, grid: tuple[int, int], factor: int) -> Integers:
    """Match every cell to the cell at the same position within the match of its tile: ``(cells,)``."""
    corners = np.rint(matches * np.float32(factor)).astype(np.int64)  # (h, w, 2)
    steps, limits = np.arange(factor), (grid[0] * factor - 1, grid[1] * factor - 1)
    y = np.clip(corners[..., 1, None] + steps, 0, limits[0])  # (rows, columns, factor)
    x = np.clip(corners[..., 0, None] + steps, 0, limits[1])
    cells = y[..., None] * (limits[1] + 1) + x[..., None, :]  # (rows, columns, factor, factor)
    matched: Integers = cells.swapaxes(1, 2).ravel()
    return matched


def _enlarge(values: Floats, factor: int) -> Floats:
    return values.repeat(factor, 0).repeat(factor, 1)
