"""`semcorr.matchers.pmnc.voting.vote` on the CPU: sums run along diagonals, each value read and written once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semcorr.jit import compile_once
from semcorr.matchers.pmnc.cpu.candidates import Floats, Integers
from semcorr.matchers.pmnc.voting import FADING, FLOOR


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
        """Return what `semcorr.matchers.pmnc.voting.vote` has at pairs ``p · Q + q``."""
        p, q = np.divmod(pairs, self.votes.shape[1])
        votes: NDArray[np.float32] = np.log(self.votes.ravel()[pairs] * self.best[0][p] * self.best[1][q] + FLOOR)
        return votes


class TileBallot:
    """The votes of tiles, read for cells: `semcorr.matchers.pmnc.matcher.votes_of_cells` at the pairs asked for.

    Args:
        tiles: The votes of the tiles.
        grid: Rows and columns of the tiles of the source, rows and columns of those of the target.
        factor: Cells to a side of a tile.
        cells: Rows and columns of the cells of the source, rows and columns of those of the target.
    """

    def __init__(
        self, tiles: Ballot, grid: tuple[int, int, int, int], factor: int, cells: tuple[int, int, int, int]
    ) -> None:
        self.votes = tiles.of(np.arange(tiles.votes.size)).reshape(tiles.votes.shape)
        self.grid, self.cells = grid, cells
        axes = [_between(count, factor, most) for count, most in zip(cells, grid, strict=True)]
        self.places = (axes[0], axes[1], axes[2], axes[3])

    def of(self, pairs: Integers) -> NDArray[np.float32]:
        """Return the votes at pairs of cells ``p · Q + q``."""
        _, ws, ht, wt = self.cells
        found = np.empty(len(pairs), np.float32)
        _interpolate(pairs, self.votes, *self.places, ws, ht * wt, wt, self.grid[1], self.grid[3], found)
        return found


def _between(cells: int, factor: int, tiles: int) -> Floats:
    """Return where the centres of cells are along an axis, in tiles, ``(cells,)``, inside the outermost centres."""
    places = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
    inside: Floats = np.clip(places, 0, tiles - 1).astype(np.float32)
    return inside


@compile_once
def _interpolate(
    pairs: Integers,
    votes: Floats,
    sy: Floats,
    sx: Floats,
    ty: Floats,
    tx: Floats,
    ws: int,
    targets: int,
    wt: int,
    source_columns: int,
    target_columns: int,
    found: Floats,
) -> None:
    sources, others = votes.shape
    source_rows, target_rows = sources // source_columns, others // target_columns
    for n in range(len(pairs)):
        p, q = pairs[n] // targets, pairs[n] % targets
        py, px, qy, qx = sy[p // ws], sx[p % ws], ty[q // wt], tx[q % wt]
        i, j, k, m = int(py), int(px), int(qy), int(qx)
        ay, ax, by, bx = py - i, px - j, qy - k, qx - m
        ends = min(i + 1, source_rows - 1), min(j + 1, source_columns - 1)
        far = min(k + 1, target_rows - 1), min(m + 1, target_columns - 1)
        total = np.float32(0)
        for a in range(4):
            one = (ends[0] if a // 2 else i) * source_columns + (ends[1] if a % 2 else j)
            weight = (ay if a // 2 else 1 - ay) * (ax if a % 2 else 1 - ax)
            if weight == 0:
                continue
            near = (1 - bx) * votes[one, k * target_columns + m] + bx * votes[one, k * target_columns + far[1]]
            off = (1 - bx) * votes[one, far[0] * target_columns + m] + bx * votes[one, far[0] * target_columns + far[1]]
            total += weight * ((1 - by) * near + by * off)
        found[n] = total


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
        end = begin + length
        for q in range(begin, min(begin + step, end)):
            spread[q] = 2 * values[q] + (values[q + step] if q + step < end else np.float32(0))
        for q in range(begin + step, end - step):
            spread[q] = 2 * values[q] + values[q - step] + values[q + step]
        for q in range(max(begin + step, end - step), end):
            spread[q] = 2 * values[q] + values[q - step]


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
