"""Which pairs a step sees: a function of the seed and the step alone, so that a run can go on where it stopped."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from torch import Tensor

from semcorr.data.pairs import Pair, Photo, mirrored_name
from semcorr.errors import DataError
from semcorr.features import FeatureExtractor
from semcorr.geometry import Size, unit_to_cells
from semcorr.image import load_image
from semcorr.training.objectives.joint import MIN_SHARED, Pictured
from semcorr.training.objectives.proxy import Example
from semcorr.training.sampling.augment import MILD, STRONG, Strength, Warp, bend, random_warp, recolour

VIEWS = ("plain", "mirrored", "bent", "mirrored and bent")
"""Views of a photograph with keypoints; a recipe takes the first one, two or four of them."""
_TRIES = 1000
_OFFERED = 40  # points drawn in a bent picture, of which those inside the original are used


@dataclass(frozen=True)
class View:
    """A photograph as training sees it.

    Attributes:
        path: The file.
        size: Its height and width in pixels.
        mirrored: Left and right have changed places.
        draw: Number of the view among the bent and recoloured ones; 0 is neither.
        strength: How far a bent one strays.
    """

    path: Path
    size: Size
    mirrored: bool = False
    draw: int = 0
    strength: Strength = MILD

    @property
    def warp(self) -> Warp:
        """How a bent view is bent."""
        return random_warp(self._rng(), self.size, self.strength)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(repr((self.path.name, self.path.parent.name, self.draw)).encode()))

    def picture(self) -> NDArray[np.uint8]:
        """Read the file and change it; ``(H, W, 3)``."""
        image = load_image(self.path)
        if self.mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        if self.draw:
            rng = self._rng()
            image = bend(image, random_warp(rng, self.size, self.strength))
            image = recolour(rng, image, self.strength)
        return image

    def moved(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Find points ``(N, 2)`` of the unbent picture in the view, in unit squares, and ``(N,)`` which are inside."""
        if not self.draw:
            return points, torch.ones(len(points), dtype=torch.bool)
        points, arrived = self.warp.from_original(points)
        return points, arrived & (points > 0).all(dim=1) & (points < 1).all(dim=1)

    def keypoints(self, photo: Photo) -> dict[str, tuple[float, float]]:
        """Return where the photograph's keypoints are in the view, in the unit square; those outside are left out."""
        height, width = photo.size
        points = torch.tensor(list(photo.keypoints.values()), dtype=torch.float64) / torch.tensor([width, height])
        names = list(photo.keypoints)
        if self.mirrored:
            points[:, 0] = 1 - points[:, 0]
            names = [mirrored_name(name) for name in names]
        points, inside = self.moved(points)
        listed = zip(names, points.tolist(), inside.tolist(), strict=True)
        return {name: (x, y) for name, (x, y), seen in listed if seen}


@dataclass(frozen=True)
class Drawn:
    """A pair of views, and the points that mean the same.

    Attributes:
        source: One view.
        target: The other.
        source_points: ``(K, 2)`` (x, y) in the unit square.
        target_points: The same points in the target.
        negative: A view of something else, for losses that need no points.
    """

    source: View
    target: View
    source_points: tuple[tuple[float, float], ...]
    target_points: tuple[tuple[float, float], ...]
    negative: View | None = None


def drawn_of(pair: Pair) -> Drawn:
    """Return a listed pair as it is, with all its points."""
    points = [
        tuple((x / photo.size[1], y / photo.size[0]) for x, y in listed.tolist())
        for photo, listed in zip((pair.source, pair.target), pair.points(), strict=True)
    ]
    views = [View(photo.path, photo.size) for photo in (pair.source, pair.target)]
    return Drawn(views[0], views[1], points[0], points[1])


class Picture(NamedTuple):
    """A view, and its keypoints by name in the unit square."""

    view: View
    points: dict[str, tuple[float, float]]


class GroupSampler:
    """Draw several pictures with keypoints that are matched with each other.

    Args:
        photos: The training photographs.
        seed: Decides every draw.
        views: How many of `VIEWS` there are of each.
        pictures: Pictures of a group.
        together: Sets of categories whose keypoints of one name mean the same: their pictures come into one group.
    """

    def __init__(
        self, photos: Sequence[Photo], seed: int, views: int, pictures: int, together: Sequence[Sequence[str]] = ()
    ) -> None:
        self.seed, self.views, self.pictures = seed, views, pictures
        self.categories: dict[str, list[Photo]] = {}
        for photo in photos:
            if len(photo.keypoints) >= MIN_SHARED:
                self.categories.setdefault(photo.category, []).append(photo)
        if not self.categories:
            raise DataError(f"no photograph has {MIN_SHARED} keypoints: training needs some that do")
        self.together = {name: [name] for name in self.categories}
        for names in together:
            present = [name for name in names if name in self.categories]
            self.together |= dict.fromkeys(present, present)

    def draw(self, step: int, index: int) -> tuple[Picture, ...]:
        """Draw group ``index`` of a step: a category, each as often as any other, and pictures of it and its like."""
        rng = np.random.default_rng([self.seed, step, index])
        pool = self.together[list(self.categories)[rng.integers(len(self.categories))]]
        found: list[Picture] = []
        for _ in range(_TRIES):
            members = self.categories[pool[rng.integers(len(pool))]]
            photo = members[rng.integers(len(members))]
            view = view_of(photo, int(rng.integers(self.views)))
            if len(points := view.keypoints(photo)) >= MIN_SHARED:
                found.append(Picture(view, points))
            if len(found) == self.pictures:
                return tuple(found)
        raise DataError(f"the bent photographs keep fewer than {MIN_SHARED} keypoints: set views to 2")


