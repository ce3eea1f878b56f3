"""Validation during training: PCK of dense scores, without a search, by the protocol of the data set."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import Tensor

from semcorr.geometry import cells_to_pixels
from semcorr.matchers.dense.decode import soft_argmax
from semcorr.metrics.pck import ALPHAS, pck_distances
from semcorr.training.data import Validation
from semcorr.training.objectives.build import Objective
from semcorr.training.objectives.fine import RefineModel
from semcorr.training.objectives.proxy import Example
from semcorr.training.sampling.bank import FeatureBank
from semcorr.training.sampling.views import unchanged


@torch.no_grad()
def validate(
    locate: Callable[[Example], Tensor], bank: FeatureBank, validation: Validation, fabric: Fabric
) -> list[float]:
    """Measure PCK at `ALPHAS` in percent, averaged per image; several devices share the pairs.

    Args:
        locate: Finds an example's source keypoints in the target, see `locate`.
        bank: Computes the features.
        validation: The pairs, and their protocol.
        fabric: The devices.
    """
    correct = torch.zeros(len(ALPHAS), dtype=torch.float64)
    for pair in validation.pairs[fabric.global_rank :: fabric.world_size]:
        example = bank.example(unchanged(pair))
        points = cells_to_pixels(locate(example), pair.target.size, example.grids[1])
        errors = pck_distances(points.cpu(), pair, validation.threshold, validation.space)
        correct += torch.tensor([float((errors <= alpha).mean()) for alpha in ALPHAS])
    if fabric.world_size > 1:
        correct = torch.as_tensor(fabric.all_reduce(correct.to(fabric.device, torch.float32), reduce_op="sum")).cpu()
    return (100 * correct / len(validation.pairs)).tolist()


def locate(objective: Objective, example: Example) -> Tensor:
    """Find an example's source keypoints in the target, unrounded: ``(K, 2)`` in cell coordinates of its grid."""
    if isinstance(objective, RefineModel):
        return objective.locate(example)
    return soft_argmax(objective.score_points(example))[0]
