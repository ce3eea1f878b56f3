"""From coarse to fine: how large grids are searched.

Cells are put together into tiles of ``factor × factor``, as many cells as the scoring window's cells are apart. The
tiles are matched as cells are. Then the cells are searched from where their tiles went, in a *banded* map: between
tiles that are near a match it holds the correlations of cells, and between all others the mean of those, which is the
product of the tiles' mean features and costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from semcorr.matchers.decode import decode, soft_argmax
from semcorr.matchers.scored import Booleans, Floats, Integers, Scored

BAND = 2
"""Tiles around a tile's match between which cells are correlated."""

MODES = 3
"""Matches of every tile from which its cells begin: the best, and the next best ones that are apart from it."""

DECODED = 2
"""Tiles around the best-scored one that a tile's match is decoded from."""


class Plan(NamedTuple):
    """What the search of tiles leaves to be done.

    Attributes:
        near: Pairs of tiles whose cells are to be correlated, ``(Hs, Ws, Ht, Wt)``, bool.
        initial: Pairs of cells to begin with, ``p · Q + q``, ``(N,)``; some are listed more than once.
        certainty: Confidence of the match of each source cell's tile and of each target cell's, ``(hs, ws)`` and
            ``(ht, wt)``.
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
        factor: Cells to a side of a tile.
        match_tiles: Scores pairs of tiles, from the features of both pictures' tiles.
        match_cells: Scores pairs of cells, from the features of both pictures' cells, in whole tiles, and the plan.

    Returns:
        The pairs of cells that were scored.
    """
    made = plan(match_tiles(tiles_of(source, factor), tiles_of(target, factor)), factor)
    found = match_cells(whole_tiles(source, factor), whole_tiles(target, factor), made)
    (hs, ws), (ht, wt) = source.shape[1:], target.shape[1:]
    return _crop(found, (hs, ws, ht, wt), made.certainty)


def whole_tiles(features: Floats, factor: int) -> Floats:
    """Repeat the last row and column of ``(C, h, w)`` until both are multiples of ``factor``."""
    rows, columns = (-size % factor for size in features.shape[1:])
    return np.pad(features, ((0, 0), (0, rows), (0, columns)), mode="edge") if rows or columns else features


def means_of_tiles(features: Floats, factor: int) -> Floats:
    """Return the mean features of whole tiles, ``(C, h / factor, w / factor)``."""
    rows = np.add.reduce([features[:, y::factor] for y in range(factor)])  # by rows first: whole runs of memory
    means: Floats = np.add.reduce([rows[:, :, x::factor] for x in range(factor)]) / np.float32(factor**2)
    return means


def tiles_of(features: Floats, factor: int) -> Floats:
    """Return the L2-normalised mean features of tiles, ``(C, ceil(h / factor), ceil(w / factor))``."""
    if factor == 1:
        return features
    means = means_of_tiles(whole_tiles(features, factor), factor)
    tiles: Floats = means / np.maximum(np.sqrt((means**2).sum(axis=0, keepdims=True)), np.float32(1e-12))
    return tiles


def plan(scored: Scored, factor: int) -> Plan:
    """Decide from the scores of tiles where to search.

    Args:
        scored: The scored pairs of tiles.
        factor: Cells to a side of a tile.
    """
    forward, backward = decode(scored, radius=DECODED)
    hs, ws, ht, wt = scored.grid
    targets = ht * wt * factor**2
    near, initial = np.zeros(scored.grid, np.bool_), []
    swapped = scored.swapped()
    for there, back in zip(_modes(scored), _modes(swapped), strict=True):
        near |= _near(there, (ht, wt)) | _near(back, (hs, ws)).transpose(2, 3, 0, 1)
        forth, home = _follow(there, (ht, wt), factor), _follow(back, (hs, ws), factor)  # (P,), (Q,)
        initial += [np.arange(len(forth)) * targets + forth, home * targets + np.arange(len(home))]
    certainty = _enlarge(forward.confidence, factor), _enlarge(backward.confidence, factor)
    return Plan(near, np.concatenate(initial), certainty)