def group_of(drawn: Drawn) -> tuple[Picture, Picture]:
    """Return a drawn pair as a group of two pictures."""
    source, target = (
        {str(number): point for number, point in enumerate(points)}
        for points in (drawn.source_points, drawn.target_points)
    )
    return Picture(drawn.source, source), Picture(drawn.target, target)


class KeypointSampler:
    """Draw pairs of one category with the keypoints that they share.

    Args:
        photos: The training photographs.
        seed: Decides every draw.
        views: How many of `VIEWS` there are of each.
        keypoints: Keypoints of a pair at most; 0 draws pairs of one category whatever keypoints they have.
    """

    def __init__(self, photos: Sequence[Photo], seed: int, views: int, keypoints: int) -> None:
        self.seed, self.views, self.keypoints = seed, views, keypoints
        categories: dict[str, list[Photo]] = {}
        for photo in photos:
            categories.setdefault(photo.category, []).append(photo)
        self.categories = [members for members in categories.values() if len(members) > 1]
        if not self.categories:
            raise DataError("training needs a category with two photographs at least")

    def draw(self, step: int, index: int) -> Drawn:
        """Draw pair ``index`` of a step."""
        rng = np.random.default_rng([self.seed, step, index])
        for _ in range(_TRIES):
            members = self.categories[rng.integers(len(self.categories))]
            photos = [members[i] for i in rng.choice(len(members), 2, replace=False)]
            source, target = (view_of(photo, int(rng.integers(self.views))) for photo in photos)
            there, here = source.keypoints(photos[0]), target.keypoints(photos[1])
            shared = [name for name in there if name in here]
            if len(shared) >= MIN_SHARED or not self.keypoints:
                names = [shared[i] for i in rng.permutation(len(shared))[: self.keypoints]]
                return Drawn(source, target, tuple(there[n] for n in names), tuple(here[n] for n in names))
        raise DataError(f"no two photographs of a category share {MIN_SHARED} keypoints: training needs pairs that do")


def view_of(photo: Photo, number: int) -> View:
    """Return one of the `VIEWS` of a photograph with keypoints."""
    return View(photo.path, photo.size, number % 2 == 1, number if number >= 2 else 0, MILD)


class WarpSampler:
    """Draw photographs beside bent views of themselves: supervision that needs no keypoints and knows no category.

    Args:
        photos: Files and their sizes.
        seed: Decides every draw.
        views: How many bent views there are of each.
        points: Points of a pair at most.
    """

    def __init__(self, photos: Sequence[tuple[Path, Size]], seed: int, views: int, points: int) -> None:
        self.photos, self.seed, self.views, self.points = photos, seed, views, points
        if not photos:
            raise DataError("there are no photographs to be warped")

    def draw(self, step: int, index: int) -> Drawn:
        """Draw pair ``index`` of a step."""
        rng = np.random.default_rng([self.seed, step, index])
        for _ in range(_TRIES):
            path, size = self.photos[int(rng.integers(len(self.photos)))]
            target = View(path, size, draw=int(rng.integers(1, 1 + self.views)), strength=STRONG)
            there = torch.from_numpy(np.clip(rng.normal(0.5, 0.22, (_OFFERED, 2)), 0.03, 0.97))
            here = target.warp.to_original(there)
            inside = ((here > 0.03) & (here < 0.97)).all(dim=1)
            if inside.sum() >= MIN_SHARED:
                found = [tuple((x, y) for x, y in points[inside][: self.points].tolist()) for points in (here, there)]
                return Drawn(View(path, size), target, found[0], found[1])
        raise DataError("no bent photograph kept points of its original")


