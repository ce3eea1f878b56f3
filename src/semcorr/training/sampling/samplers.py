"""Samplers: what a training step sees, as a function of seed, step and index alone, so that runs can resume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from semcorr.data.pairs import Pair, Photo
from semcorr.errors import DataError
from semcorr.geometry import Size
from semcorr.training.objectives.joint import MIN_SHARED
from semcorr.training.sampling.augment import STRONG
from semcorr.training.sampling.views import KeypointView, View, ViewPair, view_of

MAX_TRIES = 1000
_CANDIDATES = 40  # points drawn in a warped picture; those inside the original are used


class GroupSampler:
    """Draw groups of pictures with keypoints, which are matched with each other.

    Args:
        photos: The training photographs.
        seed: Random seed.
        views: Number of `VIEWS` of each.
        pictures: Pictures in a group.
        together: Sets of categories whose keypoints of the same name correspond: a group mixes their pictures.
        mirrors: The first this many pictures of a group are followed by their own mirror images, with left and right
            names exchanged: what is left and what is right is then told by one photograph.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        seed: int,
        views: int,
        pictures: int,
        together: Sequence[Sequence[str]] = (),
        mirrors: int = 0,
    ) -> None:
        self.seed, self.views, self.pictures, self.mirrors = seed, views, pictures, mirrors
        self.categories: dict[str, list[Photo]] = {}
        for photo in photos:
            if len(photo.keypoints) >= MIN_SHARED:
                self.categories.setdefault(photo.category, []).append(photo)
        if not self.categories:
            raise DataError(f"no photograph has {MIN_SHARED} or more keypoints; training needs some that do")
        self.together = {name: [name] for name in self.categories}
        for names in together:
            present = [name for name in names if name in self.categories]
            self.together |= dict.fromkeys(present, present)

    def draw(self, step: int, index: int) -> tuple[KeypointView, ...]:
        """Draw group ``index`` of a step: a category, uniformly, and pictures of it and of those that go with it."""
        rng = np.random.default_rng([self.seed, step, index])
        pool = self.together[list(self.categories)[rng.integers(len(self.categories))]]
        group: list[KeypointView] = []
        for _ in range(MAX_TRIES):
            members = self.categories[pool[rng.integers(len(pool))]]
            photo = members[rng.integers(len(members))]
            number = int(rng.integers(self.views))
            numbers = (number, number ^ 1) if len(group) < 2 * self.mirrors else (number,)
            views = [view_of(photo, n) for n in numbers]
            pictures = [KeypointView(view, view.keypoints(photo)) for view in views]
            if all(len(picture.points) >= MIN_SHARED for picture in pictures):
                group += pictures
            if len(group) >= self.pictures:
                return tuple(group[: self.pictures])
        raise DataError(f"warped photographs keep fewer than {MIN_SHARED} keypoints: set views to 2")


class KeypointSampler:
    """Draw pairs of the same category with the keypoints that they share.

    Args:
        photos: The training photographs.
        seed: Random seed.
        views: Number of `VIEWS` of each.
        keypoints: Maximum number of keypoints of a pair; 0 draws pairs of a category whatever keypoints they have.
    """

    def __init__(self, photos: Sequence[Photo], seed: int, views: int, keypoints: int) -> None:
        self.seed, self.views, self.keypoints = seed, views, keypoints
        categories: dict[str, list[Photo]] = {}
        for photo in photos:
            categories.setdefault(photo.category, []).append(photo)
        self.categories = [members for members in categories.values() if len(members) > 1]
        if not self.categories:
            raise DataError("training needs a category with at least two photographs")

    def draw(self, step: int, index: int) -> ViewPair:
        """Draw pair ``index`` of a step."""
        rng = np.random.default_rng([self.seed, step, index])
        for _ in range(MAX_TRIES):
            members = self.categories[rng.integers(len(self.categories))]
            photos = [members[i] for i in rng.choice(len(members), 2, replace=False)]
            source, target = (view_of(photo, int(rng.integers(self.views))) for photo in photos)
            source_points, target_points = source.keypoints(photos[0]), target.keypoints(photos[1])
            shared = [name for name in source_points if name in target_points]
            if len(shared) >= MIN_SHARED or not self.keypoints:
                names = [shared[i] for i in rng.permutation(len(shared))[: self.keypoints]]
                points = [tuple(known[name] for name in names) for known in (source_points, target_points)]
                return ViewPair(source, target, points[0], points[1])
        raise DataError(f"no two photographs of a category share {MIN_SHARED} keypoints; training needs pairs that do")


