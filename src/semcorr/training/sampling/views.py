"""Views of photographs: what training sees of a file, and where its keypoints are in it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semcorr.data.pairs import Pair, Photo, mirrored_name
from semcorr.geometry import Size
from semcorr.image import load_image
from semcorr.training.sampling.augment import MILD, Strength, Warp, random_warp, recolour, warp_picture

VIEWS = ("plain", "mirrored", "warped", "mirrored and warped")
"""Views of a photograph with keypoints. A recipe uses the first one, two or four ; further ones are other warps."""


@dataclass(frozen=True)
class View:
    """A photograph as training sees it.

    Attributes:
        path: The file.
        size: Its height and width in pixels.
        mirrored: Whether it is flipped horizontally.
        draw: Number of the warped and recoloured version; 0 is the photograph as it is.
        strength: How strong warp and recolouring are.
    """

    path: Path
    size: Size
    mirrored: bool = False
    draw: int = 0
    strength: Strength = MILD

    @property
    def warp(self) -> Warp:
        """The warp of a warped view."""
        return random_warp(self._rng(), self.size, self.strength)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(repr((self.path.name, self.path.parent.name, self.draw)).encode()))

    def picture(self) -> NDArray[np.uint8]:
        """Read the file and make the view, ``(H, W, 3)``."""
        image = load_image(self.path)
        if self.mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
        if self.draw:
            rng = self._rng()
            image = warp_picture(image, random_warp(rng, self.size, self.strength))
            image = recolour(rng, image, self.strength)
        return image

    def moved(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Map points of the unwarped picture into the view.

        Args:
            points: ``(N, 2)`` (x, y) in the unit square.

        Returns:
            The points in the view's unit square, ``(N, 2)``, and which of them are inside it, ``(N,)`` bool.
        """
        if not self.draw:
            return points, torch.ones(len(points), dtype=torch.bool)
        points, converged = self.warp.from_original(points)
        return points, converged & (points > 0).all(dim=1) & (points < 1).all(dim=1)

    def keypoints(self, photo: Photo) -> dict[str, tuple[float, float]]:
        """Return the photograph's keypoints in the view's unit square, without those that left the view."""
        height, width = photo.size
        points = torch.tensor(list(photo.keypoints.values()), dtype=torch.float64) / torch.tensor([width, height])
        names = list(photo.keypoints)
        if self.mirrored:
            points[:, 0] = 1 - points[:, 0]
            names = [mirrored_name(name) for name in names]
        points, inside = self.moved(points)
        listed = zip(names, points.tolist(), inside.tolist(), strict=True)
        return {name: (x, y) for name, (x, y), visible in listed if visible}


def view_of(photo: Photo, number: int) -> View:
    """Return one of the `VIEWS` of a photograph with keypoints."""
    return View(photo.path, photo.size, number % 2 == 1, number if number >= 2 else 0, MILD)


@dataclass(frozen=True)
class ViewPair:
    """Two views, and the points that correspond.

    Attributes:
        source: One view.
        target: The other.
        source_points: ``(K, 2)`` (x, y) in the unit square.
        target_points: The corresponding points in the target.
        negative: A view of something else, for losses that use no points.
    """

    source: View
    target: View
    source_points: tuple[tuple[float, float], ...]
    target_points: tuple[tuple[float, float], ...]
    negative: View | None = None


class KeypointView(NamedTuple):
    """A view, and its keypoints by name in the unit square."""

    view: View
    points: dict[str, tuple[float, float]]


def unchanged(pair: Pair) -> ViewPair:
    """Return a pair of a data set without augmentation, with all its points."""
    points = [
        tuple((x / photo.size[1], y / photo.size[0]) for x, y in listed.tolist())
        for photo, listed in zip((pair.source, pair.target), pair.points(), strict=True)
    ]
    views = [View(photo.path, photo.size) for photo in (pair.source, pair.target)]
    return ViewPair(views[0], views[1], points[0], points[1])


def as_group(pair: ViewPair) -> tuple[KeypointView, KeypointView]:
    """Return a pair as a group of two views whose corresponding points have the same name."""
    source, target = (
        {str(number): point for number, point in enumerate(points)}
        for points in (pair.source_points, pair.target_points)
    )
    return KeypointView(pair.source, source), KeypointView(pair.target, target)
