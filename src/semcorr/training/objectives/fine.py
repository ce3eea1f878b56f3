"""Training of fine descriptors on the matches of a model: alone, or together with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.features.fine import FineDescriptors
from semcorr.geometry import Size, cells_to_sampling, regrid
from semcorr.match.correct import POWER, RADIUS
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.dense.decode import soft_argmax
from semcorr.models.configs import FINE
from semcorr.training.objectives.joint import JointModel, Picture, Share, cells_of, draw_pairs
from semcorr.training.objectives.proxy import Example, score_points

_REACH = 0.5  # fine cells², from a keypoint to the nearest cell of the window; keypoints further away are ignored
_BLUR = 0.7  # fine cells: standard deviation of the target probability
_TOLERATED = 0.6  # fine cells: larger errors count by their logarithm
_OTHERS = 0.5  # weight of pairs without annotated keypoints


class RefineModel(nn.Module):
    """The loss of fine descriptors on a group of pictures, and of the model whose matches they correct.

    Args:
        joint: The model whose matches are corrected.
        fine: The descriptors.
        alone: Whether only the descriptors are trained; otherwise the model is trained with them.
    """

    def __init__(self, joint: JointModel, fine: FineDescriptors, alone: bool = True) -> None:
        super().__init__()
        self.joint, self.fine, self.alone = joint, fine, alone
        if alone:
            joint.requires_grad_(False)

    def forward(
        self, groups: Sequence[Sequence[Picture]], shares: Sequence[Share], rngs: Sequence[np.random.Generator]
    ) -> Tensor:
        """Return the loss of groups, a scalar; see `JointModel`. The model learns nothing from its descriptors."""
        losses = [self._group_loss(*of_group) for of_group in zip(groups, shares, rngs, strict=True)]
        return torch.stack(losses).sum()

    def _group_loss(self, group: Sequence[Picture], share: Share, rng: np.random.Generator) -> Tensor:
        with torch.set_grad_enabled(not self.alone):
            features = [self.joint.features(picture.stem[None], picture.grid) for picture in group]
        pairs = self.joint.scored.pairs if share.annotated else 1
        losses = list(self._losses(group, [one.detach() for one in features], pairs, rng))
        weight = share.scored * (1.0 if share.annotated else _OTHERS)
        loss = weight * torch.stack(losses).mean() if losses else self.fine.log_spread * 0
        return loss if self.alone else loss + self.joint.group_loss(group, features, share, rng)

    def locate(self, example: Example) -> Tensor:
        """Find the source's keypoints in the target: ``(K, 2)`` in cell coordinates of the coarse grid."""
        first, second = (
            self.joint.features(stem[None], grid)
            for stem, grid in zip((example.source, example.target), example.grids, strict=True)
        )
        source, target = self.fine(example.source[None], first)[0], self.fine(example.target[None], second)[0]
        matches = self._matches(first, second, example.source_cells)
        logits, cells = score_around(
            self.fine,
            source,
            target,
            regrid(example.source_cells, _grid(first), _grid(source)),
            regrid(matches, _grid(second), _grid(target)),
        )
        located = ((POWER * logits).softmax(1)[..., None] * cells).sum(1)
        return regrid(located, _grid(target), _grid(second))

    def learned(self) -> dict[str, Tensor]:
        """Return the tensors of a weights file: the model and its descriptors."""
        return self.joint.learned() | {f"{FINE}{key}": value for key, value in self.fine.state_dict().items()}

    def _matches(self, source: Tensor, target: Tensor, cells: Tensor) -> Tensor:
        with torch.no_grad():
            maps = correlation_channels(cosine_correlation(source, target))[0]
            return soft_argmax(score_points(self.joint.scoring, maps, cells, self.joint.votes))[0]

    def _losses(
        self, group: Sequence[Picture], deep: list[Tensor], count: int, rng: np.random.Generator
    ) -> Iterator[Tensor]:
        fine: dict[int, Tensor] = {}
        candidates = permutations(range(len(group)), 2)
        for i, j, names in draw_pairs(group, candidates, count, self.joint.scored, rng):
            source_cells, target_cells = (cells_of(group[k], names, deep[k]) for k in (i, j))
            for k in (i, j):
                if k not in fine:
                    fine[k] = self.fine(group[k].stem[None], deep[k])[0]
            matches = regrid(self._matches(deep[i], deep[j], source_cells), _grid(deep[j]), _grid(fine[j]))
            known = regrid(source_cells, _grid(deep[i]), _grid(fine[i]))
            logits, cells = score_around(self.fine, fine[i], fine[j], known, matches)
            truth = regrid(target_cells, _grid(deep[j]), _grid(fine[j]))
            if (loss := _loss(logits, cells, truth)) is not None:
                yield loss


def score_around(
    fine: FineDescriptors, source: Tensor, target: Tensor, points: Tensor, matches: Tensor
) -> tuple[Tensor, Tensor]:
    """Score the fine cells around matches, as `semcorr.match.correct.correct_match` does, with gradients.

    Args:
        fine: The descriptors.
        source: Descriptors ``(width, h, w)``.
        target: Descriptors ``(width, h', w')``.
        points: ``(N, 2)`` (x, y) in cell coordinates of the source's descriptors.
        matches: ``(N, 2)`` in those of the target's.

    Returns:
        Log-probabilities ``(N, cells)`` up to a constant, -inf outside the picture, and the cells' positions,
        ``(N, cells, 2)`` (x, y) in cell coordinates of the target's descriptors.
    """
    positions = cells_to_sampling(points, (source.shape[1], source.shape[2]))[None, None]
    sampled = F.grid_sample(source[None], positions, align_corners=False, padding_mode="border")
    height, width = target.shape[1:]
    steps = torch.arange(-RADIUS, RADIUS + 1, device=target.device)
    dy, dx = torch.cartesian_prod(steps, steps).T
    cells = matches.round()[:, None] + torch.stack([dx, dy], dim=1)  # (N, cells, 2)
    x, y = cells.unbind(2)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
    around = target.flatten(1).T[index]  # (N, cells, channels)
    cosines = (around * F.normalize(sampled[0, :, 0].T, dim=1)[:, None]).sum(2)
    squared = (cells - matches[:, None]).square().sum(2)
    logits = fine.log_sharpness.exp() * cosines - squared / (2 * fine.log_spread.exp() ** 2)
    return logits.masked_fill(~inside, -torch.inf), cells


def _loss(logits: Tensor, cells: Tensor, truth: Tensor) -> Tensor | None:
    """Return cross-entropy plus a robust loss of the soft-argmax, over the points whose window contains the truth."""
    squared = (cells - truth[:, None]).square().sum(2)
    reachable = squared.amin(1) <= _REACH
    if not reachable.any():
        return None
    squared, logits, cells, truth = squared[reachable], logits[reachable], cells[reachable], truth[reachable]
    outside = ~logits.isfinite()
    wanted = (-squared / (2 * _BLUR**2)).masked_fill(outside, -torch.inf).softmax(1)
    entropy = -(wanted * logits.log_softmax(1).masked_fill(outside, 0.0)).sum(1).mean()
    located = (logits.softmax(1)[..., None] * cells).sum(1)
    return entropy + ((located - truth).square().sum(1) / _TOLERATED**2).log1p().mean()


def _grid(features: Tensor) -> Size:
    return features.shape[-2], features.shape[-1]
