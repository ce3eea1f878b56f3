"""The result of matching: dense correspondences between two images in both directions, with a confidence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semcorr.files import local_path, refuse_input
from semcorr.geometry import Size, cell_centres_array, cells_to_pixels
from semcorr.image import is_tensor
from semcorr.match.blend import FAINT, Direction, grid_of, move, move_all, smooth, visibility_at, warp
from semcorr.match.types import Bytes, Field, Floats, Keypoints, Points, Transferred
from semcorr.settings import default_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Match:
    """Correspondences between two images, in both directions.

    Pixel coordinates are continuous, and (0, 0) is the outer corner of the top-left pixel; see `semcorr.geometry`.

    Attributes:
        source: The source image, ``(H, W, 3)`` uint8 RGB.
        target: The target image, ``(H', W', 3)`` uint8 RGB.
        forward: The match of each source cell in the target.
        backward: The match of each target cell in the source.
        model: The name of the model.
        plain_interpolation: Transfer points by bilinear interpolation of the four matches around them, as in the
            evaluations of NC-Net and ANC-Net, instead of by `semcorr.match.blend.blend`.
        files: The files that the images were read from; `plot` never overwrites them.
        similarity: The probability that both images show the same kind of thing, 0…1; None from a model that does not
            estimate it.
        turn: By how many degrees the source was turned, counter-clockwise, to match it, and whether it was mirrored
            before that; see `semcorr.models.turning`. Everything else refers to the source as it is.
    """

    source: Bytes
    target: Bytes
    forward: Field
    backward: Field
    model: str = ""
    plain_interpolation: bool = False
    similarity: float | None = None
    turn: tuple[float, bool] = (0.0, False)
    files: tuple[Path, ...] = field(default=(), kw_only=True)

    def __repr__(self) -> str:
        (a, b), (c, d) = self.source_size, self.target_size
        grids = "{}×{} to {}×{} cells".format(*grid_of(self.forward), *grid_of(self.backward))
        return f"Match({self.model!r}, {a}×{b} to {c}×{d} pixels, {grids})"

    @property
    def source_size(self) -> Size:
        """Height and width of the source in pixels."""
        return self.source.shape[0], self.source.shape[1]

    @property
    def target_size(self) -> Size:
        """Height and width of the target in pixels."""
        return self.target.shape[0], self.target.shape[1]

    def inverse(self) -> Match:
        """Return the match from target to source."""
        return replace(self, source=self.target, target=self.source, forward=self.backward, backward=self.forward)

    @default_errors
    def transfer(self, points: Points) -> Transferred:
        """Transfer points from the source to the target.

        Args:
            points: ``(N, 2)`` (x, y) in source pixels, real numbers from 0 to the width and to the height, as an array,
                a tensor on any device, a list or a generator.

        Returns:
            The points in pixels inside the target, and a confidence for each.

        Raises:
            ValueError: If the shape is not ``(N, 2)``, or if a point is not finite or lies outside the image; the
                message gives its index.
        """
        return move(self.direction, check_points(points, self.source_size))

    @property
    def direction(self) -> Direction:
        """The direction from source to target, as `semcorr.match.blend` takes it."""
        grid = grid_of(self.backward)
        return Direction(self.forward, self.source_size, self.target_size, grid, self.plain_interpolation)

    @cached_property
    def _dense(self) -> Transferred:
        return default_errors(move_all)(self.direction)

    @property
    def flow(self) -> Floats:
        """Displacement (dx, dy) from the centre of each source pixel to its match, in pixels: ``(H, W, 2)`` float32."""
        size = self.source_size
        flow: Floats = self._dense.points - cells_to_pixels(cell_centres_array(size), size, size)
        return flow

    @property
    def confidence(self) -> Floats:
        """Confidence of the match of each source pixel, 0…1: ``(H, W)`` float32.

        It is the probability that the match is right, within a tenth of the target, if the target has the point.
        """
        confidence: Floats = self._dense.confidence.copy()
        return confidence

    @property
    def visibility(self) -> Floats:
        """Probability that the target has the point at each source pixel, 0…1: ``(H, W)`` float32.

        All models but `pmnc` do not estimate it and give 1.
        """
        size = self.source_size
        return visibility_at(self.direction, cells_to_pixels(cell_centres_array(size), size, size))

    def visible(self, points: Points) -> Floats:
        """Return the probability that the target has each of these source points.

        Args:
            points: ``(N, 2)`` as for `transfer`.

        Returns:
            ``(N,)`` float32, 0…1; 1 from a model that does not estimate it.

        Raises:
            ValueError: As for `transfer`.
        """
        return visibility_at(self.direction, check_points(points, self.source_size))

    @default_errors
    def keypoints(self, count: int = 20, min_visibility: float = 0.5) -> Keypoints:
        """Choose the most reliable mutual matches, spread over the image.

        Matches are chosen greedily by visibility and confidence, which are reduced near matches that were chosen
        before. Mutual matches have a confidence above zero, and transferring the centre of their cell to the target and
        back ends within one cell of where it started.

        Args:
            count: Maximum number of matches, 1 or more.
            min_visibility: Minimum visibility, 0…1.

        Returns:
            Up to ``count`` matches, in the order in which they were chosen; fewer if fewer are visible and mutual.

        Raises:
            ValueError: If ``count`` is not a whole number of 1 or more, or ``min_visibility`` not from 0 to 1.
        """
        if not isinstance(count, Integral) or count < 1:
            raise ValueError(f"count must be a whole number, 1 or more; got {count!r}")
        if not 0 <= min_visibility <= 1:
            raise ValueError(f"min_visibility must be a number from 0 to 1; got {min_visibility!r}")
        grid = grid_of(self.forward)
        centres = cells_to_pixels(cell_centres_array(grid), self.source_size, grid).reshape(-1, 2)
        targets = self.forward.points.reshape(-1, 2)
        returned = move(self.inverse().direction, targets).points
        cell = np.array([self.source_size[1] / grid[1], self.source_size[0] / grid[0]], dtype=np.float32)
        confidence = self.forward.confidence.reshape(-1)
        visible = np.ones_like(confidence) if self.forward.visibility is None else self.forward.visibility.reshape(-1)
        mutual = (np.abs(returned - centres) <= cell).all(axis=1) & (confidence > 0) & (visible >= min_visibility)
        relative = visible * (confidence - confidence.min()) + FAINT  # a rescaled confidence never comes near zero
        priority = np.where(mutual, relative, -1.0)
        spacing = 0.5 * np.sqrt(self.source_size[0] * self.source_size[1] / count)
        chosen: list[int] = []
        for _ in range(min(count, int(mutual.sum()))):
            best = int(priority.argmax())
            chosen.append(best)
            distance = np.linalg.norm(centres - centres[best], axis=1)
            priority = np.where(priority >= 0, priority * (1 - np.exp(-((distance / spacing) ** 2))), priority)
            priority[best] = -1.0
        return Keypoints(centres[chosen], targets[chosen], confidence[chosen])

    @default_errors
    def warp(self) -> Bytes:
        """Warp the target to the source: each source pixel shows the colour of its match, ``(H, W, 3)`` uint8.

        Matches are made smooth first, so that the image does not break into tiles; see `semcorr.match.blend.smooth`.
        """
        return warp(self.target, smooth(self.direction).points)

    @default_errors
    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        points: Points | None = None,
        min_visibility: float = 0.5,
    ) -> Figure:
        """Draw both images with their matches, the target warped to the source, and the confidence.

        Args:
            path: File to write the figure to; its suffix gives the format (png, jpg, jpeg, webp, pdf or svg). None
                writes nothing. The files of the images themselves are never overwritten.
            points: Source points ``(N, 2)`` to show, as for `transfer`; None shows `keypoints`.
            min_visibility: As for `keypoints`.

        Returns:
            The matplotlib figure.

        Raises:
            ValueError: If a point is not in the image, or the suffix is unknown.
            OSError: If the file cannot be written; the message is one line and says why.
        """
        from semcorr.match.plot import Drawing, draw

        if path is not None:
            path = local_path(os.fspath(path))
            refuse_input(path, self.files)

        if points is None:
            shown, empty_note = self.keypoints(20, min_visibility), "no mutual\nmatches found"
        else:
            checked = check_points(points, self.source_size)
            shown, empty_note = Keypoints(checked, *self.transfer(checked)), "no points\ngiven"
        note = "" if len(shown.source) else empty_note
        about = self.model if self.similarity is None else f"{self.model} · similarity {self.similarity:.2f}"
        return draw(Drawing(self.source, self.target, self.direction, shown, about, note), path)

    def to_dict(self) -> dict[str, Any]:
        """Return the match as plain JSON values: sizes as [height, width], points as [x, y] in pixels.

        ``forward.points[i][j]`` is the match, in the target, of the centre of cell (i, j) of the source's grid.
        """
        return {
            "model": self.model,
            **({} if self.similarity is None else {"similarity": round(self.similarity, 4)}),
            "source_size": list(self.source_size),
            "target_size": list(self.target_size),
            "forward": _field_to_dict(self.forward),
            "backward": _field_to_dict(self.backward),
        }


def _field_to_dict(field: Field) -> dict[str, Any]:
    return {
        "grid": list(field.confidence.shape),
        "points": np.round(field.points.astype(float), 2).tolist(),
        "confidence": np.round(field.confidence.astype(float), 4).tolist(),
    } | ({} if field.visibility is None else {"visibility": np.round(field.visibility.astype(float), 4).tolist()})


def _plain(points: Any) -> Any:
    """Convert tensors of any device and dtype, also within a list or generator, to arrays that NumPy understands."""
    if is_tensor(points):
        points = points.detach().cpu()
        return (points if points.is_complex() else points.double()).numpy()
    if isinstance(points, list | tuple | Iterator):
        return [_plain(point) for point in points]
    return points


def check_points(points: Points, size: Size) -> Floats:
    """Return points ``(N, 2)`` as float32.

    Raises:
        ValueError: As `Match.transfer`.
    """
    try:
        array = np.asarray(_plain(points))
        if np.iscomplexobj(array):
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError("points must be an (N, 2) array of real numbers, (x, y) in pixels") from None
    if array.size == 0:
        return np.zeros((0, 2), dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"points must be (N, 2) as (x, y) in pixels; got shape {array.shape}")
    height, width = size
    inside = (array >= 0).all(axis=1) & (array[:, 0] <= width) & (array[:, 1] <= height)
    if not inside.all():
        index = int(np.flatnonzero(~inside)[0])
        x, y = array[index]
        raise ValueError(
            f"point {index} ({x:g}, {y:g}) is outside the source image: x must be 0 to {width}, y 0 to {height}"
        )
    return array.astype(np.float32)
