"""The PatchMatch search compiled for the CPU by Numba: the same search as `semcorr.matchers.pmnc.search.search`, fast.

What makes it fast: a window is read from the correlation map while it is multiplied, never stored; the softly
mutual-filtered map is computed where it is read, so that one map is all that is in memory; candidates are listed, each
once, without looking at the rest of the table; and a cell whose match did not change proposes nothing again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from semcorr.jit import compile_once
from semcorr.matchers.correlation import filter_weight, quick_products
from semcorr.matchers.pmnc.coarse import tiles_of
from semcorr.matchers.pmnc.cpu.candidates import (
    Booleans,
    Floats,
    Integers,
    first_candidates,
    next_candidates,
    update_best,
)
from semcorr.matchers.pmnc.cpu.kernel import LANES, ROWS, SLACK, copy_window, multiply_add, read_window
from semcorr.matchers.pmnc.cpu.voting import Ballot, TileBallot
from semcorr.matchers.pmnc.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.matchers.pmnc.windows import what_is_read
from semcorr.matchers.scores import ScoredPairs

_BLOCK = 8 * ROWS  # pairs scored at once: their windows at one source offset fit the first cache
_BYTES = 400_000  # of correlations that are multiplied at once, before they are laid out
_INNER = 64  # values of a pair that are multiplied at once, at least
_LEAST = 384  # pairs that are worth a call
_PARTS = 4  # calls for each thread: the thread that counts the votes begins later than the others


class Layers(NamedTuple):
    """A scoring function's parameters as the compiled code reads them; H is ``hidden``, rounded up to whole vectors.

    Attributes:
        window: ``(K, 2·H)``, a row for each of the K correlations that are read: by source offset, within it by row of
            the target offset, then C before M, then by column. Columns: the outputs of W, then those of its exchange.
        boxes: The target offsets that are read at each source offset, ``(S, 4)``: first row and column, rows, columns.
        bias: ``(2·H,)``.
        mix: ``(H, H)``, inputs before outputs.
        mix_bias: ``(H,)``.
        out: ``(H,)``.
        rest: Twice the last bias, and the weights of the centre: ``(3,)``.
    """

    window: Floats
    boxes: Integers
    bias: Floats
    mix: Floats
    mix_bias: Floats
    out: Floats
    rest: Floats


def layers_of(scoring: ScoringFunction) -> Layers:
    """Lay a scoring function's parameters out for the compiled code."""
    hidden, wide = scoring.hidden, -(-scoring.hidden // LANES) * LANES
    order, boxes = _order_of(scoring.radius, scoring.reach)
    both = scoring.both_orders()[0].detach().cpu().float().view(2, hidden, -1)[:, :, order].permute(2, 0, 1)
    window = torch.nn.functional.pad(both, (0, wide - hidden)).reshape(-1, 2 * wide)
    sizes = ((2, wide), (wide, wide), (wide,), (wide,))
    bias, mix, mix_bias, out = (torch.zeros(size, dtype=torch.float32) for size in sizes)
    bias[:, :hidden] = scoring.bias.detach()
    mix[:hidden, :hidden] = scoring.mix.weight.detach().T
    mix_bias[:hidden], out[:hidden] = scoring.mix.bias.detach(), scoring.out.weight.detach()[0]
    rest = torch.cat([2 * scoring.out.bias.detach(), scoring.centre.detach()])
    floats = (bias.view(-1), mix, mix_bias, out, rest)
    parts = (t.cpu().float().contiguous().numpy() for t in floats)
    return Layers(window.contiguous().numpy(), boxes, *parts)


@lru_cache(maxsize=16)
def _order_of(radius: int, reach: int | None) -> tuple[Tensor, Integers]:
    """Return the order of `Layers.window`, as indices into (channel, source offset, target offset), and its boxes."""
    is_read = what_is_read(radius, reach)
    cells, side = len(is_read), 2 * radius + 1
    places = torch.arange(2 * cells * cells).view(2, cells, side, side)
    order, boxes = [], torch.zeros(cells, 4, dtype=torch.long)
    for s, read in enumerate(is_read.view(cells, side, side)):
        (top, left), (bottom, right) = (read.nonzero().amin(0).tolist(), (read.nonzero().amax(0) + 1).tolist())
        boxes[s] = torch.tensor([top, left, bottom - top, right - left])
        order.append(places[:, s, top:bottom, left:right].transpose(0, 1).flatten())
    return torch.cat(order), boxes.numpy()


def search_compiled(
    source: Tensor,
    target: Tensor,
    scoring: ScoringFunction,
    options: SearchOptions,
    dilation: int = 1,
    votes: float = 0.0,
) -> ScoredPairs:
    """Correlate, filter and search as `semcorr.matchers.pmnc.search.search` does, in compiled code.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)``, on the CPU.
        target: Likewise, ``(B, C, ht, wt)``.
        scoring: The scoring function, of two channels.
        options: How to search.
        dilation: Spacing of the scoring window's cells.
        votes: Weight with which votes, of tiles where the window is dilated, are added to the scores.

    Returns:
        The scores of all pairs that were tried; their ``table()`` is what the plain search returns.
    """
    layers, found = layers_of(scoring), []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for a, b in zip(source, target, strict=True):
            maps = correlate(a.detach(), b.detach(), scoring.radius, dilation)
            count = partial(_count_votes, maps, a.detach(), b.detach(), dilation) if votes else None
            found.append(_search_one(maps, layers, (scoring.radius, dilation), options, pool, count, votes))
    pairs, scores = ([torch.from_numpy(part) for part in parts] for parts in zip(*found, strict=True))
    (hs, ws), (ht, wt) = source.shape[2:], target.shape[2:]
    return ScoredPairs(tuple(pairs), tuple(scores), (hs, ws, ht, wt))


class Maps(NamedTuple):
    """One pair's correlations, laid out so that a window over target cells is a few runs of memory.

    The target has a margin of zeros as wide as the window reaches. Within a row, columns come in the order of their
    remainder by the dilation, so that the columns of a window follow each other.

    Attributes:
        correlation: ``(P, rows · columns)`` of the target with its margin.
        of_source: 1 / (largest correlation + eps) of each source cell, ``(P,)``.
        of_target: Likewise of each target place, ``(rows · columns,)``.
        begins: Where the window around each target cell begins, ``(Q,)``.
        centres: Where each target cell is, ``(Q,)``.
        step: From one row of a window to the next.
        grid: Rows and columns of the source, rows and columns of the target.
    """

    correlation: Floats
    of_source: Floats
    of_target: Floats
    begins: Integers
    centres: Integers
    step: int
    grid: tuple[int, int, int, int]


def correlate(source: Tensor, target: Tensor, radius: int, dilation: int) -> Maps:
    """Correlate two feature maps ``(C, hs, ws)`` and ``(C, ht, wt)`` of one pair."""
    (hs, ws), (ht, wt) = source.shape[1:], target.shape[1:]
    reach, sources = radius * dilation, hs * ws
    rows, runs = ht + 2 * reach, -(-(wt + 2 * reach) // dilation)
    memory = torch.zeros(sources * rows * dilation * runs + SLACK, dtype=torch.float32)
    flat = memory[:-SLACK].view(sources, -1)
    laid_out = flat.view(sources, rows, dilation, runs)
    of_source, of_target = (torch.zeros(size, dtype=torch.float32) for size in (sources, ht * wt))
    one, other = source.float().flatten(1).T, target.float().flatten(1)
    step = max(1, _BYTES // (4 * ht * wt))
    with quick_products():
        for begin in range(0, sources, step):
            product = one[begin : begin + step] @ other
            of_source[begin : begin + step] = product.amax(1)
            torch.maximum(of_target, product.amax(0), out=of_target)
            for phase in range(dilation):
                part = product.view(-1, ht, wt)[:, :, phase::dilation]
                inside = slice(radius, radius + part.shape[2])
                laid_out[begin : begin + step, reach : reach + ht, phase, inside] = part
    places = torch.arange(rows * dilation * runs).view(rows, dilation, runs).transpose(1, 2).flatten(1)
    begins, centres = (places[start : start + ht, start : start + wt].flatten() for start in (0, reach))
    weights = torch.zeros(places.numel() + SLACK, dtype=torch.float32)
    weights[centres] = filter_weight(of_target)
    return Maps(
        flat.numpy(),
        filter_weight(of_source).numpy(),
        weights.numpy(),
        begins.numpy(),
        centres.numpy(),
        dilation * dilation * runs,
        (hs, ws, ht, wt),
    )


def _count_votes(maps: Maps, source: Tensor, target: Tensor, dilation: int) -> Ballot | TileBallot:
    """Count the votes of a pair's cells, or of its tiles where the window is dilated."""
    if dilation == 1:
        return _ballot(maps)
    tiles = correlate(tiles_of(source[None], dilation)[0], tiles_of(target[None], dilation)[0], 0, 1)
    return TileBallot(_ballot(tiles), tiles.grid, dilation, maps.grid)


def _ballot(maps: Maps) -> Ballot:
    correlations = np.take(maps.correlation, maps.centres, axis=1)  # indexing takes several times as long
    return Ballot(correlations, maps.of_source, maps.of_target[maps.centres], maps.grid)


def _search_one(
    maps: Maps,
    layers: Layers,
    window: tuple[int, int],
    options: SearchOptions,
    pool: ThreadPoolExecutor,
    count_votes: Callable[[], Ballot | TileBallot] | None,
    weight: float,
) -> tuple[Integers, Floats]:
    """Return the pairs that were scored, as ``p · Q + q``, and their scores."""
    hs, ws, ht, wt = maps.grid
    arguments: tuple[Any, ...] = (*maps[:6], hs, ws, *window, *layers)
    counting = None if count_votes is None else pool.submit(count_votes)  # beside the first candidates
    tried = np.zeros(hs * ws * ht * wt, dtype=np.bool_)
    first = first_candidates(*maps[:3], maps.centres, options.candidates, tried)

    def score(pairs: Integers) -> tuple[Integers, Floats]:
        pairs.sort()  # windows of neighbouring cells are read one after the other
        scores = np.empty(len(pairs), np.float32)
        count = min(_PARTS * torch.get_num_threads(), len(pairs) // _LEAST + 1)
        parts = zip(np.array_split(pairs, count), np.array_split(scores, count), strict=True)
        for scoring in [pool.submit(score_pairs, *part, *arguments) for part in parts]:
            scoring.result()
        if counting is not None:
            scores += np.float32(weight) * counting.result().of(pairs)
        return pairs, scores

    return improve(first, tried, score, maps.grid, options)


def improve(
    first: Integers,
    tried: Booleans,
    score: Callable[[Integers], tuple[Integers, Floats]],
    grid: tuple[int, int, int, int],
    options: SearchOptions,
) -> tuple[Integers, Floats]:
    """Search on from the first candidates, as `semcorr.matchers.pmnc.search.search` does.

    Args:
        first: Pairs as ``p · Q + q``, each marked in ``tried``.
        tried: All pairs, ``(P · Q,)``, changed in place.
        score: Returns pairs, in any order, and their scores.
        grid: Rows and columns of the source, rows and columns of the target.
        options: How to search.

    Returns:
        All pairs that were scored, and their scores.
    """
    hs, ws, ht, wt = grid
    best = np.full(hs * ws + ht * wt, -1, dtype=np.int64)  # the match of each source cell, then of each target cell
    highest = np.full(len(best), -np.inf, dtype=np.float32)
    proposed = best.copy()
    steps = np.array(options.offsets, dtype=np.int64).reshape(-1, 2)
    rounds = [score(first)]
    update_best(*rounds[-1], best, highest, hs * ws, ht * wt)
    for _ in range(options.iterations):
        pairs = next_candidates(best, proposed, steps, hs, ws, ht, wt, tried)
        if not len(pairs):
            break
        rounds.append(score(pairs))
        update_best(*rounds[-1], best, highest, hs * ws, ht * wt)
    return np.concatenate([pairs for pairs, _ in rounds]), np.concatenate([scores for _, scores in rounds])


@compile_once
def score_pairs(
    pairs: Integers,
    scores: Floats,
    one: Floats,
    of_source: Floats,
    of_target: Floats,
    begins: Integers,
    centres: Integers,
    step: int,
    hs: int,
    ws: int,
    radius: int,
    dilation: int,
    window: Floats,
    boxes: Integers,
    bias: Floats,
    mix: Floats,
    mix_bias: Floats,
    out: Floats,
    rest: Floats,
) -> None:
    """Write the scores of pairs: the same function as `ScoringFunction.score_windows`."""
    side, cells, width, wide, targets = 2 * radius + 1, len(boxes), len(bias), len(out), len(begins)
    most = max(2 * cells, _INNER)
    line, stride, places = one.ctypes.data, most + SLACK, one.shape[1]
    corners = np.empty((_BLOCK, 4), np.int64)  # of each pair: p, its row and column, where its target window begins
    weights = np.empty((_BLOCK, cells + SLACK), np.float32)  # those of the filter
    values = np.zeros((_BLOCK, stride), np.float32)  # windows at a few source offsets
    first, second = np.empty((_BLOCK, width), np.float32), np.empty((2 * _BLOCK, wide), np.float32)
    for begin in range(0, len(pairs), _BLOCK):
        count = min(_BLOCK, len(pairs) - begin)
        for row in range(count):
            p, corner = pairs[begin + row] // targets, begins[pairs[begin + row] % targets]
            corners[row, 0], corners[row, 1], corners[row, 2], corners[row, 3] = p, p // ws, p % ws, corner
            copy_window(weights.ctypes.data + 4 * row * (cells + SLACK), of_target.ctypes.data + 4 * corner, step, side)
        for row in range(_BLOCK):
            for h in range(width):
                first[row, h] = bias[h]
            for h in range(wide):
                second[2 * row, h] = second[2 * row + 1, h] = mix_bias[h]
        done, inner = 0, 0  # rows of the weights that were multiplied, and that are waiting for their values
        for s in range(cells):
            dy, dx = (s // side - radius) * dilation, (s % side - radius) * dilation
            top, left, rows, columns = boxes[s]
            if inner + 2 * rows * columns > most:
                weight = window.ctypes.data + 4 * done * width
                _product(first.ctypes.data, width, values.ctypes.data, stride, weight, inner, _BLOCK)
                done, inner = done + inner, 0
            for row in range(count):
                near = corners[row, 0] + dy * ws + dx
                if 0 <= corners[row, 1] + dy < hs and 0 <= corners[row, 2] + dx < ws:
                    into = values.ctypes.data + 4 * (row * stride + inner)
                    corner = line + 4 * (near * places + corners[row, 3] + top * step + left)
                    weight = weights.ctypes.data + 4 * (row * (cells + SLACK) + top * side + left)
                    read_window(into, corner, step, rows, columns, weight, side, of_source[near])
                else:
                    for k in range(inner, inner + 2 * rows * columns):
                        values[row, k] = 0
            inner += 2 * rows * columns
        weight = window.ctypes.data + 4 * done * width
        _product(first.ctypes.data, width, values.ctypes.data, stride, weight, inner, _BLOCK)
        for row in range(_BLOCK):
            for h in range(width):
                first[row, h] = max(first[row, h], np.float32(0))
        _product(second.ctypes.data, wide, first.ctypes.data, wide, mix.ctypes.data, wide, 2 * _BLOCK)
        for row in range(count):
            p, q = pairs[begin + row] // targets, pairs[begin + row] % targets
            centre = one[p, centres[q]]
            positive = max(centre, np.float32(0))
            filtered = positive * positive * positive * of_source[p] * of_target[centres[q]]
            score = rest[0] + rest[1] * centre + rest[2] * filtered
            for h in range(wide):
                score += out[h] * (max(second[2 * row, h], np.float32(0)) + max(second[2 * row + 1, h], np.float32(0)))
            scores[begin + row] = score


@compile_once
def _product(into: int, width: int, rows: int, stride: int, columns: int, inner: int, count: int) -> None:
    """Add ``rows (count, inner) @ columns (inner, width)`` to ``into``; all are addresses."""
    for row in range(0, count, ROWS):
        for column in range(0, width, LANES):
            block = into + 4 * (row * width + column)
            multiply_add(block, width, rows + 4 * row * stride, stride, columns + 4 * column, width, inner)
