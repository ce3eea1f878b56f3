"""The loss of NC-Net and ANC-Net on one pair: the whole map is computed, and read at the keypoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semcorr.geometry import Size
from semcorr.matchers.pmnc.gpu.windows import sample_rows
from semcorr.models.building import DenseMatcher
from semcorr.training.backbone import Backbone
from semcorr.training.objectives.joint import backbone_tensors
from semcorr.training.objectives.losses import cross_entropy, one_to_one, smoothed, target_probability, weak_loss
from semcorr.training.objectives.proxy import Example
from semcorr.training.recipe import Loss


class ConsensusModel(nn.Module):
    """The loss of a dense consensus network on pairs.

    Args:
        matcher: The network that is trained.
        loss: ``"weak"`` uses no keypoints, but an example's negative.
        backbone: Backbone that is trained with it, as in the second stage of NC-Net's training; None uses the features
            of an example as they are.
    """

    def __init__(self, matcher: DenseMatcher, loss: Loss, backbone: Backbone | None = None) -> None:
        super().__init__()
        self.matcher, self.loss, self.backbone = matcher, loss, backbone

    def features(self, stem: Tensor, grid: Size) -> Tensor:
        """Return the features ``(1, C, rows, columns)`` of one picture of an example."""
        return stem[None] if self.backbone is None else self.backbone.features(stem[None], grid)

    def forward(self, example: Example) -> Tensor:
        """Return the mean loss over both directions, a scalar."""
        values, target = self._map(example)
        if self.loss == "weak":
            if example.negative is None:
                raise ValueError("the weak loss needs a negative in every example")
            others = self.matcher.consensus_map(self.features(*example.negative), target)
            return weak_loss(self.matcher.to_scores(values), self.matcher.to_scores(others))
        forward = self._row_loss(values, example.source_cells, example.target_cells)
        backward = self._row_loss(values.permute(0, 3, 4, 1, 2), example.target_cells, example.source_cells)
        return (forward + backward) / 2

    def learned(self) -> dict[str, Tensor]:
        """Return the tensors of a weights file, including the whole backbone if it was trained."""
        return {**self.matcher.state_dict(), **backbone_tensors(self.backbone)}

    def score_points(self, example: Example) -> Tensor:
        """Score the source's keypoints against every target cell: ``(K, ht, wt)``."""
        return self._rows(self._map(example)[0], example.source_cells)

    def _map(self, example: Example) -> tuple[Tensor, Tensor]:
        """Return the consensus map ``(1, hs, ws, ht, wt)``, and the features of the target."""
        source, target = (
            self.features(example.source, example.grids[0]),
            self.features(example.target, example.grids[1]),
        )
        return self.matcher.consensus_map(source, target), target

    def _row_loss(self, values: Tensor, known: Tensor, wanted: Tensor) -> Tensor:
        scores = self._rows(values, known)
        truth = target_probability(wanted, (scores.shape[1], scores.shape[2]))
        return one_to_one(scores, smoothed(truth)) if self.loss == "one-to-one" else cross_entropy(scores, truth)

    def _rows(self, values: Tensor, cells: Tensor) -> Tensor:
        """Sample a map ``(1, hs, ws, ht, wt)`` bilinearly at source points, clamped to the outermost cell centres."""
        last = torch.tensor([values.shape[2] - 1, values.shape[1] - 1], device=cells.device)
        inner = torch.minimum(cells.clamp(min=0), last)
        return self.matcher.to_scores(sample_rows(values, inner, radius=0)[:, 0, 0])
