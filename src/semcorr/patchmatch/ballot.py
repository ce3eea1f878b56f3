"""`semcorr.consensus.voting.vote` compiled for the CPU: sums run along diagonals, each value read and written once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semcorr.consensus.voting import FADING, relative
from semcorr.correlation import filter_weights, quick_products
from semcorr.patchmatch.listing import Floats, compile_once


def vote_compiled(source: Tensor, target: Tensor) -> Tensor:
    """Correlate, filter and vote.

    Args:
        source: L2-normalised features ``(B, C, hs, ws)``, on the CPU.
        target: Likewise, ``(B, C, ht, wt)``.

    Returns:
        What `semcorr.consensus.voting.vote` makes of each pair's softly mutual-filtered correlations,
        ``(B, hs, ws, ht, wt)`` float32.
    """
    (hs, ws), (ht, wt) = source.shape[2:], target.shape[2:]
    with quick_products():
        maps = source.detach().float().flatten(2).transpose(1, 2) @ target.detach().float().flatten(2)  # (B, P, Q)
    spare = np.empty((hs * ws, ht * wt), np.float32)
    for one in maps:
        of_source, of_target = filter_weights(one[None])
        _count(one.numpy(), spare, of_source[0].numpy(), of_target[0].numpy(), hs, ws, wt, np.float32(FADING))
    return torch.stack([relative(one.view(hs, ws, ht, wt)) for one in maps])


@compile_once
def _count(
    votes: Floats, spare: Floats, of_source: Floats, of_target: Floats, hs: int, ws: int, wt: int, fading: np.float32
) -> None:
    """Turn correlations into votes, in place; ``spare`` has the same shape."""
    sources, targets = votes.shape
    line, passed = np.empty(targets, np.float32), np.empty(targets, np.float32)
    for p in range(sources):
        for q in range(targets):
            value = max(votes[p, q], np.float32(0))
            value = value * value * value * of_source[p] * of_target[q]
            line[q] = value * np.sqrt(value)
        _spread_row(line, passed, 1, wt)
        _spread_row(passed, line, wt, targets)
        for q in range(targets):
            votes[p, q] = line[q]
    _spread_rows(votes, spare, 1, ws)
    _spread_rows(spare, votes, ws, sources)
    for first in range(0, sources, ws):
        _along(votes, spare, line, first, 1, ws, 1, wt, fading)
    for first in range(ws):
        _along(spare, votes, line, first, ws, hs, wt, targets, fading)


@compile_once
def _spread_row(values: Floats, spread: Floats, step: int, length: int) -> None:
    """Weigh values and their neighbours ``step`` away by 2, 1, 1, in runs of ``length``."""
    for begin in range(0, len(values), length):
        for q in range(begin, begin + length):
            spread[q] = 2 * values[q]
        for q in range(begin, begin + length - step):
            spread[q] += values[q + step]
            spread[q + step] += values[q]


@compile_once
def _spread_rows(values: Floats, spread: Floats, step: int, length: int) -> None:
    """Weigh rows and their neighbours ``step`` away by 2, 1, 1, in runs of ``length``."""
    for p in range(len(values)):
        place = p % length
        for q in range(values.shape[1]):
            spread[p, q] = 2 * values[p, q]
        if place >= step:
            for q in range(values.shape[1]):
                spread[p, q] += values[p - step, q]
        if place + step < length:
            for q in range(values.shape[1]):
                spread[p, q] += values[p + step, q]


@compile_once
def _along(
    values: Floats,
    summed: Floats,
    carried: Floats,
    first: int,
    step: int,
    count: int,
    shift: int,
    length: int,
    fading: np.float32,
) -> None:
    """Add up what lies on the same diagonal, of the rows ``first + i · step`` and of target places ``shift`` apart."""
    targets = values.shape[1]
    for i in range(count):
        p = first + i * step
        for q in range(targets):
            summed[p, q] = values[p, q]
        if i:
            for begin in range(0, targets, length):
                for q in range(begin + shift, begin + length):
                    summed[p, q] += fading * summed[p - step, q - shift]
    for q in range(targets):
        carried[q] = 0
    for i in range(count - 2, -1, -1):
        p = first + i * step
        for begin in range(0, targets, length):
            for q in range(begin, begin + length - shift):
                carried[q] = fading * (carried[q + shift] + values[p + step, q + shift])
            for q in range(begin + length - shift, begin + length):
                carried[q] = 0
        for q in range(targets):
            summed[p, q] += carried[q]
