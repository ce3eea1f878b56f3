"""`semcorr.patchmatch.search.search_banded` compiled for the CPU, without the whole map.

A scoring window's cells are as far apart as tiles are. So for two cells at given places in their tiles, their *phases*,
a window is read from the pairs of tiles alone, at the same two phases: a small map that is not dilated. The search goes
through the pairs of phases, and puts each one's map together from the correlations of near tiles and the means of all
others, in one buffer that fits the cache.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.consensus.scoring import ScoringFunction
from semcorr.correlation import EPS
from semcorr.decode import ScoredPairs
from semcorr.patchmatch.coarse import Plan
from semcorr.patchmatch.compiled import Layers, improve, layers_of, score_pairs, search_compiled
from semcorr.patchmatch.kernel import SLACK
from semcorr.patchmatch.listing import Floats, Integers, compile_once
from semcorr.patchmatch.search import SearchOptions

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
    """Do as `semcorr.patchmatch.search.search_banded`, on the CPU, with a scoring function of two channels."""
    layers, found = layers_of(scoring), []
    (hs, ws), (ht, wt) = source.shape[2:], target.shape[2:]
    grid = (hs, ws, ht, wt)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for a, b, near, initial in zip(source, target, made.near, made.initial, strict=True):
            bands = correlate_bands(a.detach().float(), b.detach().float(), near, factor, scoring.radius)
            first = initial.unique().numpy()
            found.append(_search_one(bands, first, grid, factor, (layers, scoring.radius), options, pool))
    pairs, scores = ([torch.from_numpy(part) for part in parts] for parts in zip(*found, strict=True))
    return ScoredPairs(tuple(pairs), tuple(scores), grid)


def correlate_bands(source: Tensor, target: Tensor, near: Tensor, factor: int, radius: int) -> Bands:
    """Correlate two feature maps ``(C, hs, ws)`` and ``(C, ht, wt)`` of whole tiles."""
    phases, (rows, columns) = factor**2, near.shape[2:]
    near = near.flatten(2).flatten(0, 1)  # (P, Q)
    one, other = _by_tile(source, factor), _by_tile(target, factor)  # (P, K, C), (Q, K, C)
    means = one.mean(1) @ other.mean(1).T  # (P, Q)
    p, q = near.nonzero().unbind(1)  # (N,)
    values = torch.empty(phases, phases, len(p))
    highest = means.new_empty(phases, len(one))
    done = 0
    for tile, listed in enumerate(q.split(near.sum(1).tolist())):
        products = one[tile] @ other[listed].flatten(0, 1).T  # (K, n · K)
        values[:, :, done : done + len(listed)] = products.view(phases, -1, phases).transpose(1, 2)
        highest[:, tile] = products.amax(1) if len(listed) else 0
        done += len(listed)
    far = means.masked_fill(near, 0)
    of_source = highest.maximum(far.amax(1))
    of_target = far.amax(0).expand(phases, -1).scatter_reduce(1, q.expand(phases, -1), values.amax(0), "amax")
    margin, wide = (radius,) * 4, columns + 2 * radius
    places = torch.arange((rows + 2 * radius) * wide).view(-1, wide)
    inside = places[radius : radius + rows, radius : radius + columns].flatten()
    padded = F.pad(means.view(-1, rows, columns), margin)
    weights = F.pad((1 / (of_target.clamp(min=0) + EPS)).view(-1, rows, columns), margin)
    return Bands(
        F.pad(padded.flatten(), (0, SLACK)).numpy(),
        (p * places.numel() + inside[q]).numpy(),
        values.flatten(0, 1).numpy(),
        (1 / (of_source.clamp(min=0) + EPS)).numpy(),
        F.pad(weights.flatten(1), (0, SLACK)).numpy(),
        places[:rows, :columns].flatten().numpy(),
        inside.numpy(),
        wide,
    )


def _by_tile(features: Tensor, factor: int) -> Tensor:
    """Bring ``(C, h, w)`` to ``(tiles, factor², C)``."""
    by_channel = F.pixel_unshuffle(features, factor).flatten(1).T  # (tiles, C · factor²)
    return by_channel.unflatten(1, (len(features), -1)).transpose(1, 2).contiguous()


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
        shares = [(begin, end) for begin, end in pairwise(cuts) if begin < end]
        running = [pool.submit(score_phases, *share, bounds, keys, scores, *arguments) for share in shares[1:]]
        score_phases(*shares[0], bounds, keys, scores, *arguments)
        for share in running:
            share.result()
        return from_phase(keys, grid, factor), scores

    return improve(first, tried, score, grid, options)


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
        parts = (window, bias, mix, mix_bias, out, rest)
        score_pairs(pairs, scores[low:high], one, a, b, begins, centres, step, hs, ws, radius, 1, *parts)
