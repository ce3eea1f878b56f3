"""The result of a search: the pairs of cells that it scored, and their scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class Scored(NamedTuple):
    """Scores of some of the pairs of cells of two images, as a list instead of a table.

    Attributes:
        pairs: ``p · Q + q`` of each scored pair of a source cell p and one of Q target cells q, ``(N,)`` int64, without
            duplicates.
        scores: Score of each pair, ``(N,)`` float32: log-probabilities up to a constant.
        grid: Rows and columns of the source, then of the target.
        certainty: After a search from coarse to fine, the confidence of the coarse match of each source cell
            ``(hs, ws)`` and of each target cell ``(ht, wt)``; otherwise None.
    """

    pairs: Integers
    scores: Floats
    grid: tuple[int, int, int, int]
    certainty: tuple[Floats, Floats] | None = None

    def table(self) -> Floats:
        """Return the scores as a table ``(hs, ws, ht, wt)``, -inf where a pair was not scored."""
        table = np.full(np.prod(self.grid), -np.inf, np.float32)
        table[self.pairs] = self.scores
        return table.reshape(self.grid)

    def swapped(self) -> Scored:
        """Return the same scores with source and target exchanged, without the certainty."""
        p, q = np.divmod(self.pairs, self.grid[2] * self.grid[3])
        hs, ws, ht, wt = self.grid
        return Scored(q * (hs * ws) + p, self.scores, (ht, wt, hs, ws))
