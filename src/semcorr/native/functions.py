"""The search's inner loops on NumPy arrays. Each checks what it is given, and is to be called only with the core."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from semcorr.native.arrays import LANES, Booleans, Floats, Integers, address, writable
from semcorr.native.loader import native_core
from semcorr.native.structures import (
    BandsStructure,
    Grids,
    Layers,
    Maps,
    layers_structure,
    maps_structure,
)
from semcorr.threads import in_parallel

_ROWS = 6  # ROWS in product.h
_PANEL = 12  # PANEL in correlate.c

Score = Callable[[Integers, Floats], None]
"""Writes the scores ``(N,)`` of pairs ``(N,)``."""


class _Grid(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("hs", "ws", "ht", "wt")]


class _Places(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("sy", "sx", "ty", "tx")),
        *((name, ctypes.c_int64) for name in ("ws", "wt", "targets")),
    ]


def pack(features: Floats) -> Floats:
    """Lay the features of the source out for `correlate`: ``(C, P)`` to ``(ceil(P / 12), C, 12)``."""
    channels, cells = features.shape
    packed = np.empty((-(-cells // _PANEL), channels, _PANEL), np.float32)
    native_core()("pack", address(features, np.float32, channels, cells), channels, cells, packed.ctypes.data)
    return packed


def correlate(
    packed: Floats,
    target: Floats,
    part: tuple[int, int],
    centres: Integers,
    memory: Floats,
    highest: tuple[Floats, Floats],
) -> None:
    """Correlate all source cells with some target cells.

    Args:
        packed: The source's features, from `pack`.
        target: Those of the target, ``(C, Q)``.
        part: The first target cell, and that behind the last.
        centres: Where each target cell is in a row of the map, ``(Q,)``.
        memory: The map, ``(P, places)``; written.
        highest: The highest correlation of each source cell ``(P,)`` and each target cell ``(Q,)``; raised.
    """
    sources, places = memory.shape
    channels, targets = target.shape
    begin, end = part
    if not 0 <= begin <= end <= targets:
        raise ValueError(f"part must lie between 0 and {targets}; got {part}")
    native_core()(
        "correlate",
        address(packed, np.float32, -(-sources // _PANEL), channels, _PANEL),
        sources,
        channels,
        address(target, np.float32, channels, targets),
        targets,
        begin,
        end,
        address(centres, np.int64, targets),
        places,
        writable(memory, np.float32, sources, places),
        writable(highest[0], np.float32, sources),
        writable(highest[1], np.float32, targets),
    )


def multiply(rows: Floats, columns: Floats, threads: int = 1) -> Floats:
    """Return the product of ``(N, K)`` and ``(K, M)``.

    A BLAS library may spread such a product over threads of its own, which spin for a while afterwards.

    Raises:
        ValueError: If the shapes do not fit each other.
    """
    if rows.ndim != 2 or columns.ndim != 2 or rows.shape[1] != columns.shape[0]:
        raise ValueError(f"matrices of shape {rows.shape} and {columns.shape} cannot be multiplied")
    (count, inner), width = rows.shape, columns.shape[1]
    whole = -(-count // _ROWS) * _ROWS, -(-width // LANES) * LANES
    padded = np.zeros((whole[0], inner), np.float32), np.zeros((inner, whole[1]), np.float32)
    padded[0][:count], padded[1][:, :width] = rows, columns
    product = np.empty(whole, np.float32)
    call, pointer = native_core(), address(padded[1], np.float32, inner, whole[1])

    def multiply_part(part: slice) -> None:
        some, into = padded[0][part], product[part]
        call("multiply", some.ctypes.data, len(some), inner, pointer, whole[1], into.ctypes.data)

    step = -(-whole[0] // (threads * _ROWS)) * _ROWS or _ROWS
    in_parallel(multiply_part, [slice(row, row + step) for row in range(0, whole[0], step)], threads)
    return product[:count, :width]


class TilePairs(NamedTuple):
    """The pairs of tiles that are near each other.

    Attributes:
        near: The near target tiles of each source tile, one behind the other: ``(N,)``.
        ends: Where those of each source tile begin, and where the last end: ``(tiles + 1,)``.
    """

    near: Integers
    ends: Integers


def correlate_tiles(
    part: tuple[int, int], one: Floats, other: Floats, pairs: TilePairs, values: Floats, highest: Floats
) -> None:
    """Correlate the cells of some source tiles with those of the target tiles that are near.

    Args:
        part: The first source tile, and that behind the last.
        one: ``(tiles, K, C)``, the K cells of a tile rounded up to a multiple of 6.
        other: ``(tiles, C, K)``, rounded up to a multiple of `LANES`.
        pairs: The near tiles.
        values: ``(K · K, N)``; written.
        highest: The highest of each source cell, ``(tiles, K)``; raised.
    """
    (tiles, phases), channels, listed = highest.shape, one.shape[2], len(pairs.near)
    begin, end = part
    ends = pairs.ends
    if not 0 <= begin <= end <= tiles or ends[0] != 0 or ends[-1] != listed or (np.diff(ends) < 0).any():
        raise ValueError(f"part {part} or ends do not fit {tiles} tiles and {listed} pairs")
    native_core()(
        "correlate_tiles",
        begin,
        end,
        address(one, np.float32, tiles, -(-phases // _ROWS) * _ROWS, channels),
        address(other, np.float32, None, channels, -(-phases // LANES) * LANES),
        len(other),
        channels,
        phases,
        address(pairs.near, np.int64, listed),
        address(ends, np.int64, tiles + 1),
        listed,
        writable(values, np.float32, phases * phases, listed),
        writable(highest, np.float32, tiles, phases),
    )


def first_candidates(maps: Maps, count: int, tried: Booleans) -> Integers:
    """List the ``count`` highest filtered correlations of every source cell and of every target cell.

    Args:
        maps: The maps.
        count: Of each cell.
        tried: All pairs ``(P · Q,)``; those that are listed are marked, those that were marked are not listed.
    """
    sources, targets, structure = maps.sources, maps.targets, maps_structure(maps, 0)
    by_row, by_column = min(count, targets), min(count, sources)
    pairs = np.empty(max(0, sources * by_row + targets * by_column), np.int64)
    mask = writable(tried, np.bool_, sources * targets)
    listed = native_core()("first_candidates", ctypes.byref(structure), count, mask, pairs.ctypes.data)
    return pairs[:listed]


def next_candidates(best: Integers, proposed: Integers, steps: Integers, grid: Grids, tried: Booleans) -> Integers:
    """List what the matches that are new since the last call propose.

    Args:
        best: The match of each source cell, then of each target cell, ``(P + Q,)``; -1 for none.
        proposed: Those that were taken into account already; changed to ``best``.
        steps: From which neighbours matches are propagated, ``(N, 2)`` as (dy, dx).
        grid: Rows and columns of both pictures.
        tried: As for `first_candidates`.
    """
    sources, targets = grid[0] * grid[1], grid[2] * grid[3]
    cells, around = sources + targets, 18
    pairs = np.empty(cells * (len(steps) + around), np.int64)
    listed = native_core()(
        "next_candidates",
        address(best, np.int64, cells),
        writable(proposed, np.int64, cells),
        address(steps, np.int64, None, 2),
        len(steps),
        ctypes.byref(_Grid(*grid)),
        writable(tried, np.bool_, sources * targets),
        pairs.ctypes.data,
    )
    return pairs[:listed]


def update_best(pairs: Integers, scores: Floats, best: Integers, highest: Floats, sizes: tuple[int, int]) -> None:
    """Take the scores of pairs into account: of equal ones the first cell wins.

    Args:
        pairs: ``(N,)``.
        scores: ``(N,)``.
        best: The match of each source cell, then of each target cell, ``(P + Q,)``; changed in place.
        highest: Their scores; changed in place.
        sizes: P and Q.
    """
    native_core()(
        "update_best",
        address(pairs, np.int64, None),
        address(scores, np.float32, len(pairs)),
        len(pairs),
        *sizes,
        writable(best, np.int64, sum(sizes)),
        writable(highest, np.float32, sum(sizes)),
    )


def scorer(maps: Maps, layers: Layers) -> Score:
    """Check maps and layers once; return what scores pairs ``p · Q + q``."""
    map_structure, layer_structure = maps_structure(maps, layers.radius), layers_structure(layers)
    call, keep = native_core(), (maps, layers)

    def score(pairs: Integers, scores: Floats) -> None:
        assert keep
        call(
            "score_pairs",
            address(pairs, np.int64, None),
            writable(scores, np.float32, len(pairs)),
            len(pairs),
            ctypes.byref(map_structure),
            ctypes.byref(layer_structure),
        )

    return score


class Bands(NamedTuple):
    """One pair's banded map. There are K = factor² phases, P and Q tiles, and N pairs of tiles that are near.

    Attributes:
        maps: Of tiles; the correlations are the means of all pairs, and there are weights of each phase, one set behind
            the other: ``of_source (K · P,)``, ``of_target (K · (places + SLACK),)``.
        where: In the map, the pairs of tiles that are near, ``(N,)``.
        near: Their correlations, ``(K · K, N)``.
        phases: K.
    """

    maps: Maps
    where: Integers
    near: Floats
    phases: int


PhaseScore = Callable[[int, int, Integers, Integers, Floats], None]
"""Writes the scores of the pairs of the phases from one to another, as `phase_scorer` says."""


def phase_scorer(bands: Bands, layers: Layers) -> PhaseScore:
    """Check bands and layers once; return what scores the pairs of some pairs of phases.

    It is called with the first pair of phases and that behind the last, ``bounds (K · K + 1,)``, the sorted ``keys``,
    of which ``keys[bounds[i] : bounds[i + 1]]`` are those of the i-th, and the ``scores`` to be written. While it runs,
    the keys of its phases change; they are as before when it ends.
    """
    listed = len(bands.where)
    structure = BandsStructure(
        maps_structure(bands.maps, layers.radius, bands.phases),
        address(bands.where, np.int64, listed),
        address(bands.near, np.float32, bands.phases**2, listed),
        listed,
        bands.phases,
    )
    layer_structure, call, keep = layers_structure(layers), native_core(), (bands, layers)

    def score(begin: int, end: int, bounds: Integers, keys: Integers, scores: Floats) -> None:
        if not 0 <= begin <= end <= bands.phases**2:
            raise ValueError(f"phases must be 0 to {bands.phases**2}; got {begin} to {end}")
        assert keep
        call(
            "score_phases",
            begin,
            end,
            address(bounds, np.int64, bands.phases**2 + 1),
            writable(keys, np.int64, None),
            writable(scores, np.float32, len(keys)),
            len(keys),
            ctypes.byref(structure),
            ctypes.byref(layer_structure),
        )

    return score


def by_phase(pairs: Integers, grid: Grids, factor: int) -> Integers:
    """Number pairs of cells by their phases, then by their tiles of ``factor × factor`` cells."""
    return _renumber("by_phase", pairs, grid, factor)


def from_phase(keys: Integers, grid: Grids, factor: int) -> Integers:
    """Undo `by_phase`."""
    return _renumber("from_phase", keys, grid, factor)


def _renumber(name: str, numbers: Integers, grid: Grids, factor: int) -> Integers:
    if factor < 1 or min(grid) < 1 or any(size % factor for size in grid):
        raise ValueError(f"a grid must be of whole tiles of {factor} cells; got {grid}")
    result, structure = np.empty(len(numbers), np.int64), _Grid(*grid)
    pointer = address(numbers, np.int64, None)
    native_core()(name, pointer, len(numbers), ctypes.byref(structure), factor, result.ctypes.data)
    return result


def count_votes(correlations: Floats, of_source: Floats, of_target: Floats, grid: Grids, fading: float) -> None:
    """Turn correlations ``(P, Q)`` into votes, in place.

    Args:
        correlations: Of all source and target cells.
        of_source: The filter's weights of source cells, ``(P,)``.
        of_target: The filter's weights of target cells, ``(Q,)``.
        grid: Rows and columns of both pictures.
        fading: From a cell to its neighbour.
    """
    hs, ws, ht, wt = grid
    spare = np.empty((max(hs, ws, 2), ht * wt), np.float32)
    native_core()(
        "count_votes",
        writable(correlations, np.float32, hs * ws, ht * wt),
        address(of_source, np.float32, hs * ws),
        address(of_target, np.float32, ht * wt),
        *grid,
        fading,
        spare.ctypes.data,
    )


def interpolate_votes(
    pairs: Integers, votes: Floats, tiles: Grids, places: tuple[Floats, ...], wide: tuple[int, int]
) -> Floats:
    """Interpolate the votes of tiles bilinearly, in both pictures, at pairs of cells.

    Args:
        pairs: ``(N,)``.
        votes: Of tiles, ``(P, Q)``.
        tiles: Rows and columns of the tiles of both pictures.
        places: Where the rows and columns of cells of the source, then those of the target, are between tiles.
        wide: Columns of cells of the source and of the target.
    """
    votes_at = address(votes, np.float32, tiles[0] * tiles[1], tiles[2] * tiles[3])
    for axis, most in zip(places, tiles, strict=True):
        if not len(axis) or not ((axis >= 0) & (axis <= most - 1)).all():
            raise ValueError("the cells must lie between the centres of the outermost tiles")
    axes, result = [address(axis, np.float32, None) for axis in places], np.empty(len(pairs), np.float32)
    rows, targets = len(places[0]), len(places[2]) * len(places[3])
    if wide != (len(places[1]), len(places[3])):
        raise ValueError(f"the grids are {len(places[1])} and {len(places[3])} cells wide; got {wide}")
    structure, grid = _Places(*axes, *wide, targets), _Grid(*tiles)
    native_core()(
        "interpolate_votes",
        address(pairs, np.int64, None),
        len(pairs),
        votes_at,
        ctypes.byref(grid),
        rows * wide[0],
        ctypes.byref(structure),
        result.ctypes.data,
    )
    return result
