"""The loss of NC-Net and ANC-Net on one pair: their whole map is computed, and read at the keypoints."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from semcorr.features.efficientnet_lite import EfficientNetLite
from semcorr.geometry import Size
from semcorr.matchers.ancnet import ANCNet
from semcorr.matchers.ncnet import NCNet
from semcorr.matchers.pmnc.gpu.windows import sample_rows
from semcorr.models.configs import BACKBONE
from semcorr.training.backbone import later_features
from semcorr.training.objectives.losses import cross_entropy, one_to_one, smoothed, target_probability, weak_loss
from semcorr.training.objectives.proxy import Example

Loss = Literal["cross-entropy", "one-to-one", "weak"]


class ConsensusModel(nn.Module):
    """The loss of a dense consensus network on pairs.

    Args:
        matcher: The network that learns.
        loss: ``"weak"`` needs no keypoints, but an example's negative.
        backbone: Learns with it, but for its first blocks, as in the second stage of NC-Net's training; None leaves the
            features of an example as they are.
        frozen: How many blocks of the backbone stay as they are.
    """

    def __init__(
        self, matcher: NCNet | ANCNet, loss: Loss, backbone: EfficientNetLite | None = None, frozen: int = 0
    ) -> None:
        super().__init__()
        self.matcher, self.loss, self.backbone, self.frozen = matcher, loss, backbone, frozen

    def features(self, kept: Tensor, grid: Size) -> Tensor:
        """Return the features ``(1, C, rows, columns)`` of what an example holds of one picture."""
        return kept[None] if self.backbone is None else later_features(self.backbone, self.frozen, kept, grid)

    def forward(self, example: Example) -> Tensor:
        """Return the mean loss over both directions, a scalar."""
        source, target = (
            self.features(example.source, example.grids[0]),
            self.features(example.target, example.grids[1]),
        )
        values = self.matcher.consensus_map(source, target)
        if self.loss == "weak":
            if example.negative is None:
                raise ValueError("the weak loss needs a negative in every example")
            others = self.matcher.consensus_map(self.features(*example.negative), target)
            return weak_loss(self.matcher.to_scores(values), self.matcher.to_scores(others))
        there = self._of_rows(values, example.source_cells, example.target_cells)
        back = self._of_rows(values.permute(0, 3, 4, 1, 2), example.target_cells, example.source_cells)
        return (there + back) / 2

    def learned(self) -> dict[str, Tensor]:
        """Return what a weights file holds: the whole backbone too, if it was trained."""
        trained = {} if self.backbone is None else self.backbone.state_dict(prefix=BACKBONE)
        return {**self.matcher.state_dict(), **trained}

    def score_points(self, example: Example) -> Tensor:
        """Score the source's keypoints against every target cell: ``(K, ht, wt)``."""
        source, target = (
            self.features(example.source, example.grids[0]),
            self.features(example.target, example.grids[1]),
        )
        values = self.matcher.consensus_map(source, target)
        return self._rows(values, example.source_cells)

    def _of_rows(self, values: Tensor, known: Tensor, wanted: Tensor) -> Tensor:
        scores = self._rows(values, known)
        truth = target_probability(wanted, (scores.shape[1], scores.shape[2]))
        return one_to_one(scores, smoothed(truth)) if self.loss == "one-to-one" else cross_entropy(scores, truth)

    def _rows(self, values: Tensor, cells: Tensor) -> Tensor:
        """Read the map ``(1, hs, ws, ht, wt)`` bilinearly at source points; beyond the outermost centres, on them."""
        last = torch.tensor([values.shape[2] - 1, values.shape[1] - 1], device=cells.device)
        inner = torch.minimum(cells.clamp(min=0), last)
        return self.matcher.to_scores(sample_rows(values, inner, radius=0)[:, 0, 0])
