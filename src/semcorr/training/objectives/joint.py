"""Features and scoring function trained together: pictures of a step are matched with each other.

The scoring function learns through the proxy model, on a few pairs of pictures, as in Lee et al. (CVPR 2021). The
features learn from it, and from every pair of the step's pictures at once: the features of a keypoint shall be nearer
to those of the same keypoint in the other picture than to those of its other cells. The latter costs one small matrix
product a pair, so that the time of a step is that of the backbone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, permutations
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.features import FeatureExtractor
from semcorr.features.adapter import Adapter
from semcorr.features.efficientnet_lite import EfficientNetLite
from semcorr.geometry import Size, cells_to_sampling
from semcorr.matchers.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.training.backbone import later_features, unfrozen
from semcorr.training.objectives.losses import cross_entropy, target_probability
from semcorr.training.objectives.proxy import Example, proxy_loss, score_points

MIN_SHARED = 3


class Pictured(NamedTuple):
    """A picture of a step.

    Attributes:
        stem: What the frozen part of the backbone makes of it, ``(C', h', w')``.
        grid: Rows and columns of its feature map.
        points: Its keypoints by name, (x, y) in cell coordinates.
    """

    stem: Tensor
    grid: Size
    points: dict[str, tuple[float, float]]


class JointModel(nn.Module):
    """The loss of later stages, adapter and scoring function on groups of pictures.

    Args:
        scoring: The scoring function.
        adapter: Changes the features.
        extractor: The backbone, whose network is taken over.
        frozen: How many of its blocks stay as they are; None keeps them all, and a stem is then whole features.
        contrast: Weight of the loss on the features alone.
        keypoints: Keypoints of a pair that are scored, drawn at random.
        pairs: Pairs of a group that are scored, drawn at random.
        votes: Weight of the votes beside the scoring function.

    Raises:
        ModelError: If the backbone cannot be trained.
    """

    def __init__(
        self,
        scoring: ScoringFunction,
        adapter: Adapter,
        extractor: FeatureExtractor,
        frozen: int | None,
        contrast: float,
        keypoints: int,
        pairs: int,
        votes: float = 0.0,
    ) -> None:
        super().__init__()
        self.frozen, self.contrast, self.keypoints, self.pairs = frozen, contrast, keypoints, pairs
        self.votes = votes
        self.scoring, self.adapter = scoring, adapter
        self.backbone: EfficientNetLite | None = None
        if frozen is not None:
            self.backbone = unfrozen(extractor, frozen)
        self.scale = nn.Parameter(torch.tensor(3.0))  # logarithm of what multiplies the cosines

    def features(self, stem: Tensor, grid: Size) -> Tensor:
        """Return adapted features ``(1, C, rows, columns)`` of one picture's stem."""
        if self.backbone is None or self.frozen is None:
            return cast(Tensor, self.adapter(stem[None]))
        return cast(Tensor, self.adapter(later_features(self.backbone, self.frozen, stem, grid)))

    def forward(self, groups: Sequence[Sequence[Pictured]], rng: np.random.Generator) -> Tensor:
        """Return the loss, a scalar.

        Args:
            groups: Pictures that are matched with each other within their group. The first group counts as much as all
                others together.
            rng: Draws the pairs and the keypoints that are scored.
        """
        scored, contrasts = [], []
        for group in groups:
            features = [self.features(picture.stem, picture.grid) for picture in group]
            contrasts.append(self._contrast(group, features))
            scored += list(self._scored(group, features, rng))
        others = torch.stack(contrasts[1:]).mean() if contrasts[1:] else contrasts[0]
        return torch.stack(scored).mean() + self.contrast * (contrasts[0] + others)

    def score_points(self, example: Example) -> Tensor:
        """Score the source's keypoints against every target cell: ``(K, ht, wt)``."""
        source, target = (
            self.features(stem, grid)
            for stem, grid in zip((example.source, example.target), example.grids, strict=True)
        )
        maps = correlation_channels(cosine_correlation(source, target))[0]
        return score_points(self.scoring, maps, example.source_cells, self.votes)

    def learned(self) -> dict[str, Tensor]:
        """Return what a weights file holds: the whole backbone too, if it was trained."""
        return {key: value for key, value in self.state_dict().items() if key != "scale"}

    def _scored(self, group: Sequence[Pictured], features: list[Tensor], rng: np.random.Generator) -> Iterator[Tensor]:
        every = combinations(range(len(group)), 2)
        for first, second, names in draw_pairs(group, every, self.pairs, self.keypoints, rng):
            maps = correlation_channels(cosine_correlation(features[first], features[second]))[0]
            there, here = points_of(group[first], names, maps), points_of(group[second], names, maps)
            yield proxy_loss(self.scoring, maps, there, here, self.votes)

    def _contrast(self, group: Sequence[Pictured], features: list[Tensor]) -> Tensor:
        """Return the mean cross-entropy of all pairs, each keypoint's cosines against all cells of the other."""
        losses = []
        for first, second in permutations(range(len(group)), 2):
            if not (names := _shared(group[first], group[second])):
                continue
            known, wanted = (points_of(group[i], names, features[i]) for i in (first, second))
            read = F.grid_sample(
                features[first].float(),
                cells_to_sampling(known, group[first].grid)[None, None],
                align_corners=False,
                padding_mode="border",
            )  # (1, C, 1, K)
            cosines = F.normalize(read[0, :, 0].T, dim=1) @ features[second][0].flatten(1)  # (K, cells)
            truth = target_probability(wanted, group[second].grid)
            losses.append(cross_entropy((self.scale.exp() * cosines).reshape_as(truth), truth))
        return torch.stack(losses).mean() if losses else self.scale * 0


def _shared(first: Pictured, second: Pictured) -> list[str]:
    return [name for name in first.points if name in second.points]


def draw_pairs(
    group: Sequence[Pictured], every: Iterable[tuple[int, int]], count: int, keypoints: int, rng: np.random.Generator
) -> Iterator[tuple[int, int, list[str]]]:
    """Draw some of the pairs of pictures that share `MIN_SHARED` points, and some of the points of each."""
    pairs = [(i, j, names) for i, j in every if len(names := _shared(group[i], group[j])) >= MIN_SHARED]
    for index in rng.permutation(len(pairs))[:count]:
        first, second, names = pairs[index]
        yield first, second, [names[i] for i in rng.permutation(len(names))[:keypoints]]


def points_of(picture: Pictured, names: list[str], like: Tensor) -> Tensor:
    """Return named points of a picture, ``(K, 2)`` in cell coordinates, on the device of a tensor."""
    return torch.tensor([picture.points[name] for name in names], device=like.device)
