"""Validation of a model while it learns: PCK of its dense scores, without a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from semcorr.data.pairs import Pair
from semcorr.decode import soft_argmax
from semcorr.geometry import cells_to_pixels
from semcorr.metrics import ALPHAS, pck_distances
from semcorr.training.proxy import Example
from semcorr.training.sampling import FeatureBank, drawn_of


@torch.no_grad()
def validate(score_points: Callable[[Example], Tensor], bank: FeatureBank, pairs: Sequence[Pair]) -> list[float]:
    """Measure PCK at `ALPHAS` in percent, the threshold of the picture's longer side, averaged per image.

    Args:
        score_points: Scores an example's source keypoints, where they are and not rounded to a cell, against every
            target cell: ``(K, ht, wt)``.
        bank: Makes the features.
        pairs: The pairs.
    """
    correct = torch.zeros(len(ALPHAS))
    for pair in pairs:
        example = bank.example(drawn_of(pair))
        cells, _ = soft_argmax(score_points(example))
        errors = pck_distances(cells_to_pixels(cells, pair.target.size, example.grids[1]).cpu(), pair)
        correct += torch.tensor([(errors <= alpha).float().mean().item() for alpha in ALPHAS])
    return (100 * correct / len(pairs)).tolist()
