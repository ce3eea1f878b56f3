"""Which pairs of cells the compiled search scores: `semcorr.matchers.pmnc.candidates`, as lists instead of masks.

A pair (p, q) is listed as ``p · Q + q``, and marked in ``tried``, so that it is listed once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semcorr.jit import compile_once

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@compile_once
def first_candidates(
    one: Floats, of_source: Floats, of_target: Floats, centres: Integers, count: int, tried: Booleans
) -> Integers:
    """List the ``count`` highest filtered correlations of every source cell and of every target cell."""
    sources, targets = len(one), len(centres)
    by_row, by_column = min(count, targets), min(count, sources)
    # the highest of each target cell, ascending, then those of the source cell that is looked at
    highest = np.full((targets + 1, max(by_row, by_column)), np.float32(-1))
    lowest = np.full(targets, np.float32(-1))
    places = np.zeros(highest.shape, np.int64)
    weights, values = of_target[centres], np.empty(targets, np.float32)
    pairs, listed = np.empty(sources * by_row + targets * by_column, np.int64), 0
    for p in range(sources):
        for i in range(by_row):
            highest[targets, i] = -1
        low = np.float32(-1)
        for q in range(targets):  # loops of their own, which are quicker than one
            value = max(one[p, centres[q]], np.float32(0))
            values[q] = value * value * value * of_source[p] * weights[q]
        for q in range(targets):
            if values[q] > low:
                _insert(values[q], q, targets, by_row, highest, places)
                low = highest[targets, 0]
        for q in range(targets):
            if values[q] > lowest[q]:
                _insert(values[q], p, q, by_column, highest, places)
                lowest[q] = highest[q, 0]
        for i in range(by_row):
            listed = _list(p * targets + places[targets, i], pairs, listed, tried)
    for q in range(targets):
        for i in range(by_column):
            listed = _list(places[q, i] * targets + q, pairs, listed, tried)
    return pairs[:listed]


@compile_once
def next_candidates(
    best: Integers, proposed: Integers, steps: Integers, hs: int, ws: int, ht: int, wt: int, tried: Booleans
) -> Integers:
    """List what `propagate` and `refine` mark, for the matches that are new since the last call."""
    sources, targets = hs * ws, ht * wt
    pairs, listed = np.empty(len(best) * (len(steps) + 18), np.int64), 0
    for index in range(len(best)):
        if best[index] == proposed[index]:
            continue
        proposed[index] = best[index]
        p, q = index, best[index]
        if index >= sources:
            p, q = q, index - sources
        py, px, qy, qx = p // ws, p % ws, q // wt, q % wt
        for step in range(len(steps)):
            dy, dx = steps[step, 0], steps[step, 1]
            if 0 <= py + dy < hs and 0 <= px + dx < ws and 0 <= qy + dy < ht and 0 <= qx + dx < wt:
                listed = _list((p + dy * ws + dx) * targets + q + dy * wt + dx, pairs, listed, tried)
        listed = _list_around(qy, qx, ht, wt, p * targets, 1, pairs, listed, tried)
        listed = _list_around(py, px, hs, ws, q, targets, pairs, listed, tried)
    return pairs[:listed]


@compile_once
def update_best(pairs: Integers, scores: Floats, best: Integers, highest: Floats, sources: int, targets: int) -> None:
    """Take new scores into account: the first of equal ones wins, as with argmax."""
    for index in range(len(pairs)):
        p, q, score = pairs[index] // targets, pairs[index] % targets, scores[index]
        for cell, match in ((p, q), (sources + q, p)):
            if score > highest[cell] or (score == highest[cell] and match < best[cell]):
                best[cell], highest[cell] = match, score


@compile_once
def _insert(value: np.float32, place: int, row: int, count: int, values: Floats, places: Integers) -> None:
    """Put a value into an ascending list in place of its first, the lowest."""
    i = 0
    while i + 1 < count and values[row, i + 1] < value:
        values[row, i], places[row, i] = values[row, i + 1], places[row, i + 1]
        i += 1
    values[row, i], places[row, i] = value, place


@compile_once
def _list(pair: int, pairs: Integers, listed: int, tried: Booleans) -> int:
    if tried[pair]:
        return listed
    tried[pair] = True
    pairs[listed] = pair
    return listed + 1


@compile_once
def _list_around(
    y: int,
    x: int,
    height: int,
    width: int,
    begin: int,
    stride: int,
    pairs: Integers,
    listed: int,
    tried: Booleans,
) -> int:
    for i in range(max(0, y - 1), min(height, y + 2)):
        for j in range(max(0, x - 1), min(width, x + 2)):
            listed = _list(begin + (i * width + j) * stride, pairs, listed, tried)
    return listed
