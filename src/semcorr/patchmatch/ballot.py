"""`semcorr.consensus.voting.vote` compiled for the CPU: sums run along diagonals, each value read and written once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semcorr.consensus.voting import FADING, FLOOR
from semcorr.patchmatch.listing import Floats, Integers, compile_once


class Ballot:
    """The votes of one pair of pictures, of which the logarithm is taken where it is asked for.

    Args:
        correlations: ``(P, Q)`` of all source and target cells; they are overwritten.
        of_source: The filter's weights of source cells, ``(P,)``.
        of_target: Likewise of target cells, ``(Q,)``.
        grid: Rows and columns of the source, rows and columns of the target.
    """

    def __init__(
        self, correlations: Floats, of_source: Floats, of_target: Floats, grid: tuple[int, int, int, int]
    ) -> None:
        hs, ws, _, wt = grid
        _count(correlations, np.empty_like(correlations), of_source, of_target, hs, ws, wt, np.float32(FADING))
        self.votes = correlations
        tiny = np.finfo(np.float32).tiny
        self.best = tuple(np.maximum(correlations.max(axis), tiny) ** -0.5 for axis in (1, 0))

    def of(self, pairs: Integers) -> NDArray[np.float32]:
        """Return what `semcorr.consensus.voting.vote` has at pairs ``p · Q + q``."""
        p, q = np.divmod(pairs, self.votes.shape[1])
        votes: NDArray[np.float32] = np.log(self.votes.ravel()[pairs] * self.best[0][p] * self.best[1][q] + FLOOR)
        return votes


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
