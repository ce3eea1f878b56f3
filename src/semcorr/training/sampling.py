"""Which pairs a step sees: a function of the seed and the step alone, so that a run can go on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semcorr.data.pairs import Photo, mirrored_name
from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.geometry import Size, pixels_to_cells
from semcorr.image import load_image
from semcorr.training.proxy import Example

MIN_SHARED = 3
_TRIES = 1000


@dataclass(frozen=True)
class View:
    """A photograph as training sees it: as it is, or mirrored."""

    photo: Photo
    mirrored: bool


def mirror(photo: Photo) -> Photo:
    """Return the annotation of a photograph's mirror image: x runs the other way, left and right change names."""
    width = photo.size[1]
    return replace(photo, keypoints={mirrored_name(n): (width - x, y) for n, (x, y) in photo.keypoints.items()})


class Sampler:
    """Draw the pairs of a step.

    Args:
        photos: The training photographs.
        seed: Decides every draw.
        flip: Share of photographs that are mirrored.
        keypoints: Keypoints of a pair at most; 0 draws pairs of one category whatever keypoints they have.
    """

    def __init__(self, photos: list[Photo], seed: int, flip: float, keypoints: int) -> None:
        self.seed, self.flip, self.keypoints = seed, flip, keypoints
        categories: dict[str, list[Photo]] = {}
        for photo in photos:
            categories.setdefault(photo.category, []).append(photo)
        self.categories = [members for _, members in sorted(categories.items()) if len(members) > 1]
        if not self.categories:
            raise DataError("training needs a category with two photographs at least")

    def draw(self, step: int, index: int) -> tuple[View, View, list[str]]:
        """Draw pair ``index`` of a step: two views of one category, and the names of the keypoints to be scored."""
        rng = np.random.default_rng([self.seed, step, index])
        for _ in range(_TRIES):
            members = self.categories[rng.integers(len(self.categories))]
            first, second = rng.choice(len(members), 2, replace=False)
            views = [View(members[i], bool(rng.random() < self.flip)) for i in (first, second)]
            source, target = (mirror(v.photo) if v.mirrored else v.photo for v in views)
            shared = [name for name in source.keypoints if name in target.keypoints]
            if len(shared) >= MIN_SHARED or not self.keypoints:
                chosen = rng.permutation(len(shared))[: self.keypoints]
                return views[0], views[1], [shared[i] for i in sorted(chosen)]
        raise DataError(f"no two photographs of a category share {MIN_SHARED} keypoints: training needs pairs that do")


class FeatureBank:
    """Features of frozen backbones, computed once for each view and kept in half precision.

    Args:
        extractor: The frozen backbone.
        capacity: Views that are kept, about half a megabyte each; the one unused for longest gives way.
    """

    def __init__(self, extractor: FeatureExtractor, capacity: int = 8_000) -> None:
        self.extractor = extractor
        self._features = lru_cache(maxsize=capacity)(self._compute)

    def example(self, source: View, target: View, names: list[str], negative: View | None = None) -> Example:
        """Put together what a loss needs of a pair."""
        features = [self._features(view.photo.path, view.mirrored).float() for view in (source, target)]
        cells = [
            _cells(view, names, (f.shape[1], f.shape[2])) for view, f in zip((source, target), features, strict=True)
        ]
        device = features[0].device
        other = None if negative is None else self._features(negative.photo.path, negative.mirrored).float()
        return Example(features[0], features[1], cells[0].to(device), cells[1].to(device), other)

    def _compute(self, path: Path, mirrored: bool) -> Tensor:
        image = load_image(path)
        if mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        return self.extractor.encode([image]).tensor[0].half()


def _cells(view: View, names: list[str], grid: Size) -> Tensor:
    photo = mirror(view.photo) if view.mirrored else view.photo
    points = torch.tensor([photo.keypoints[name] for name in names], dtype=torch.float32).view(-1, 2)
    return pixels_to_cells(points, photo.size, grid)
