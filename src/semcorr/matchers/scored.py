"""What a search returns: the pairs of cells that it scored, and their scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class Scored(NamedTuple):
    """Scores of a few of the pairs of cells of two pictures, without a table of them all.

    Attributes:
        pairs: ``p · Q + q`` of each pair of cells that was scored, ``(N,)``, each once.
        scores: ``(N,)``.
        grid: Rows and columns of the source, rows and columns of the target.
        certainty: Where the search looked only around matches of a coarser grid: how sure those were, for each source
            cell ``(hs, ws)`` and each target cell ``(ht, wt)``.
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
