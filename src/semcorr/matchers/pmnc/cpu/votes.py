"""`semcorr.matchers.pmnc.voting` in the native core: the votes of the pairs that are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from semcorr.matchers.pmnc.voting import FADING, FLOOR, between_tiles
from semcorr.native import functions
from semcorr.native.arrays import Floats, Integers
from semcorr.native.structures import Grids, Maps

VotesOf = Callable[[Integers], Floats]
"""Returns the votes ``(N,)`` at pairs of cells ``p · Q + q``."""


def votes_of(maps: Maps) -> VotesOf:
    """Count the votes of the cells of two pictures."""
    memory = maps.correlation[: maps.sources * maps.places].reshape(maps.sources, -1)
    votes = np.take(memory, maps.centres, axis=1)  # indexing takes several times as long
    functions.count_votes(votes, maps.of_source, maps.of_target[maps.centres], maps.grid, FADING)
    tiny = np.finfo(np.float32).tiny
    best = [np.maximum(votes.max(axis), tiny) ** np.float32(-0.5) for axis in (1, 0)]

    def of(pairs: Integers) -> Floats:
        p, q = np.divmod(pairs, votes.shape[1])
        log_votes: Floats = np.log(votes.ravel()[pairs] * best[0][p] * best[1][q] + np.float32(FLOOR))
        return log_votes

    return of


def votes_of_tiles(tiles: Maps, factor: int, grid: Grids) -> VotesOf:
    """Count the votes of tiles of ``factor × factor`` cells; those of cells are interpolated bilinearly.

    Args:
        tiles: The maps of the tiles.
        factor: Cells to a side of a tile.
        grid: Rows and columns of the cells of both pictures.
    """
    of = votes_of(tiles)
    votes = of(np.arange(tiles.sources * tiles.targets)).reshape(tiles.sources, tiles.targets)
    places = tuple(between_tiles(count, factor, most) for count, most in zip(grid, tiles.grid, strict=True))

    def of_cells(pairs: Integers) -> Floats:
        return functions.interpolate_votes(pairs, votes, tiles.grid, places, (grid[1], grid[3]))

    return of_cells
