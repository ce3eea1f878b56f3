"""Validation during training: PCK of dense scores, without a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from semcorr.data.pairs import Pair
from semcorr.geometry import cells_to_pixels
from semcorr.matchers.dense.decode import soft_argmax
from semcorr.metrics.pck import ALPHAS, pck_distances
from semcorr.training.objectives.build import Objective
from semcorr.training.objectives.fine import RefineModel
from semcorr.training.objectives.proxy import Example
from semcorr.training.sampling.bank import FeatureBank
from semcorr.training.sampling.views import unchanged


@torch.no_grad()
def validate(locate: Callable[[Example], Tensor], bank: FeatureBank, pairs: Sequence[Pair]) -> list[float]:
    """Measure PCK at `ALPHAS` in percent, relative to the longer side of the target picture, averaged per image.

    Args:
        locate: Finds an example's source keypoints in the target, see `locate`.
        bank: Computes the features.
        pairs: The pairs.
    """
    correct = torch.zeros(len(ALPHAS))
    for pair in pairs:
        example = bank.example(unchanged(pair))
        points = cells_to_pixels(locate(example), pair.target.size, example.grids[1])
        errors = pck_distances(points.cpu(), pair)
        correct += torch.tensor([(errors <= alpha).float().mean().item() for alpha in ALPHAS])
    return (100 * correct / len(pairs)).tolist()


def locate(objective: Objective, example: Example) -> Tensor:
    """Find an example's source keypoints in the target, unrounded: ``(K, 2)`` in cell coordinates of its grid."""
    if isinstance(objective, RefineModel):
        return objective.locate(example)
    return soft_argmax(objective.score_points(example))[0]
