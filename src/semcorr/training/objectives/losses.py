"""Losses: scores against the true positions of keypoints, or, without keypoints, against those of unrelated pictures.

Scores are log-probabilities up to a constant, as every matcher returns them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.geometry import Size

_ONE_TO_ONE = 0.1  # weight of the one-to-one term in the authors' training of ANC-Net


def target_probability(cells: Tensor, grid: Size) -> Tensor:
    """Spread each true position over the four cells around it, by bilinear weights.

    Args:
        cells: ``(N, 2)`` (x, y) in cell coordinates; clamped to the outermost cell centres.
        grid: Rows and columns.

    Returns:
        ``(N, rows, columns)``; each map sums to one.

    >>> target_probability(torch.tensor([[0.25, 1.0]]), (2, 2))
    tensor([[[0.0000, 0.0000],
             [0.7500, 0.2500]]])
    """
    rows, columns = grid
    x = cells[:, 0].clamp(0, columns - 1)[:, None] - torch.arange(columns, device=cells.device)
    y = cells[:, 1].clamp(0, rows - 1)[:, None] - torch.arange(rows, device=cells.device)
    return (1 - y.abs()).clamp(min=0)[:, :, None] * (1 - x.abs()).clamp(min=0)[:, None, :]


def smoothed(probability: Tensor) -> Tensor:
    """Spread maps by a 5×5 Gaussian of one cell's deviation, as ANC-Net does; each still sums to one.

    Args:
        probability: ``(N, rows, columns)``, each map summing to one.
    """
    bell = torch.exp(-0.5 * torch.arange(-2, 3, device=probability.device).square())
    kernel = (bell[:, None] * bell)[None, None]
    spread = F.conv2d(probability[:, None], kernel, padding=2)[:, 0]
    return spread / spread.sum(dim=(1, 2), keepdim=True)


def cross_entropy(scores: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of scores against probability maps, both ``(N, rows, columns)``.

    With ``weights`` ``(N,)``, their weighted sum.
    """
    each = -(truth.flatten(1) * scores.flatten(1).log_softmax(dim=1)).sum(dim=1)
    return each.mean() if weights is None else (weights * each).sum()


def one_to_one(scores: Tensor, truth: Tensor) -> Tensor:
    """Return ANC-Net's loss: distance to the truth, plus a one-to-one term that keeps different keypoints apart.

    With X the probabilities of N keypoints, one row each, and G the truth: the mean norm of the rows of X - G, plus a
    tenth of ‖XXᵀ - GGᵀ‖ (Frobenius) for each keypoint (Li et al., CVPR 2020, section 3.4).

    Args:
        scores: ``(N, rows, columns)``.
        truth: Probability maps of the same shape, already `smoothed`.
    """
    predicted, wanted = scores.flatten(1).softmax(dim=1), truth.flatten(1)
    constraint: Tensor = torch.linalg.matrix_norm(predicted @ predicted.T - wanted @ wanted.T)
    distance: Tensor = (predicted - wanted).norm(dim=1).mean()
    return distance + _ONE_TO_ONE * constraint / len(scores)


def matching_score(scores: Tensor) -> Tensor:
    """Return how peaked a table of scores is: the mean probability of the best match, over the cells of both pictures.

    Args:
        scores: ``(B, hs, ws, ht, wt)``.
    """
    forward = scores.flatten(3).softmax(dim=3).amax(dim=3)  # (B, hs, ws)
    backward = scores.flatten(1, 2).softmax(dim=1).amax(dim=1)  # (B, ht, wt)
    return (forward.mean() + backward.mean()) / 2


def weak_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Return NC-Net's weakly supervised loss, which uses no keypoints (Rocco et al., NeurIPS 2018, section 3.4).

    Args:
        positive: Scores ``(B, hs, ws, ht, wt)`` of pairs of the same category.
        negative: Scores of unrelated pairs.
    """
    return matching_score(negative) - matching_score(positive)