class PseudoLabelSampler:
    """Draw pairs of photographs of one category, with the points that earlier models matched.

    Args:
        file: A JSON list of ``source`` and ``target``, files below the folder, and ``source_points`` and
            ``target_points``, (x, y) in the unit square.
        photos: Files below the folder and their sizes.
        seed: Decides every draw.
        views: How many bent views there are of each photograph; the target is one of them, or as it is.

    Raises:
        DataError: If the file is not such a list, or names photographs that are not there.
    """

    def __init__(self, file: Path, photos: Sequence[tuple[Path, Size]], seed: int, views: int) -> None:
        self.seed, self.views = seed, views
        self.sizes = {f"{path.parent.name}/{path.name}": (path, size) for path, size in photos}
        try:
            self.pairs = TypeAdapter(list[_PseudoLabels]).validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise DataError(
                f"{file} holds no pseudo-labels: take a file of scripts/pseudo_labels.py ({first})"
            ) from None
        if missing := [name for pair in self.pairs for name in (pair.source, pair.target) if name not in self.sizes]:
            raise DataError(f"{file} names {missing[0]}, which is not among the photographs")
        if not self.pairs:
            raise DataError(f"{file} lists no pairs")

    def draw(self, step: int, index: int) -> Drawn:
        """Draw pair ``index`` of a step."""
        rng = np.random.default_rng([self.seed, step, index])
        for _ in range(_TRIES):
            pair = self.pairs[int(rng.integers(len(self.pairs)))]
            here, there = torch.tensor(pair.source_points).double(), torch.tensor(pair.target_points).double()
            (first, first_size), (second, second_size) = self.sizes[pair.source], self.sizes[pair.target]
            target = View(second, second_size, draw=int(rng.integers(1 + self.views)), strength=STRONG)
            there, inside = target.moved(there)
            if inside.sum() >= MIN_SHARED:
                found = [tuple((x, y) for x, y in points[inside].tolist()) for points in (here, there)]
                return Drawn(View(first, first_size), target, found[0], found[1])
        raise DataError("no bent photograph kept its pseudo-labels: make more with scripts/pseudo_labels.py --points")


@pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class _PseudoLabels:
    source: str
    target: str
    source_points: tuple[tuple[float, float], ...]
    target_points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.source_points) != len(self.target_points):
            raise ValueError("as many points in the source as in the target")
        if len(self.source_points) < MIN_SHARED:
            raise ValueError(f"{MIN_SHARED} points at least")
        if not all(0 <= value <= 1 for point in self.source_points + self.target_points for value in point):
            raise ValueError("points in the unit square, 0 to 1")


class FeatureBank:
    """What does not change of views while a model learns, computed once for each and kept in half precision.

    Args:
        extractor: The backbone.
        folder: Where it is kept on disk, half a megabyte a view, or, with fewer than three frozen blocks, up to
            five times that; None keeps it in memory alone.
        capacity: Views that are kept in memory; the one unused for longest gives way.
        blocks: Blocks of the backbone that are frozen: what they make of a view is kept; None keeps its features.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        folder: Path | None = None,
        capacity: int = 8_000,
        blocks: int | None = None,
    ) -> None:
        self.extractor, self.blocks = extractor, blocks
        kept = repr(extractor.options) + ("" if blocks is None else f" {blocks} blocks")
        name = hashlib.sha256(kept.encode()).hexdigest()[:16]
        self.folder = folder and folder / f"{extractor.options.backbone}-{name}"
        self._features: Callable[[View], Tensor] = lru_cache(maxsize=capacity)(self._find)

    def features(self, view: View) -> Tensor:
        """Return a view's features ``(C, rows, columns)``, or what the frozen blocks make of it; float32."""
        return self._features(view).float()

    def example(self, drawn: Drawn) -> Example:
        """Put together what a loss needs of a pair."""
        source, target = self.features(drawn.source), self.features(drawn.target)
        grids = self._grid(drawn.source, source), self._grid(drawn.target, target)
        there, here = _cells(drawn.source_points, grids[0]), _cells(drawn.target_points, grids[1])
        negative = None
        if drawn.negative is not None:
            other = self.features(drawn.negative)
            negative = other, self._grid(drawn.negative, other)
        return Example(source, target, there.to(source.device), here.to(target.device), grids, negative)

    def pictured(self, picture: Picture) -> Pictured:
        """Put together what the joint model needs of a picture."""
        kept = self.features(picture.view)
        grid = self._grid(picture.view, kept)
        cells = _cells(tuple(picture.points.values()), grid).tolist()
        return Pictured(kept, grid, dict(zip(picture.points, map(tuple, cells), strict=True)))

    def _grid(self, view: View, kept: Tensor) -> Size:
        return (kept.shape[1], kept.shape[2]) if self.blocks is None else self.extractor.grid(view.size)

    def _find(self, view: View) -> Tensor:
        if self.folder is None:
            return self._compute(view)
        kind = f"{'m' if view.mirrored else ''}{view.draw}"
        path = self.folder / f"{view.path.parent.name}-{view.path.stem}-{kind}.npy"
        if path.exists():
            return torch.from_numpy(np.load(path)).to(self.extractor.device)
        features = self._compute(view)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")  # other runs may share the folder
        with part.open("wb") as file:
            np.save(file, features.cpu().numpy())
        part.replace(path)
        return features

    def _compute(self, view: View) -> Tensor:
        if self.blocks is not None:
            return self.extractor.stem(view.picture(), self.blocks).half()
        return self.extractor.encode([view.picture()]).tensor[0].half()


def _cells(points: tuple[tuple[float, float], ...], grid: Size) -> Tensor:
    return unit_to_cells(torch.tensor(points, dtype=torch.float32).reshape(-1, 2), grid)
