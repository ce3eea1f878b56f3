"""Features and scoring function trained together: the pictures of a step are matched with each other.

The scoring function learns through the proxy model, on a few pairs of pictures, as in Lee et al. (CVPR 2021). The
features learn from it, and from a contrastive loss on every pair of the group: the features of a keypoint should be
closer to those of the same keypoint in the other picture than to those of its other cells. The contrastive loss costs
one small matrix product a pair, so that the backbone dominates the time of a step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import combinations, islice, permutations
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.features.adapter import Adapter
from semcorr.features.batches import batches
from semcorr.features.untouched import join_features
from semcorr.geometry import Size, cells_to_sampling
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.models.configs import BACKBONE
from semcorr.training.backbone import Backbone
from semcorr.training.objectives.losses import cross_entropy, target_probability
from semcorr.training.objectives.proxy import Example, proxy_loss, score_points

Given = TypeVar("Given")
Computed = TypeVar("Computed")

MIN_SHARED = 3
"""Two pictures are matched if they share at least this many keypoints."""

ANNOTATED_SHARES = (0.75, 1.0)
"""Between these, the share of the trained features is drawn for a group with annotated keypoints."""
MOST_OF_OTHERS = 0.8
"""The largest share that is drawn for other groups."""
VALIDATED_SHARE = 0.9
"""The share that is validated with."""


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
        min_shared: Two pictures are matched if they share at least this many keypoints.
    """

    pairs: int
    keypoints: int
    contrast: float
    min_shared: int = MIN_SHARED


class Share(NamedTuple):
    """The weight of one group in the loss of a step; the weights of a step add up to the loss of all its groups.

    Attributes:
        scored: Weight of the mean loss of its scored pairs.
        contrast: Weight of its contrastive loss.
        annotated: Whether its keypoints were annotated, not made by a warp or by earlier models.
    """

    scored: float = 1.0
    contrast: float = 1.0
    annotated: bool = True


class JointModel(nn.Module):
    """The loss of backbone, adapter and scoring function on a group of pictures.

    Args:
        scoring: The scoring function.
        adapter: The adapter of the features; None leaves them as the backbone gives them.
        scored: How much of a group enters the loss.
        backbone: The backbone that is trained; None if none is: `Picture.stem` is then whole features.
        votes: Weight of the votes beside the scoring function.
        least_share: The trained features are joined with those of the backbone as it is now; this is the smallest share
            of the norm² that they have, in groups without annotated keypoints. None does not join them.
    """

    def __init__(
        self,
        scoring: ScoringFunction,
        adapter: Adapter | None,
        scored: Scored,
        backbone: Backbone | None = None,
        votes: float = 0.0,
        least_share: float | None = None,
    ) -> None:
        super().__init__()
        self.least_share = least_share
        self.untouched = None if least_share is None else copy.deepcopy(backbone)
        if self.untouched is not None:
            self.untouched.requires_grad_(False)
        self.scored, self.votes = scored, votes
        self.scoring, self.adapter, self.backbone = scoring, adapter, backbone
        self.scale = nn.Parameter(torch.tensor(3.0))  # logarithm of the factor of the cosines

    def features(self, stems: Tensor, grid: Size, share: Tensor | float | None = None) -> Tensor:
        """Return the features ``(B, C, rows, columns)`` of pictures of one size.

        Args:
            stems: Output of the frozen part of the backbone, ``(B, C', h', w')``.
            grid: Rows and columns.
            share: Share of the trained features in the norm² where they are joined with untouched ones, for all or
                ``(B, 1, 1, 1)``; None leaves these out.
        """
        features = stems if self.backbone is None else self.backbone.features(stems, grid)
        features = features if self.adapter is None else cast(Tensor, self.adapter(features))
        if self.untouched is None or share is None:
            return features
        with torch.no_grad():
            untouched = self.untouched.features(stems, grid)
        return join_features(features, untouched, share)

    def forward(
        self, groups: Sequence[Sequence[Picture]], shares: Sequence[Share], rngs: Sequence[np.random.Generator]
    ) -> Tensor:
        """Return the loss of groups, a scalar. Features are computed in batches of pictures of the same size.

        Args:
            groups: Groups of pictures that are matched with each other.
            shares: The weight of each in the step.
            rngs: For each, draws the pairs and the keypoints that are scored.
        """
        drawn = [
            None if self.least_share is None else self._draw_share(share.annotated, rng)
            for share, rng in zip(shares, rngs, strict=True)
        ]
        features = self._features_of(groups, drawn)
        return torch.stack(
            [self.group_loss(*of_group) for of_group in zip(groups, features, shares, rngs, strict=True)]
        ).sum()

    def _features_of(self, groups: Sequence[Sequence[Picture]], shares: Sequence[float | None]) -> list[list[Tensor]]:
        """Return the features ``(1, C, rows, columns)`` of every picture of groups, whose shares are given."""

        def compute(alike: list[tuple[Picture, float | None]]) -> Sequence[Tensor]:
            stems = torch.stack([picture.stem for picture, _ in alike])
            tuned = [share for _, share in alike if share is not None]
            joined = stems.new_tensor(tuned)[:, None, None, None] if tuned else None
            return torch.split(self.features(stems, alike[0][0].grid, joined), 1)

        given = [[(picture, share) for picture in group] for group, share in zip(groups, shares, strict=True)]
        return of_one_size(given, lambda one: (*one[0].stem.shape, *one[0].grid), compute)

    def _draw_share(self, annotated: bool, rng: np.random.Generator) -> float:
        low, high = ANNOTATED_SHARES if annotated else (self.least_share or 0.0, MOST_OF_OTHERS)
        return float(rng.uniform(low, high))

    def group_loss(
        self, group: Sequence[Picture], features: list[Tensor], share: Share, rng: np.random.Generator
    ) -> Tensor:
        """Return the loss of a group whose features ``(1, C, rows, columns)`` are known; see `forward`."""
        losses = list(self._proxy_losses(group, features, rng))
        loss = share.scored * torch.stack(losses).mean() if losses else self.scale * 0
        weight = share.contrast * self.scored.contrast
        return loss + weight * self._contrast(group, features) if weight else loss

    def score_points(self, example: Example) -> Tensor:
        """Score the source's keypoints against every target cell: ``(K, ht, wt)``."""
        source, target = (
            self.features(stem[None], grid, VALIDATED_SHARE)
            for stem, grid in zip((example.source, example.target), example.grids, strict=True)
        )
        maps = correlation_channels(cosine_correlation(source, target))[0]
        return score_points(self.scoring, maps, example.source_cells, self.votes)

    def learned(self) -> dict[str, Tensor]:
        """Return the tensors of a weights file, including the whole backbone if it was trained."""
        parts = self.state_dict()
        own = {key: value for key, value in parts.items() if key.startswith(("scoring.", "adapter."))}
        return own | backbone_tensors(self.backbone)

    def _proxy_losses(
        self, group: Sequence[Picture], features: list[Tensor], rng: np.random.Generator
    ) -> Iterator[Tensor]:
        candidates = combinations(range(len(group)), 2)
        for first, second, names in draw_pairs(group, candidates, self.scored.pairs, self.scored, rng):
            maps = correlation_channels(cosine_correlation(features[first], features[second]))[0]
            source_cells, target_cells = cells_of(group[first], names, maps), cells_of(group[second], names, maps)
            yield proxy_loss(self.scoring, maps, source_cells, target_cells, self.votes)

    def _contrast(self, group: Sequence[Picture], features: list[Tensor]) -> Tensor:
        """Return the mean cross-entropy over all pairs of each keypoint's cosines with all cells of the other."""
        shared = {(i, j): _shared_names(group[i], group[j]) for i, j in permutations(range(len(group)), 2)}
        shared = {pair: names for pair, names in shared.items() if names}
        sampled = [_sample(picture, one) for picture, one in zip(group, features, strict=True)]
        total = self.scale * 0
        for target in {target for _, target in shared}:
            pairs = [(i, names) for (i, j), names in shared.items() if j == target]
            rows = torch.cat([sampled[i][[list(group[i].points).index(name) for name in names]] for i, names in pairs])
            truth = target_probability(
                cells_of(group[target], [name for _, names in pairs for name in names], rows), group[target].grid
            )
            cosines = (rows @ features[target][0].flatten(1)).reshape_as(truth)
            weights = rows.new_tensor([1 / len(names) for _, names in pairs for _ in names])
            total = total + cross_entropy(self.scale.exp() * cosines, truth, weights)
        return total / max(1, len(shared))