class ListSampler:
    """Draw the pairs of a data set's list: all of them, in a new random order each time through the list.

    Both pictures of a pair are mirrored, or neither, so that keypoints without left and right in their names still
    correspond.

    Args:
        pairs: The list.
        seed: Random seed.
        views: Number of `VIEWS` of each photograph.
        keypoints: Maximum number of keypoints of a pair; 0 keeps all.
        per_step: Pairs of a step.
    """

    def __init__(self, pairs: Sequence[Pair], seed: int, views: int, keypoints: int, per_step: int) -> None:
        self.pairs, self.seed, self.views, self.keypoints, self.per_step = pairs, seed, views, keypoints, per_step
        self._order: tuple[int, list[int]] = (-1, [])

    def draw(self, step: int, index: int) -> ViewPair:
        """Draw pair ``index`` of a step."""
        epoch, position = divmod(step * self.per_step + index, len(self.pairs))
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs)).tolist()
            self._order = epoch, order
        pair = self.pairs[self._order[1][position]]
        rng = np.random.default_rng([self.seed, step, index])
        mirrored, photos = int(rng.integers(min(2, self.views))), (pair.source, pair.target)
        for _ in range(MAX_TRIES):
            warped = rng.integers(self.views // 2, size=2) if self.views > 2 else (0, 0)
            source, target = (view_of(p, mirrored + 2 * int(w)) for p, w in zip(photos, warped, strict=True))
            source_points, target_points = source.keypoints(pair.source), target.keypoints(pair.target)
            if names := [name for name in source_points if name in target_points]:
                chosen = [names[i] for i in rng.permutation(len(names))[: self.keypoints or None]]
                points = [tuple(known[name] for name in chosen) for known in (source_points, target_points)]
                return ViewPair(source, target, points[0], points[1])
        raise DataError(
            f"warps lose all keypoints of {pair.source.path.name} and {pair.target.path.name}: set views to 2"
        )


class WarpSampler:
    """Draw photographs with warped views of themselves: supervision without keypoints or categories.

    Args:
        photos: Files and their sizes.
        seed: Random seed.
        views: Number of warped views of each photograph.
        points: Maximum number of points of a pair.
    """

    def __init__(self, photos: Sequence[tuple[Path, Size]], seed: int, views: int, points: int) -> None:
        self.photos, self.seed, self.views, self.points = photos, seed, views, points
        if not photos:
            raise DataError("there are no photographs to warp")

    def draw(self, step: int, index: int) -> ViewPair:
        """Draw pair ``index`` of a step."""
        rng = np.random.default_rng([self.seed, step, index])
        for _ in range(MAX_TRIES):
            path, size = self.photos[int(rng.integers(len(self.photos)))]
            target = View(path, size, draw=int(rng.integers(1, 1 + self.views)), strength=STRONG)
            target_points = torch.from_numpy(np.clip(rng.normal(0.5, 0.22, (_CANDIDATES, 2)), 0.03, 0.97))
            source_points = target.warp.to_original(target_points)
            inside = ((source_points > 0.03) & (source_points < 0.97)).all(dim=1)
            if inside.sum() >= MIN_SHARED:
                kept = [
                    tuple((x, y) for x, y in points[inside][: self.points].tolist())
                    for points in (source_points, target_points)
                ]
                return ViewPair(View(path, size), target, kept[0], kept[1])
        raise DataError("no warped photograph shows enough of its original")