def banded_correlation(source: Floats, target: Floats, near: Booleans, factor: int) -> Floats:
    """Correlate the cells of tiles that are near each other, and the means of all other tiles: the plain, dense way.

    Args:
        source: L2-normalised features ``(C, hs, ws)`` of whole tiles.
        target: Likewise, ``(C, ht, wt)``.
        near: As in `Plan`.
        factor: Cells to a side of a tile.

    Returns:
        ``(hs, ws, ht, wt)``.
    """
    means = np.einsum("cij,ckl->ijkl", means_of_tiles(source, factor), means_of_tiles(target, factor), optimize=True)
    for axis in range(4):
        near, means = near.repeat(factor, axis), means.repeat(factor, axis)
    banded: Floats = np.where(near, np.einsum("cij,ckl->ijkl", source, target, optimize=True), means)
    return banded


def _crop(found: Scored, grid: tuple[int, int, int, int], certainty: tuple[Floats, Floats]) -> Scored:
    """Leave out the cells that `whole_tiles` added."""
    hs, ws, ht, wt = grid
    pairs, scores = found.pairs, found.scores
    if found.grid != grid:
        p, q = np.divmod(pairs, found.grid[2] * found.grid[3])
        (py, px), (qy, qx) = np.divmod(p, found.grid[1]), np.divmod(q, found.grid[3])
        inside = (py < hs) & (px < ws) & (qy < ht) & (qx < wt)
        pairs, scores = (((py * ws + px) * ht + qy) * wt + qx)[inside], scores[inside]
    return Scored(pairs, scores, grid, (certainty[0][:hs, :ws], certainty[1][:ht, :wt]))


def _modes(scored: Scored) -> list[Floats]:
    """Decode the best match of every source tile, and the next best ones apart from it: each ``(h, w, 2)``."""
    rows, columns, height, width = scored.grid
    cell, other = np.divmod(scored.pairs, height * width)
    scores = scored.scores
    found: list[Floats] = []
    for _ in range(MODES):
        places = soft_argmax(cell, other, scores, rows * columns, (height, width), DECODED)[0]
        found.append(np.where(np.isfinite(places), places, found[0]) if found else places)
        best = np.full(rows * columns, -np.inf, np.float32)
        np.maximum.at(best, cell, scores)
        at = np.full(rows * columns, height * width)
        at_best = scores == best[cell]
        np.minimum.at(at, cell[at_best], other[at_best])
        (y, x), (best_y, best_x) = np.divmod(other, width), np.divmod(at[cell], width)
        apart = (np.abs(y - best_y) > DECODED) | (np.abs(x - best_x) > DECODED)
        cell, other, scores = cell[apart], other[apart], scores[apart]
    return [places.reshape(rows, columns, 2) for places in found]


def _near(matches: Floats, grid: tuple[int, int]) -> Booleans:
    """Mark the tiles of the other picture around each match: ``(h, w, 2)`` to ``(h, w, *grid)``."""
    whole = np.rint(matches)
    by_row = np.abs(np.arange(grid[0]) - whole[..., 1:]) <= BAND  # (h, w, rows)
    by_column = np.abs(np.arange(grid[1]) - whole[..., :1]) <= BAND  # (h, w, columns)
    near: Booleans = by_row[..., None] & by_column[..., None, :]
    return near


def _follow(matches: Floats, grid: tuple[int, int], factor: int) -> Integers:
    """Send every cell where its tile went, to the place in the tile that it has itself: ``(cells,)``."""
    begins = np.rint(matches * np.float32(factor)).astype(np.int64)  # (h, w, 2)
    steps, limits = np.arange(factor), (grid[0] * factor - 1, grid[1] * factor - 1)
    y = np.clip(begins[..., 1, None] + steps, 0, limits[0])  # (rows, columns, factor)
    x = np.clip(begins[..., 0, None] + steps, 0, limits[1])
    cells = y[..., None] * (limits[1] + 1) + x[..., None, :]  # (rows, columns, factor, factor)
    followed: Integers = cells.swapaxes(1, 2).ravel()
    return followed


def _enlarge(values: Floats, factor: int) -> Floats:
    return values.repeat(factor, 0).repeat(factor, 1)
