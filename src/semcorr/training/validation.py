"""Validation of a model while it learns: PCK of its dense scores, without a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from semcorr.data.pairs import Pair
from semcorr.geometry import cells_to_pixels
from semcorr.metrics.pck import ALPHAS, pck_distances
from semcorr.training.objectives.proxy import Example
from semcorr.training.sampling.sampling import FeatureBank, drawn_of


@torch.no_grad()
def validate(locate: Callable[[Example], Tensor], bank: FeatureBank, pairs: Sequence[Pair]) -> list[float]:
    """Measure PCK at `ALPHAS` in percent, the threshold of the picture's longer side, averaged per image.

    Args:
        locate: Finds an example's source keypoints, where they are and not rounded to a cell, in the target: ``(K, 2)``
            in cell coordinates of its grid.
        bank: Makes the features.
        pairs: The pairs.
    """
    correct = torch.zeros(len(ALPHAS))
    for pair in pairs:
        example = bank.example(drawn_of(pair))
        points = cells_to_pixels(locate(example), pair.target.size, example.grids[1])
        errors = pck_distances(points.cpu(), pair)
        correct += torch.tensor([(errors <= alpha).float().mean().item() for alpha in ALPHAS])
    return (100 * correct / len(pairs)).tolist()
