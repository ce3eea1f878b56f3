"""`semcorr.consensus.voting.vote` compiled for the CPU: sums run along diagonals, each value read and written once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semcorr.compiling import compile_once
from semcorr.consensus.voting import FADING, FLOOR
from semcorr.patchmatch.listing import Floats, Integers


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
        spare = np.empty((max(hs, ws), correlations.shape[1]), np.float32)
        _count(correlations, spare, of_source, of_target, ws, wt, np.float32(FADING))
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
    votes: Floats, spare: Floats, of_source: Floats, of_target: Floats, ws: int, wt: int, fading: np.float32
) -> None:
    """Turn correlations into votes, in place; ``spare`` has room for a row or a column of source cells."""
    sources, targets = votes.shape
    for p in range(sources):
        for q in range(targets):
            value = max(votes[p, q], np.float32(0))
            value = value * value * value * of_source[p] * of_target[q]
            spare[0, q] = value * np.sqrt(value)
        _spread_within(spare[0], votes[p], 1, wt)
        for q in range(targets):
            spare[0, q] = votes[p, q]
        _spread_within(spare[0], votes[p], wt, targets)
    for first in range(0, sources, ws):
        _spread_among(votes, first, 1, ws, spare)
        _along(votes, first, 1, ws, spare, 1, wt, fading)
    for first in range(ws):
        _spread_among(votes, first, ws, sources // ws, spare)
        _along(votes, first, ws, sources // ws, spare, wt, targets, fading)


@compile_once
def _spread_within(values: Floats, spread: Floats, step: int, length: int) -> None:
    """Weigh values and their neighbours ``step`` away by 2, 1, 1, in runs of ``length``."""
    for begin in range(0, len(values), length):
        for q in range(begin, begin + length):
            spread[q] = 2 * values[q]
        for q in range(begin, begin + length - step):
            spread[q] += values[q + step]
        for q in range(begin + step, begin + length):
            spread[q] += values[q - step]


@compile_once
def _spread_among(votes: Floats, first: int, step: int, count: int, spare: Floats) -> None:
    """Weigh the rows ``first + i · step`` and those beside them by 2, 1, 1, in place."""
    targets = votes.shape[1]
    for i in range(count):
        for q in range(targets):
            spare[i, q] = votes[first + i * step, q]
    for i in range(count):
        p = first + i * step
        for q in range(targets):
            votes[p, q] = 2 * votes[p, q]
        for beside in (i - 1, i + 1):
            if 0 <= beside < count:
                for q in range(targets):
                    votes[p, q] += spare[beside, q]


@compile_once
def _along(
    votes: Floats, first: int, step: int, count: int, spare: Floats, shift: int, length: int, fading: np.float32
) -> None:
    """Add up what lies on the same diagonal of those rows and of target places ``shift`` apart, both ways, in place."""
    targets = votes.shape[1]
    for i in range(count):
        for q in range(targets):
            spare[i, q] = votes[first + i * step, q]
    for i in range(1, count):
        p = first + i * step
        for begin in range(0, targets, length):
            for q in range(begin + shift, begin + length):
                votes[p, q] += fading * votes[p - step, q - shift]
    for i in range(count - 2, -1, -1):  # spare becomes what comes from behind, a row later each time
        p = first + i * step
        for begin in range(0, targets, length):
            for q in range(begin, begin + length - shift):
                passed = fading * spare[i + 1, q + shift]
                spare[i, q] += passed
                votes[p, q] += passed
