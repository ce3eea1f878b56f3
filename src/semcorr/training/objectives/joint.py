"""Features and scoring function trained together: the pictures of a step are matched with each other.

The scoring function learns through the proxy model, on a few pairs of pictures, as in Lee et al. (CVPR 2021). The
features learn from it, and from a contrastive loss on every pair of the group: the features of a keypoint should be
closer to those of the same keypoint in the other picture than to those of its other cells. The contrastive loss costs
one small matrix product a pair, so that the backbone dominates the time of a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, permutations
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.features.adapter import Adapter
from semcorr.features.efficientnet_lite import EfficientNetLite
from semcorr.geometry import Size, cells_to_sampling
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.training.backbone import later_features
from semcorr.training.objectives.losses import cross_entropy, target_probability
from semcorr.training.objectives.proxy import Example, proxy_loss, score_points

MIN_SHARED = 3
"""Two pictures are matched if they share at least this many keypoints."""


class Picture(NamedTuple):
    """A picture of a step.

    Attributes:
        stem: Output of the frozen part of the backbone, ``(C', h', w')``.
        grid: Rows and columns of its feature map.
        points: Its keypoints by name, (x, y) in cell coordinates.
    """

    stem: Tensor
    grid: Size
    points: dict[str, tuple[float, float]]


class Scored(NamedTuple):
    """How much of a group enters the loss.

    Attributes:
        pairs: Pairs of a group that the scoring function is trained on, drawn at random.
        keypoints: Keypoints of each, drawn at random.
        contrast: Weight of the loss on the features alone.
    """

    pairs: int
    keypoints: int
    contrast: float


class JointModel(nn.Module):
    """The loss of later backbone stages, adapter and scoring function on groups of pictures.

    Args:
        scoring: The scoring function.
        adapter: The adapter of the features.
        scored: How much of a group enters the loss.
        backbone: The backbone whose later blocks are trained; None if none are: a stem is then whole features.
        frozen: Number of its blocks that stay frozen.
        votes: Weight of the votes beside the scoring function.
    """

    def __init__(
        self,
        scoring: ScoringFunction,
        adapter: Adapter,
        scored: Scored,
        backbone: EfficientNetLite | None = None,
        frozen: int = 0,
        votes: float = 0.0,
    ) -> None:
        super().__init__()
        self.scored, self.frozen, self.votes = scored, frozen, votes
        self.scoring, self.adapter, self.backbone = scoring, adapter, backbone
        self.scale = nn.Parameter(torch.tensor(3.0))  # logarithm of the factor of the cosines

    def features(self, stem: Tensor, grid: Size) -> Tensor:
        """Return adapted features ``(1, C, rows, columns)`` of one picture's stem."""
        if self.backbone is None:
            return cast(Tensor, self.adapter(stem[None]))
        return cast(Tensor, self.adapter(later_features(self.backbone, self.frozen, stem, grid)))

    def forward(self, groups: Sequence[Sequence[Picture]], rng: np.random.Generator) -> Tensor:
        """Return the loss, a scalar.

        Args:
            groups: Groups of pictures; those of a group are matched with each other. In the contrastive loss, the
                first group has the same weight as all others together.
            rng: Draws the pairs and the keypoints that are scored.
        """
        scored, contrasts = [], []
        for group in groups:
            features = [self.features(picture.stem, picture.grid) for picture in group]
            contrasts.append(self._contrast(group, features))
            scored += list(self._proxy_losses(group, features, rng))
        others = torch.stack(contrasts[1:]).mean() if contrasts[1:] else contrasts[0]
        return torch.stack(scored).mean() + self.scored.contrast * (contrasts[0] + others)

    def score_points(self, example: Example) -> Tensor:
        """Score the source's keypoints against every target cell: ``(K, ht, wt)``."""
        source, target = (
            self.features(stem, grid)
            for stem, grid in zip((example.source, example.target), example.grids, strict=True)
        )
        maps = correlation_channels(cosine_correlation(source, target))[0]
        return score_points(self.scoring, maps, example.source_cells, self.votes)

    def learned(self) -> dict[str, Tensor]:
        """Return the tensors of a weights file, including the whole backbone if it was trained."""
        return {key: value for key, value in self.state_dict().items() if key != "scale"}

    def _proxy_losses(
        self, group: Sequence[Picture], features: list[Tensor], rng: np.random.Generator
    ) -> Iterator[Tensor]:
        candidates = combinations(range(len(group)), 2)
        for first, second, names in draw_pairs(group, candidates, self.scored.pairs, self.scored.keypoints, rng):
            maps = correlation_channels(cosine_correlation(features[first], features[second]))[0]
            source_cells, target_cells = cells_of(group[first], names, maps), cells_of(group[second], names, maps)
            yield proxy_loss(self.scoring, maps, source_cells, target_cells, self.votes)

    def _contrast(self, group: Sequence[Picture], features: list[Tensor]) -> Tensor:
        """Return the mean cross-entropy over all pairs of each keypoint's cosines with all cells of the other."""
        losses = []
        for first, second in permutations(range(len(group)), 2):
            if not (names := _shared_names(group[first], group[second])):
                continue
            known, wanted = (cells_of(group[i], names, features[i]) for i in (first, second))
            sampled = F.grid_sample(
                features[first].float(),
                cells_to_sampling(known, group[first].grid)[None, None],
                align_corners=False,
                padding_mode="border",
            )  # (1, C, 1, K)
            cosines = F.normalize(sampled[0, :, 0].T, dim=1) @ features[second][0].flatten(1)  # (K, cells)
            truth = target_probability(wanted, group[second].grid)
            losses.append(cross_entropy((self.scale.exp() * cosines).reshape_as(truth), truth))
        return torch.stack(losses).mean() if losses else self.scale * 0


def _shared_names(first: Picture, second: Picture) -> list[str]:
    return [name for name in first.points if name in second.points]


def draw_pairs(
    group: Sequence[Picture],
    candidates: Iterable[tuple[int, int]],
    pairs: int,
    keypoints: int,
    rng: np.random.Generator,
) -> Iterator[tuple[int, int, list[str]]]:
    """Draw pairs of pictures that share `MIN_SHARED` keypoints, and some of the keypoints of each.

    Args:
        group: The pictures.
        candidates: Pairs of their indices to draw from.
        pairs: How many pairs at most.
        keypoints: How many keypoints of each at most.
        rng: Random numbers.

    Yields:
        Two indices, and the names of the keypoints.
    """
    eligible = [(i, j, names) for i, j in candidates if len(names := _shared_names(group[i], group[j])) >= MIN_SHARED]
    for index in rng.permutation(len(eligible))[:pairs]:
        first, second, names = eligible[index]
        yield first, second, [names[i] for i in rng.permutation(len(names))[:keypoints]]


def cells_of(picture: Picture, names: list[str], like: Tensor) -> Tensor:
    """Return named keypoints of a picture, ``(K, 2)`` in cell coordinates, on the device of ``like``."""
    return torch.tensor([picture.points[name] for name in names], device=like.device)
