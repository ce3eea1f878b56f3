"""What a matcher returns: scores of pairs of cells, and the matches that are decoded from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from semcorr.features.feature_map import FeatureMap


class CellMatches(NamedTuple):
    """Where each cell of one picture went in the other.

    Attributes:
        cells: ``(B, h, w, 2)`` (x, y) in cell coordinates of the other picture's grid, float32.
        confidence: ``(B, h, w)``, 0…1, float32.
        peak: ``(B, h, w)``, 0…1, float32: how peaked the scores are, which is the confidence before the round trip.
    """

    cells: Tensor
    confidence: Tensor
    peak: Tensor


@dataclass(frozen=True)
class ScoredPairs:
    """Scores of a few of the pairs of cells, without a table of them all.

    Attributes:
        pairs: For each of B pairs of pictures, ``p · Q + q`` of each pair of cells that was scored, int64, each once.
        scores: Their scores, float32.
        shape: Rows and columns of the source, rows and columns of the target.
        certainty: Where the search looked only around matches of a coarser grid: how sure those were, for each source
            cell ``(B, hs, ws)`` and each target cell ``(B, ht, wt)``.
    """

    pairs: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    shape: tuple[int, int, int, int]
    certainty: tuple[Tensor, Tensor] | None = None

    def table(self) -> Tensor:
        """Return the scores as a table ``(B, hs, ws, ht, wt)``, -inf where a pair was not scored."""
        hs, ws, ht, wt = self.shape
        table = torch.full((len(self.pairs), hs * ws * ht * wt), -torch.inf, device=self.scores[0].device)
        for row, pairs, scores in zip(table, self.pairs, self.scores, strict=True):
            row[pairs] = scores
        return table.view(-1, *self.shape)


def list_scored(table: Tensor) -> ScoredPairs:
    """List the pairs of a table ``(B, hs, ws, ht, wt)`` that were scored: those that are not -inf."""
    pairs = [row.flatten().isfinite().nonzero()[:, 0] for row in table]
    scores = [row.flatten()[listed] for row, listed in zip(table, pairs, strict=True)]
    hs, ws, ht, wt = table.shape[1:]
    return ScoredPairs(tuple(pairs), tuple(scores), (hs, ws, ht, wt))


ScoreCells = Callable[[FeatureMap, FeatureMap], Tensor | ScoredPairs]
"""A matcher: any callable from two feature maps to scores.

The scores are a table ``(B, hs, ws, ht, wt)``, float32, on the device of the features: log-probabilities up to a
constant, -inf where a pair was not scored. A matcher that scores few pairs may return them alone, as `ScoredPairs`.
`semcorr.matchers.decode` turns either into sub-cell matches of both directions, whatever the matcher.
"""