def backbone_tensors(backbone: Backbone | None) -> dict[str, Tensor]:
    """Return the tensors of a trained backbone by their names in a weights file."""
    return {} if backbone is None else backbone.network.state_dict(prefix=BACKBONE)


def of_one_size(
    groups: Sequence[Sequence[Given]],
    size: Callable[[Given], Hashable],
    compute: Callable[[list[Given]], Sequence[Computed]],
) -> list[list[Computed]]:
    """Compute a result for every member of groups, in batches of members of equal size.

    >>> of_one_size([["one", "three"], ["two"]], len, lambda alike: [len(alike)] * len(alike))
    [[2, 1], [2]]
    """
    members = [member for group in groups for member in group]
    found: dict[int, Computed] = {}
    for indices in batches([size(member) for member in members]):
        found |= zip(indices, compute([members[index] for index in indices]), strict=True)
    ordered = (found[index] for index in range(len(members)))
    return [list(islice(ordered, len(group))) for group in groups]


def _sample(picture: Picture, features: Tensor) -> Tensor:
    """Return the features at all keypoints of a picture, ``(K, C)`` float32, L2-normalised."""
    positions = cells_to_sampling(cells_of(picture, list(picture.points), features), picture.grid)
    sampled = F.grid_sample(features.float(), positions[None, None], align_corners=False, padding_mode="border")
    return F.normalize(sampled[0, :, 0].T, dim=1)


def _shared_names(first: Picture, second: Picture) -> list[str]:
    return [name for name in first.points if name in second.points]


def draw_pairs(
    group: Sequence[Picture],
    candidates: Iterable[tuple[int, int]],
    pairs: int,
    scored: Scored,
    rng: np.random.Generator,
) -> Iterator[tuple[int, int, list[str]]]:
    """Draw pairs of pictures that share enough keypoints, and some of the keypoints of each.

    Args:
        group: The pictures.
        candidates: Pairs of their indices to draw from.
        pairs: How many pairs at most.
        scored: How many keypoints of each at most, and how many they must share.
        rng: Random numbers.

    Yields:
        Two indices, and the names of the keypoints.
    """
    shared = [(i, j, _shared_names(group[i], group[j])) for i, j in candidates]
    eligible = [pair for pair in shared if len(pair[2]) >= scored.min_shared]
    for index in rng.permutation(len(eligible))[:pairs]:
        first, second, names = eligible[index]
        yield first, second, [names[i] for i in rng.permutation(len(names))[: scored.keypoints]]


def cells_of(picture: Picture, names: list[str], like: Tensor) -> Tensor:
    """Return named keypoints of a picture, ``(K, 2)`` in cell coordinates, on the device of ``like``."""
    return torch.tensor([picture.points[name] for name in names], device=like.device)
