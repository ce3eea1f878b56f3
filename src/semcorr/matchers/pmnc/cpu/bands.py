"""`semcorr.matchers.pmnc.coarse.search_banded` compiled for the CPU, without the whole map.

A scoring window's cells are as far apart as tiles are. So for two cells at given places in their tiles, their *phases*,
a window is read from the pairs of tiles alone, at the same two phases: a small map that is not dilated. The search goes
through the pairs of phases, and puts each one's map together from the correlations of near tiles and the means of all
others, in one buffer that fits the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.jit import compile_once
from semcorr.matchers.correlation import EPS
from semcorr.matchers.pmnc.coarse import Plan
from semcorr.matchers.pmnc.cpu.candidates import Floats, Integers
from semcorr.matchers.pmnc.cpu.kernel import LANES, ROWS, SLACK, multiply_add
from semcorr.matchers.pmnc.cpu.search import Layers, improve, layers_of, score_pairs, search_compiled
from semcorr.matchers.pmnc.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.matchers.scores import ScoredPairs

__all__ = ["search_banded_compiled", "search_compiled"]


class Bands(NamedTuple):
    """One pair's banded map. There are K = factor² phases, P and Q tiles, and N pairs of tiles that are near.

    Attributes:
        means: Of each source tile with each place of the target's tiles, which have a margin of zeros:
            ``(P · places + SLACK,)``.
        where: In ``means``, the pairs of tiles that are near, ``(N,)``.
        near: Their correlations, ``(K · K, N)``.
        of_source: The filter's weight of each source cell, ``(K, P)``.
        of_target: Of each target cell and the margin, ``(K, places + SLACK)``.
        begins: Where the window around each target tile begins, ``(Q,)``.
        centres: Where each target tile is, ``(Q,)``.
        step: From one row of a window to the next.
    """

    means: Floats
    where: Integers
    near: Floats
    of_source: Floats
    of_target: Floats
    begins: Integers
    centres: Integers
    step: int


def search_banded_compiled(
    source: Tensor, target: Tensor, made: Plan, scoring: ScoringFunction, options: SearchOptions, factor: int
) -> ScoredPairs:
    """Do as `semcorr.matchers.pmnc.coarse.search_banded`, on the CPU, with a scoring function of two channels."""
    layers, found = layers_of(scoring), []
    (hs, ws), (ht, wt) = source.shape[2:], target.shape[2:]
    grid = (hs, ws, ht, wt)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for a, b, near, initial in zip(source, target, made.near, made.initial, strict=True):
            bands = correlate_bands(a.detach().float(), b.detach().float(), near, factor, scoring.radius, pool)
            first = initial.unique().numpy()
            found.append(_search_one(bands, first, grid, factor, (layers, scoring.radius), options, pool))
    pairs, scores = ([torch.from_numpy(part) for part in parts] for parts in zip(*found, strict=True))
    return ScoredPairs(tuple(pairs), tuple(scores), grid)


def correlate_bands(
    source: Tensor, target: Tensor, near: Tensor, factor: int, radius: int, pool: ThreadPoolExecutor
) -> Bands:
    """Correlate two feature maps ``(C, hs, ws)`` and ``(C, ht, wt)`` of whole tiles."""
    phases, (rows, columns) = factor**2, near.shape[2:]
    near = near.flatten(2).flatten(0, 1)  # (P, Q)
    one, other = _by_tile(source, factor), _by_tile(target, factor)  # (P, C, K), (Q, C, K)
    means = one.mean(2) @ other.mean(2).T  # (P, Q)
    p, q = near.nonzero().unbind(1)  # (N,)
    ends = np.concatenate([[0], near.sum(1).cumsum(0).numpy()])
    rows_of = F.pad(one.transpose(1, 2), (0, 0, 0, -phases % ROWS)).contiguous().numpy()
    lanes_of = F.pad(other, (0, -phases % LANES)).contiguous().numpy()
    values = torch.empty(phases**2, len(p), dtype=torch.float32)
    highest = torch.zeros(len(one), phases, dtype=torch.float32)
    arguments = rows_of, lanes_of, q.numpy(), ends, values.numpy(), highest.numpy()
    in_threads(correlate_tiles, np.linspace(0, len(one), torch.get_num_threads() + 1).astype(np.int64), arguments, pool)
    far = means.masked_fill(near, 0)
    of_source = highest.T.maximum(far.amax(1))
    of_column = values.view(phases, phases, -1).amax(0)  # (K, N)
    of_target = far.amax(0).expand(phases, -1).scatter_reduce(1, q.expand(phases, -1), of_column, "amax")
    margin, wide = (radius,) * 4, columns + 2 * radius
    places = torch.arange((rows + 2 * radius) * wide).view(-1, wide)
    inside = places[radius : radius + rows, radius : radius + columns].flatten()
    padded = F.pad(means.view(-1, rows, columns), margin)
    weights = F.pad((1 / (of_target.clamp(min=0) + EPS)).view(-1, rows, columns), margin)
    return Bands(
        F.pad(padded.flatten(), (0, SLACK)).numpy(),
        (p * places.numel() + inside[q]).numpy(),
        values.numpy(),
        (1 / (of_source.clamp(min=0) + EPS)).numpy(),
        F.pad(weights.flatten(1), (0, SLACK)).numpy(),
        places[:rows, :columns].flatten().numpy(),
        inside.numpy(),
        wide,
    )


def _by_tile(features: Tensor, factor: int) -> Tensor:
    """Bring ``(C, h, w)`` to ``(tiles, C, factor²)``."""
    by_channel = F.pixel_unshuffle(features, factor).flatten(1).T  # (tiles, C · factor²)
    return by_channel.reshape(len(by_channel), len(features), -1)


def in_threads(run: Callable[..., None], cuts: Integers, arguments: tuple[Any, ...], pool: ThreadPoolExecutor) -> None:
    """Call ``run(cuts[i], cuts[i + 1], *arguments)`` for all i at once, except where there is nothing to do."""
    shares = [(begin, end) for begin, end in pairwise(cuts) if begin < end]
    running = [pool.submit(run, *share, *arguments) for share in shares[1:]]
    run(*shares[0], *arguments)
    for share in running:
        share.result()


def _search_one(
    bands: Bands,
    first: Integers,
    grid: tuple[int, int, int, int],
    factor: int,
    function: tuple[Layers, int],
    options: SearchOptions,
    pool: ThreadPoolExecutor,
) -> tuple[Integers, Floats]:
    hs, ws, ht, wt = grid
    tried = np.zeros(hs * ws * ht * wt, dtype=np.bool_)
    tried[first] = True
    layers, radius = function
    arguments: tuple[Any, ...] = (*bands, hs // factor, ws // factor, radius, *layers)
    tiles, phases = len(bands.of_source[0]) * len(bands.begins), factor**4

    def score(pairs: Integers) -> tuple[Integers, Floats]:
        keys = by_phase(pairs, grid, factor)
        keys.sort()
        scores = np.empty(len(keys), np.float32)
        bounds = np.searchsorted(keys, np.arange(phases + 1) * tiles)
        count = torch.get_num_threads()
        cuts = np.searchsorted(bounds, np.linspace(0, len(keys), count + 1)[1:-1])
        cuts = np.concatenate([[0], cuts, [phases]])
        in_threads(score_phases, cuts, (bounds, keys, scores, *arguments), pool)
        return from_phase(keys, grid, factor), scores

    return improve(first, tried, score, grid, options)


@compile_once
def correlate_tiles(
    begin: int, end: int, one: Floats, other: Floats, q: Integers, ends: Integers, values: Floats, highest: Floats
) -> None:
    """Correlate the cells of source tiles with those of the target tiles that are near.

    Args:
        begin: First source tile.
        end: After the last.
        one: ``(P, K, C)``, K rounded up to whole `ROWS`.
        other: ``(Q, C, K)``, K rounded up to whole `LANES`.
        q: The near target tiles of each source tile, one behind the other: ``(N,)``.
        ends: Where those of each source tile begin, and where the last end: ``(P + 1,)``.
        values: ``(K · K, N)``, written.
        highest: The highest of each source cell, ``(P, K)``, raised.
    """
    phases, channels, wide = highest.shape[1], one.shape[2], other.shape[2]
    block = np.empty((one.shape[1], wide), np.float32)
    for p in range(begin, end):
        for n in range(ends[p], ends[p + 1]):
            for row in range(len(block)):
                for lane in range(wide):
                    block[row, lane] = 0
            for row in range(0, len(block), ROWS):
                rows = one.ctypes.data + 4 * (p * len(block) + row) * channels
                for lane in range(0, wide, LANES):
                    lanes = other.ctypes.data + 4 * (q[n] * channels * wide + lane)
                    into = block.ctypes.data + 4 * (row * wide + lane)
                    multiply_add(into, wide, rows, channels, lanes, wide, channels)
            for a in range(phases):
                for b in range(phases):
                    values[a * phases + b, n] = block[a, b]
                    highest[p, a] = max(highest[p, a], block[a, b])


@compile_once
def by_phase(pairs: Integers, grid: tuple[int, int, int, int], factor: int) -> Integers:
    """Number pairs of cells by their phases, then by their tiles."""
    hs, ws, ht, wt = grid
    keys = np.empty(len(pairs), np.int64)
    across, wide = ws // factor, wt // factor
    targets = (ht // factor) * wide
    tiles = (hs // factor) * across * targets
    for index in range(len(pairs)):
        p, q = pairs[index] // (ht * wt), pairs[index] % (ht * wt)
        py, px, qy, qx = p // ws, p % ws, q // wt, q % wt
        phase = ((py % factor * factor + px % factor) * factor + qy % factor) * factor + qx % factor
        source, target = py // factor * across + px // factor, qy // factor * wide + qx // factor
        keys[index] = phase * tiles + source * targets + target
    return keys


@compile_once
def from_phase(keys: Integers, grid: tuple[int, int, int, int], factor: int) -> Integers:
    """Undo `by_phase`."""
    hs, ws, ht, wt = grid
    pairs = np.empty(len(keys), np.int64)
    across, wide = ws // factor, wt // factor
    targets = (ht // factor) * wide
    tiles = (hs // factor) * across * targets
    for index in range(len(keys)):
        phase, tile = keys[index] // tiles, keys[index] % tiles
        a, b, source, target = phase // factor**2, phase % factor**2, tile // targets, tile % targets
        py, px = source // across * factor + a // factor, source % across * factor + a % factor
        qy, qx = target // wide * factor + b // factor, target % wide * factor + b % factor
        pairs[index] = (py * ws + px) * (ht * wt) + qy * wt + qx
    return pairs


@compile_once
def score_phases(
    begin: int,
    end: int,
    bounds: Integers,
    keys: Integers,
    scores: Floats,
    means: Floats,
    where: Integers,
    near: Floats,
    of_source: Floats,
    of_target: Floats,
    begins: Integers,
    centres: Integers,
    step: int,
    hs: int,
    ws: int,
    radius: int,
    window: Floats,
    boxes: Integers,
    bias: Floats,
    mix: Floats,
    mix_bias: Floats,
    out: Floats,
    rest: Floats,
) -> None:
    """Write the scores of the pairs of some phases; ``keys[bounds[i] : bounds[i + 1]]`` are those of the i-th."""
    phases, sources, targets, slack = len(of_source), hs * ws, len(begins), SLACK
    memory = means.copy()
    one = memory[: len(memory) - slack].reshape(sources, -1)
    for phase in range(begin, end):
        low, high = bounds[phase], bounds[phase + 1]
        if low == high:
            continue
        for index in range(len(where)):
            memory[where[index]] = near[phase, index]
        pairs = keys[low:high] - phase * sources * targets
        a, b = of_source[phase // phases], of_target[phase % phases]
        parts = (window, boxes, bias, mix, mix_bias, out, rest)
        score_pairs(pairs, scores[low:high], one, a, b, begins, centres, step, hs, ws, radius, 1, *parts)
