"""`semcorr.matchers.pmnc.search.search_banded` in the native core, without the whole map.

A scoring window's cells are as far apart as tiles are. So for two cells at given places in their tiles, their *phases*,
a window is read from the pairs of tiles alone, at the same two phases: a small map that is not dilated. The search goes
through the pairs of phases, and puts each one's map together from the correlations of near tiles and the means of all
others, in one buffer that fits the cache.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from semcorr.matchers.pmnc.coarse import Plan, means_of_tiles
from semcorr.matchers.pmnc.cpu.layers import layers_of
from semcorr.matchers.pmnc.cpu.maps import correlate, filter_weight
from semcorr.matchers.pmnc.cpu.search import improve
from semcorr.matchers.pmnc.scoring import Scoring
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.matchers.scored import Scored
from semcorr.native import functions
from semcorr.native.arrays import LANES, SLACK, Booleans, Floats, Integers
from semcorr.native.functions import Bands, TilePairs
from semcorr.threads import in_parallel

_ROWS = 6  # cells of a source tile that are multiplied at once


def search_banded(
    source: Floats,
    target: Floats,
    plan: Plan,
    scoring: Scoring,
    options: SearchOptions,
    factor: int,
    threads: int = 1,
) -> Scored:
    """Search the cells of tiles that were matched already.

    Args:
        source: L2-normalised features ``(C, hs, ws)`` of whole tiles, float32.
        target: Likewise, ``(C, ht, wt)``.
        plan: The plan.
        scoring: The scoring function, of two channels.
        options: How to search.
        factor: Cells to a side of a tile, and the spacing of the scoring window's cells.
        threads: How many may compute.
    """
    (hs, ws), (ht, wt) = source.shape[1:], target.shape[1:]
    grid, phases = (hs, ws, ht, wt), factor**4
    bands = correlate_bands(source, target, plan.near, factor, scoring.radius, threads)
    write, tiles = functions.phase_scorer(bands, layers_of(scoring)), bands.maps.sources * bands.maps.targets
    first, tried = np.unique(plan.initial), np.zeros(hs * ws * ht * wt, np.bool_)
    tried[first] = True

    def score(pairs: Integers) -> tuple[Integers, Floats]:
        keys = functions.by_phase(pairs, grid, factor)
        keys.sort()
        scores = np.empty(len(keys), np.float32)
        bounds = np.searchsorted(keys, np.arange(phases + 1) * tiles)
        cuts = np.searchsorted(bounds, np.linspace(0, len(keys), threads + 1)[1:-1])
        shares = [share for share in pairwise([0, *cuts.tolist(), phases]) if share[0] < share[1]]
        in_parallel(lambda share: write(*share, bounds, keys, scores), shares, threads)
        return functions.from_phase(keys, grid, factor), scores

    return Scored(*improve(first, tried, score, grid, options), grid)


def correlate_bands(source: Floats, target: Floats, near: Booleans, factor: int, radius: int, threads: int) -> Bands:
    """Correlate the features ``(C, hs, ws)`` and ``(C, ht, wt)`` of two pictures, of whole tiles.

    Args:
        source: L2-normalised, float32.
        target: Likewise.
        near: Pairs of tiles whose cells are correlated, ``(Hs, Ws, Ht, Wt)``.
        factor: Cells to a side of a tile.
        radius: Of the scoring window, in cells.
        threads: How many may compute.
    """
    maps = correlate(means_of_tiles(source, factor), means_of_tiles(target, factor), radius, 1, threads)
    phases, sources, targets = factor**2, maps.sources, maps.targets
    flat = near.reshape(sources, targets)
    p, q = np.divmod(np.flatnonzero(flat), targets)  # (N,)
    pairs = TilePairs(q, np.concatenate([[0], flat.sum(axis=1).cumsum()]))
    values, highest = np.empty((phases**2, len(p)), np.float32), np.zeros((sources, phases), np.float32)
    one, other = _by_tile(source, factor, _ROWS), _by_tile(target, factor, LANES)  # (P, K, C), (Q, K, C)
    other = np.ascontiguousarray(other.swapaxes(1, 2))
    cuts = np.linspace(0, sources, threads + 1).astype(np.int64)
    parts = [part for part in pairwise(cuts.tolist()) if part[0] < part[1]]
    in_parallel(lambda part: functions.correlate_tiles(part, one, other, pairs, values, highest), parts, threads)
    means = np.take(maps.correlation[:-SLACK].reshape(sources, -1), maps.centres, axis=1)
    far = np.where(flat, np.float32(0), means)
    of_source = np.maximum(highest.T, far.max(axis=1))  # (K, P)
    of_target = _highest_of_targets(values, q, far.max(axis=0), phases)  # (K, Q)
    weights = np.zeros((phases, maps.places + SLACK), np.float32)
    weights[:, maps.centres] = filter_weight(of_target)
    maps = maps._replace(of_source=filter_weight(of_source).ravel(), of_target=weights.ravel())
    return Bands(maps, p * maps.places + maps.centres[q], values, phases)


def _by_tile(features: Floats, factor: int, multiple: int) -> Floats:
    """Bring ``(C, h, w)`` to ``(tiles, factor², C)``, and zeros until the cells of a tile are such a multiple."""
    channels, rows, columns = len(features), features.shape[1] // factor, features.shape[2] // factor
    tiles = features.reshape(channels, rows, factor, columns, factor).transpose(1, 3, 2, 4, 0)
    padded = np.zeros((rows * columns, -(-(factor**2) // multiple) * multiple, channels), np.float32)
    padded[:, : factor**2] = tiles.reshape(rows * columns, factor**2, channels)
    return padded


def _highest_of_targets(values: Floats, q: Integers, far: Floats, phases: int) -> Floats:
    """Return the highest correlation of each target cell, ``(K, Q)``: with near tiles ``values``, or with far ones."""
    of_pairs = values.reshape(phases, phases, -1).max(axis=0)  # (K, N)
    highest = np.repeat(far[None], phases, axis=0)
    order = np.argsort(q, kind="stable")
    tiles, begins = np.unique(q[order], return_index=True)
    if len(tiles):
        near = np.maximum.reduceat(of_pairs[:, order], begins, axis=1)
        highest[:, tiles] = np.maximum(highest[:, tiles], near)
    return highest
