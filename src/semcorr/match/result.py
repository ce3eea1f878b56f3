"""The result: where every point of one picture went in the other, and how sure that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from semcorr.geometry import Size, cell_centres_array, cells_to_pixels
from semcorr.image import is_tensor
from semcorr.match.blend import FAINT, Direction, grid_of, move, move_all, smooth, visibility_at, warp
from semcorr.match.types import Bytes, Field, Floats, Keypoints, Points, Transferred

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Match:
    """Correspondences between two pictures, in both directions.

    Pixel coordinates are continuous, (0, 0) is the outer corner of the top-left pixel; see `semcorr.geometry`.

    Attributes:
        source: The source picture, ``(H, W, 3)`` uint8 RGB.
        target: The target picture, ``(H', W', 3)`` uint8 RGB.
        forward: Where each cell of the source went in the target.
        backward: Where each cell of the target went in the source.
        model: The name of the model that made it.
        plain_interpolation: Points go through plain bilinear interpolation of the four matches around them, as in the
            evaluations of NC-Net and ANC-Net, and not through what those matches propose.
        similarity: How probable it is that both pictures show the same kind of thing, 0…1; None of a model that does
            not say.
        turn: By how many degrees the source was turned, counter-clockwise, to match it, and whether it was mirrored
            before; see `semcorr.models.turning`. Everything else is of the source as it is.
    """

    source: Bytes
    target: Bytes
    forward: Field
    backward: Field
    model: str = ""
    plain_interpolation: bool = False
    similarity: float | None = None
    turn: tuple[float, bool] = (0.0, False)

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

    def transfer(self, points: Points) -> Transferred:
        """Move points from the source to the target.

        Args:
            points: ``(N, 2)`` (x, y) in source pixels; any real numbers from 0 to the width and the height, as an
                array, a tensor of any device, a list or a generator.

        Returns:
            The points in target pixels, inside the target, and a confidence for each.

        Raises:
            ValueError: If the shape is not ``(N, 2)``, or a point is not finite or outside the picture; the message
                names its index.
        """
        return move(self.direction, _check_points(points, self.source_size))

    @property
    def direction(self) -> Direction:
        """What moving points from the source to the target needs."""
        grid = grid_of(self.backward)
        return Direction(self.forward, self.source_size, self.target_size, grid, self.plain_interpolation)

    @cached_property
    def _dense(self) -> Transferred:
        return move_all(self.direction)

    @property
    def flow(self) -> Floats:
        """``(H, W, 2)``: the way (dx, dy) in pixels from each source pixel's centre to its point in the target."""
        size = self.source_size
        flow: Floats = self._dense.points - cells_to_pixels(cell_centres_array(size), size, size)
        return flow

    @property
    def confidence(self) -> Floats:
        """``(H, W)``: how probable it is that the match of each source pixel is right, if it has one, 0…1."""
        own: Floats = self._dense.confidence.copy()
        return own

    @property
    def visibility(self) -> Floats:
        """``(H, W)``: how probable it is that the target shows what is at each source pixel, 0…1.

        A model that does not say has 1 everywhere: all but `pmnc`.
        """
        size = self.source_size
        return visibility_at(self.direction, cells_to_pixels(cell_centres_array(size), size, size))

    def visible(self, points: Points) -> Floats:
        """Say of source points how probable it is that the target shows them.

        Args:
            points: ``(N, 2)`` as for `transfer`.

        Returns:
            ``(N,)`` float32, 0…1; 1 from a model that does not say.

        Raises:
            ValueError: As `transfer`.
        """
        return visibility_at(self.direction, _check_points(points, self.source_size))

    def keypoints(self, count: int = 20, min_visibility: float = 0.5) -> Keypoints:
        """Choose the most reliable mutual matches, spread over the picture.

        Matches are taken one by one, each the most reliable that is left, counting less the nearer it lies to those
        taken before. Only mutual matches are taken: those of some confidence whose way there and back ends within a
        cell of its start. Reliable means visible and confident.

        Args:
            count: How many, at most; 1 or more.
            min_visibility: The least visibility, 0…1: what is less likely to be in the target is not taken.

        Returns:
            Up to ``count`` matches, the first taken first; fewer where there are fewer, none where nothing matches.

        Raises:
            ValueError: If ``count`` or ``min_visibility`` is no such number.
        """
        if not isinstance(count, Integral) or count < 1:
            raise ValueError(f"count must be a whole number, 1 or more; got {count!r}")
        if not 0 <= min_visibility <= 1:
            raise ValueError(f"min_visibility must be a number from 0 to 1; got {min_visibility!r}")
        grid = grid_of(self.forward)
        centres = cells_to_pixels(cell_centres_array(grid), self.source_size, grid).reshape(-1, 2)
        targets = self.forward.points.reshape(-1, 2)
        back = move(self.inverse().direction, targets).points
        cell = np.array([self.source_size[1] / grid[1], self.source_size[0] / grid[0]], dtype=np.float32)
        confidence = self.forward.confidence.reshape(-1)
        visible = np.ones_like(confidence) if self.forward.visibility is None else self.forward.visibility.reshape(-1)
        mutual = (np.abs(back - centres) <= cell).all(axis=1) & (confidence > 0) & (visible >= min_visibility)
        # than the least sure: a rescaled confidence never comes near zero
        sure = visible * (confidence - confidence.min()) + FAINT
        worth = np.where(mutual, sure, -1.0)
        spacing = 0.5 * np.sqrt(self.source_size[0] * self.source_size[1] / count)
        chosen: list[int] = []
        for _ in range(min(count, int(mutual.sum()))):
            best = int(worth.argmax())
            chosen.append(best)
            distance = np.linalg.norm(centres - centres[best], axis=1)
            worth = np.where(worth >= 0, worth * (1 - np.exp(-((distance / spacing) ** 2))), worth)
            worth[best] = -1.0
        return Keypoints(centres[chosen], targets[chosen], confidence[chosen])

    def warp(self) -> Bytes:
        """Warp the target to the source: ``(H, W, 3)`` uint8, each source pixel showing its point in the target.

        So that the picture does not break into tiles, points move smoothly here; see `semcorr.match.blend.smooth`.
        """
        return warp(self.target, smooth(self.direction).points)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        points: Points | None = None,
        min_visibility: float = 0.5,
    ) -> Figure:
        """Draw both pictures with their matches, the target bent to the source, and the confidence.

        Args:
            path: Where to write the picture (png, jpg, webp, pdf, svg by its ending); None writes nothing.
            points: Source points ``(N, 2)`` to show; None shows `keypoints`.
            min_visibility: As for `keypoints`.

        Returns:
            The matplotlib figure.
        """
        from semcorr.match.plot import Drawing, draw

        if points is None:
            shown, none = self.keypoints(20, min_visibility), "no mutual\nmatches found"
        else:
            checked = _check_points(points, self.source_size)
            shown, none = Keypoints(checked, *self.transfer(checked)), "no points\ngiven"
        note = "" if len(shown.source) else none
        about = self.model
        if self.similarity is not None:
            about = f"{about} · similarity {self.similarity:.2f}"
        return draw(Drawing(self.source, self.target, self.direction, shown, about, note), path)

    def to_dict(self) -> dict[str, Any]:
        """Return the match as plain JSON values: sizes as [height, width], points as [x, y] in pixels.

        ``forward.points[i][j]`` is where the centre of cell (i, j) of the source's grid went in the target.
        """
        return {
            "model": self.model,
            "similarity": None if self.similarity is None else round(self.similarity, 4),
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
    """Turn tensors of any device and dtype, also in a list or generator, into what NumPy understands."""
    if is_tensor(points):
        points = points.detach().cpu()
        return (points if points.is_complex() else points.double()).numpy()
    if isinstance(points, list | tuple | Iterator):
        return [_plain(point) for point in points]
    return points


def _check_points(points: Points, size: Size) -> Floats:
    try:
        array = np.asarray(_plain(points))
        if np.iscomplexobj(array):
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError("points must be real numbers, (N, 2) as (x, y) in pixels") from None
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
            f"point {index} ({x:g}, {y:g}) is outside the source picture: x must be 0 to {width}, y 0 to {height}"
        )
    return array.astype(np.float32)
