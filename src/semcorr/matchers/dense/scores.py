"""The result of a matcher: scores of pairs of cells, and the matches decoded from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from semcorr.features.feature_map import FeatureMap
from semcorr.matchers.scored import Scored


class CellMatches(NamedTuple):
    """The match of each cell of one image in the other.

    Attributes:
        cells: ``(B, h, w, 2)`` (x, y) in cell coordinates of the other image's grid, float32.
        confidence: ``(B, h, w)``, 0…1, float32.
        peak: ``(B, h, w)``, 0…1, float32: how peaked the scores are, which is the confidence before the round trip.
    """

    cells: Tensor
    confidence: Tensor
    peak: Tensor


@dataclass(frozen=True)
class ScoredPairs:
    """Scores of some of the pairs of cells, as lists instead of a table.

    Attributes:
        pairs: For each of B image pairs, ``p · Q + q`` of each scored pair of a source cell p and one of Q target cells
            q, int64, without duplicates.
        scores: Their scores, float32.
        shape: Rows and columns of the source, then of the target.
        certainty: After a search from coarse to fine, the confidence of the coarse match of each source cell
            ``(B, hs, ws)`` and of each target cell ``(B, ht, wt)``; otherwise None.
    """

    pairs: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    shape: tuple[int, int, int, int]
    certainty: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, results: Sequence[Scored]) -> ScoredPairs:
        """Combine the results of several image pairs with the same grids into one batch of tensors."""
        pairs = tuple(torch.from_numpy(result.pairs) for result in results)
        scores = tuple(torch.from_numpy(result.scores) for result in results)
        certainties = [result.certainty for result in results if result.certainty is not None]
        of_source, of_target = ([torch.from_numpy(pair[side]) for pair in certainties] for side in (0, 1))
        certainty = (torch.stack(of_source), torch.stack(of_target)) if certainties else None
        return cls(pairs, scores, results[0].grid, certainty)

    def table(self) -> Tensor:
        """Return the scores as a table ``(B, hs, ws, ht, wt)``, -inf where a pair was not scored."""
        hs, ws, ht, wt = self.shape
        table = self.scores[0].new_full((len(self.pairs), hs * ws * ht * wt), -torch.inf)
        for row, pairs, scores in zip(table, self.pairs, self.scores, strict=True):
            row[pairs] = scores
        return table.view(-1, *self.shape)


def list_scored(table: Tensor) -> ScoredPairs:
    """List the pairs of a table ``(B, hs, ws, ht, wt)`` that were scored: those that are not -inf."""
    pairs = [row.flatten().isfinite().nonzero()[:, 0] for row in table]
    scores = [row.flatten()[scored] for row, scored in zip(table, pairs, strict=True)]
    hs, ws, ht, wt = table.shape[1:]
    return ScoredPairs(tuple(pairs), tuple(scores), (hs, ws, ht, wt))


ScoreCells = Callable[[FeatureMap, FeatureMap], Tensor | ScoredPairs]
"""A matcher: any callable from two feature maps to scores.

The scores are a table ``(B, hs, ws, ht, wt)``, float32, on the device of the features: log-probabilities up to a
constant, -inf where a pair was not scored. A matcher that scores few pairs may return only those, as `ScoredPairs`.
`semcorr.matchers.dense.decode` decodes either into sub-cell matches of both directions.
"""
