"""The result: where every point of one picture went in the other, and how sure that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semcorr.fallback import import_compiled
from semcorr.geometry import Size, cells_to_pixels, pixels_to_cells
from semcorr.image import is_tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Points: TypeAlias = "ArrayLike | Tensor | Iterator[Any]"

_POINTS_AT_ONCE = 1 << 18
_FAINT = 1e-3  # what a match of no confidence still weighs, so that four of them still give an answer
_SAME_PART = 3.0  # cells of the target; chosen on the validation pairs
_AROUND = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])


class Transferred(NamedTuple):
    """Points in the other picture: ``points (N, 2)`` in pixels, ``confidence (N,)`` in 0…1, both float32."""

    points: Floats
    confidence: Floats


class Keypoints(NamedTuple):
    """Matched points: ``source (N, 2)`` and ``target (N, 2)`` in pixels, ``confidence (N,)`` in 0…1, float32."""

    source: Floats
    target: Floats
    confidence: Floats


class Field(NamedTuple):
    """Matches of a grid of cells: ``points (rows, columns, 2)`` in pixels of the other picture, and ``confidence``."""

    points: Floats
    confidence: Floats


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
    """

    source: Bytes
    target: Bytes
    forward: Field
    backward: Field
    model: str = ""
    plain_interpolation: bool = False

    def __repr__(self) -> str:
        (a, b), (c, d) = self.source_size, self.target_size
        grids = "{}×{} to {}×{} cells".format(*_grid(self.forward), *_grid(self.backward))
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
        return Match(self.target, self.source, self.backward, self.forward, self.model, self.plain_interpolation)

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
        return self._move(_check_points(points, self.source_size))

    def _move(self, points: Floats) -> Transferred:
        moved, agreement = self.blend(points)
        return Transferred(moved.points, moved.confidence * agreement)

    def blend(self, points: Floats) -> tuple[Transferred, Floats]:
        """Let the four cells around each point propose a match, as neighbours do in PatchMatch, and blend them.

        Each proposal is the cell's own match, moved by the offset from the cell's centre to the point, in cells. It
        weighs by nearness (bilinear) times confidence, and the heaviest one leads: proposals far from it belong to
        another part of the object and have no say. Plain interpolation blends the matches by nearness alone.

        Args:
            points: ``(N, 2)`` (x, y) in source pixels, inside the source.

        Returns:
            The points in the target with the mean confidence of the proposals that had a say, and the share of those
            by nearness, ``(N,)``; `transfer` gives the product as confidence.
        """
        compiled = None if self.plain_interpolation else import_compiled("semcorr.match_compiled")
        if not isinstance(compiled, ModuleType):
            return self.blend_plainly(points)
        height, width = self.target_size
        cells = pixels_to_cells(points, self.source_size, _grid(self.forward))
        moved, mean, share = compiled.blend_compiled(
            cells, *self.forward, self._cell_size(), (float(width), float(height)), np.float32(_FAINT), _SAME_PART
        )
        return Transferred(moved, mean), share

    def blend_plainly(self, points: Floats) -> tuple[Transferred, Floats]:
        """Do as `blend`, in NumPy."""
        grid, cell_size = _grid(self.forward), self._cell_size()
        height, width = self.target_size
        cells = pixels_to_cells(points, self.source_size, grid)
        last = np.array([grid[1] - 1, grid[0] - 1])
        inner = np.clip(cells, 0, last)  # beyond the outermost centres, the outermost cells speak alone
        neighbours = np.floor(inner).astype(np.int64)[None] + _AROUND[:, None]  # (4, N, 2)
        nearness = np.clip(1 - np.abs(inner - neighbours), 0, 1).prod(axis=2)  # (4, N)
        x, y = np.moveaxis(np.minimum(neighbours, last), 2, 0)
        confidence = self.forward.confidence[y, x]
        if self.plain_interpolation:
            plain = (nearness[..., None] * self.forward.points[y, x]).sum(axis=0)
            mean = (nearness * confidence).sum(axis=0).astype(np.float32)
            return Transferred(plain.astype(np.float32), mean), np.ones_like(mean)
        proposals = self.forward.points[y, x] + (cells - neighbours) * cell_size  # (4, N, 2)
        weights = nearness * (confidence + _FAINT)
        leader = np.take_along_axis(proposals, weights.argmax(axis=0)[None, :, None], axis=0)
        agrees = np.linalg.norm((proposals - leader) / cell_size, axis=2) <= _SAME_PART
        weights *= agrees
        weights /= weights.sum(axis=0)
        moved = np.clip((weights[..., None] * proposals).sum(axis=0), 0, [width, height])
        agreement: Floats = (nearness * agrees).sum(axis=0).astype(np.float32)
        mean = ((nearness * agrees * confidence).sum(axis=0) / agreement).astype(np.float32)
        return Transferred(moved.astype(np.float32), mean), agreement

    def _cell_size(self) -> Floats:
        """Return width and height of a cell of the target in pixels, ``(2,)``."""
        (height, width), (rows, columns) = self.target_size, _grid(self.backward)
        return np.array([width / columns, height / rows], dtype=np.float32)

    @cached_property
    def _dense(self) -> Transferred:
        height, width = self.source_size
        centres = _centres((height, width)).reshape(-1, 2) + np.float32(0.5)
        parts = [self._move(centres[i : i + _POINTS_AT_ONCE]) for i in range(0, len(centres), _POINTS_AT_ONCE)]
        points = np.concatenate([part.points for part in parts]).reshape(height, width, 2)
        return Transferred(points, np.concatenate([part.confidence for part in parts]).reshape(height, width))

    @property
    def flow(self) -> Floats:
        """``(H, W, 2)``: the way (dx, dy) in pixels from each source pixel's centre to its point in the target."""
        flow: Floats = self._dense.points - (_centres(self.source_size) + np.float32(0.5))
        return flow

    @property
    def confidence(self) -> Floats:
        """``(H, W)``: how sure the match of each source pixel is, 0…1."""
        own: Floats = self._dense.confidence.copy()
        return own

    def keypoints(self, count: int = 20) -> Keypoints:
        """Choose the most reliable mutual matches, spread over the picture.

        Matches are taken one by one, each the most confident that is left, counting less the nearer it lies to those
        taken before. Only mutual matches are taken: those of some confidence whose way there and back ends within a
        cell of its start.

        Args:
            count: How many, at most; 1 or more.

        Returns:
            Up to ``count`` matches, the first taken first.

        Raises:
            ValueError: If ``count`` is no such number.
        """
        if not isinstance(count, Integral) or count < 1:
            raise ValueError(f"count must be a whole number, 1 or more; got {count!r}")
        grid = _grid(self.forward)
        centres = cells_to_pixels(_centres(grid), self.source_size, grid).reshape(-1, 2)
        targets = self.forward.points.reshape(-1, 2)
        back = self.inverse()._move(targets).points
        cell = np.array([self.source_size[1] / grid[1], self.source_size[0] / grid[0]], dtype=np.float32)
        confidence = self.forward.confidence.reshape(-1)
        mutual = (np.abs(back - centres) <= cell).all(axis=1) & (confidence > 0)
        sure = (
            confidence - confidence.min() + _FAINT
        )  # than the least sure: a rescaled confidence never comes near zero
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
        """Bend the target to the source: ``(H, W, 3)`` uint8, each source pixel showing its point in the target."""
        height, width = self.target_size
        last = np.array([width - 1, height - 1], dtype=np.float32)
        bent = np.empty(self.source.shape, dtype=np.uint8)
        for row, points in zip(bent, self._dense.points, strict=True):  # one at a time: little memory
            places = np.clip(points - np.float32(0.5), 0, last)  # (W, 2)
            low = places.astype(np.int64)
            x, y = low.T
            right, below = np.minimum(x + 1, width - 1), np.minimum(y + 1, height - 1)
            dx, dy = (places - low).T[..., None]
            upper = self.target[y, x] * (1 - dx) + self.target[y, right] * dx
            lower = self.target[below, x] * (1 - dx) + self.target[below, right] * dx
            row[:] = np.rint(upper * (1 - dy) + lower * dy)
        return bent

    def plot(self, path: str | os.PathLike[str] | None = None, points: Points | None = None) -> Figure:
        """Draw both pictures with their matches, the target bent to the source, and the confidence.

        Args:
            path: Where to write the picture (png, jpg, webp, pdf, svg by its ending); None writes nothing.
            points: Source points ``(N, 2)`` to show; None shows `keypoints`.

        Returns:
            The matplotlib figure.
        """
        from semcorr.plotting import plot_match

        return plot_match(self, path, None if points is None else _check_points(points, self.source_size))

    def to_dict(self) -> dict[str, Any]:
        """Return the match as plain JSON values: sizes as [height, width], points as [x, y] in pixels.

        ``forward.points[i][j]`` is where the centre of cell (i, j) of the source's grid went in the target.
        """
        return {
            "model": self.model,
            "source_size": list(self.source_size),
            "target_size": list(self.target_size),
            "forward": _field_to_dict(self.forward),
            "backward": _field_to_dict(self.backward),
        }


def _grid(field: Field) -> Size:
    return field.confidence.shape[0], field.confidence.shape[1]


def _centres(grid: Size) -> Floats:
    """Do as `semcorr.geometry.cell_centres`, without torch."""
    y, x = np.indices(grid, dtype=np.float32)
    return np.stack([x, y], axis=-1)


def _field_to_dict(field: Field) -> dict[str, Any]:
    return {
        "grid": list(field.confidence.shape),
        "points": np.round(field.points.astype(float), 2).tolist(),
        "confidence": np.round(field.confidence.astype(float), 4).tolist(),
    }


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
