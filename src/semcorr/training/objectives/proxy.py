"""The proxy model: score annotated keypoints densely, and train the scores towards their true positions.

Scoring one source point against all target cells is an ordinary convolution (`ScoringFunction.score_points`), so
the scoring function is trained without a search and without a 4-D tensor in the graph; the search then uses the same
function (Lee et al., CVPR 2021: dense scoring of the annotated keypoints, cross-entropy against a ground-truth
probability map).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from semcorr.geometry import Size
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.voting import vote, votes_of_points
from semcorr.training.objectives.losses import cross_entropy, target_probability


class Example(NamedTuple):
    """One annotated pair, ready for the proxy model.

    Attributes:
        source: Features ``(C, hs, ws)``, L2-normalised over C; where a backbone is trained, the output of its frozen
            part.
        target: Features ``(C, ht, wt)``.
        source_cells: Keypoints ``(K, 2)`` (x, y) in cell coordinates of the source's grid.
        target_cells: The same keypoints in the target's grid.
        grids: Rows and columns of the source's features and of the target's.
        negative: Features of another pair's source, and their rows and columns, for losses that need no keypoints.
    """

    source: Tensor
    target: Tensor
    source_cells: Tensor
    target_cells: Tensor
    grids: tuple[Size, Size]
    negative: tuple[Tensor, Size] | None = None


class ProxyModel(nn.Module):
    """The loss of a scoring function on annotated pairs.

    Args:
        scoring: The function that is trained.
        votes: Weight of `semcorr.matchers.pmnc.gpu.voting.vote` beside it.
    """

    def __init__(self, scoring: ScoringFunction, votes: float = 0.0) -> None:
        super().__init__()
        self.scoring, self.votes = scoring, votes

    def maps(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the correlation channels ``(channels, hs, ws, ht, wt)`` of two feature maps ``(C, h, w)``."""
        return correlation_channels(cosine_correlation(source[None], target[None]))[0]

    def forward(self, example: Example) -> Tensor:
        """Return the mean cross-entropy over the keypoints and both directions, a scalar."""
        maps = self.maps(example.source, example.target)
        return proxy_loss(self.scoring, maps, example.source_cells, example.target_cells, self.votes)

    def score_points(self, example: Example) -> Tensor:
        """Score the source's keypoints against every target cell: ``(K, ht, wt)``."""
        maps = self.maps(example.source, example.target)
        return score_points(self.scoring, maps, example.source_cells, self.votes)

    def learned(self) -> dict[str, Tensor]:
        """Return the tensors of a weights file."""
        return dict(self.state_dict())


def score_points(scoring: ScoringFunction, maps: Tensor, cells: Tensor, votes: float = 0.0) -> Tensor:
    """Score continuous source points against every target cell, with votes: ``(N, ht, wt)``.

    Args:
        scoring: The scoring function.
        maps: One pair's correlation channels ``(channels, hs, ws, ht, wt)``.
        cells: Source points ``(N, 2)`` (x, y) in cell coordinates.
        votes: Weight of the votes; 0 is none.
    """
    scores = scoring.score_points(maps, cells)
    return scores + votes * votes_of_points(vote(maps[-1]), cells) if votes else scores


def proxy_loss(
    scoring: ScoringFunction,
    maps: Tensor,
    source_cells: Tensor,
    target_cells: Tensor,
    votes: float = 0.0,
) -> Tensor:
    """Return the mean cross-entropy over keypoints and both directions, a scalar.

    Args:
        scoring: The function that is trained.
        maps: One pair's correlation channels ``(channels, hs, ws, ht, wt)``.
        source_cells: Keypoints ``(K, 2)`` (x, y) in cell coordinates of the source's grid.
        target_cells: The same keypoints in the target's grid.
        votes: Weight of the votes.
    """
    weighted = votes * vote(maps[-1]) if votes else None
    total = maps.new_zeros(())
    for known, wanted in ((source_cells, target_cells), (target_cells, source_cells)):
        scores = scoring.score_points(maps, known)  # (K, rows, columns)
        if weighted is not None:
            scores = scores + votes_of_points(weighted, known)
            weighted = weighted.permute(2, 3, 0, 1)
        total = total + cross_entropy(scores, target_probability(wanted, (scores.shape[1], scores.shape[2])))
        maps = maps.permute(0, 3, 4, 1, 2)
    return total / 2
