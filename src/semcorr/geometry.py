"""Conversions between pixels, cells and the unit square; no other module converts coordinates.

Convention throughout this library: pixel coordinates are continuous, ``(0, 0)`` is the outer corner of the
top-left pixel, x runs right and y runs down, so the centre of the first pixel is ``(0.5, 0.5)`` and the far
corner of the image is ``(width, height)``. A grid of ``(rows, columns)`` cells covers the whole image: cell
``(i, j)`` has its centre at ``((j + ½) · width / columns, (i + ½) · height / rows)``. In cell coordinates that
centre is ``(j, i)``. The unit square divides pixels by width and height. For ``torch.nn.functional.grid_sample``
and ``interpolate`` this is ``align_corners=False``.

Sizes are ``(height, width)`` and grids are ``(rows, columns)``, as in tensor shapes; points are ``(x, y)``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch is not needed where points are NumPy arrays
    import torch
    from torch import Tensor

Points = TypeVar("Points", "Tensor", NDArray[np.float32])
Size = tuple[int, int]
"""Height and width of an image in pixels, or rows and columns of a grid in cells."""


def _xy(size: Size, like: Points) -> Points:
    if isinstance(like, np.ndarray):
        return np.array([size[1], size[0]], dtype=like.dtype)
    return like.new_tensor([size[1], size[0]])


def pixels_to_cells(points: Points, image_size: Size, grid: Size) -> Points:
    """Convert pixel points ``(..., 2)`` to cell coordinates, in which cell centres are whole numbers.

    >>> import torch
    >>> pixels_to_cells(torch.tensor([[8.0, 8.0], [400.0, 400.0]]), (400, 400), (25, 25))
    tensor([[ 0.0000,  0.0000],
            [24.5000, 24.5000]])
    """
    scale = _xy(grid, points) / _xy(image_size, points)
    return points * scale - 0.5  # type: ignore[return-value]  # float32 by float32 is float32


def cells_to_pixels(cells: Points, image_size: Size, grid: Size) -> Points:
    """Convert cell coordinates ``(..., 2)`` to pixel points: the inverse of `pixels_to_cells`.

    >>> import torch
    >>> cells_to_pixels(torch.tensor([0.0, 24.0]), (400, 400), (25, 25))
    tensor([  8., 392.])
    """
    return (cells + 0.5) * (_xy(image_size, cells) / _xy(grid, cells))


def regrid(cells: Points, grid: Size, other: Size) -> Points:
    """Convert cell coordinates ``(..., 2)`` on one grid to those on another grid of the same image.

    >>> import torch
    >>> regrid(torch.tensor([0.0, 24.0]), (25, 25), (50, 50))
    tensor([ 0.5000, 48.5000])
    """
    return pixels_to_cells(cells_to_pixels(cells, (1, 1), grid), (1, 1), other)


def cells_to_sampling(cells: Tensor, grid: Size) -> Tensor:
    """Convert cell coordinates ``(..., 2)`` to those of ``grid_sample``, which run from -1 to 1 over the image."""
    import torch

    x, y = cells.unbind(-1)  # separately, because a tensor of the sizes would fix them in an exported graph
    return torch.stack([(x + 0.5) * (2.0 / grid[1]) - 1.0, (y + 0.5) * (2.0 / grid[0]) - 1.0], dim=-1)


def cell_centres(grid: Size, device: torch.device | str | None = None) -> Tensor:
    """Return the cell coordinates ``(rows, columns, 2)`` of all centres: ``[i, j]`` holds ``(j, i)``.

    >>> cell_centres((2, 2))[1, 0]
    tensor([0., 1.])
    """
    import torch

    rows, columns = (torch.arange(n, dtype=torch.float32, device=device) for n in grid)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1)


def cell_centres_array(grid: Size) -> NDArray[np.float32]:
    """NumPy version of `cell_centres`.

    >>> cell_centres_array((2, 2))[1, 0].tolist()
    [0.0, 1.0]
    """
    y, x = np.indices(grid, dtype=np.float32)
    return np.stack([x, y], axis=-1)


def cells_to_unit(cells: Tensor, grid: Size) -> Tensor:
    """Convert cell coordinates ``(..., 2)`` to the unit square; sizes stay symbolic in an exported graph."""
    import torch

    x, y = cells.unbind(-1)
    return torch.stack([(x + 0.5) / grid[1], (y + 0.5) / grid[0]], dim=-1)


def unit_to_cells(points: Points, grid: Size) -> Points:
    """Convert points ``(..., 2)`` of the unit square to cell coordinates."""
    return points * _xy(grid, points) - 0.5


def unit_to_pixels(points: Points, size: Size) -> Points:
    """Convert points ``(..., 2)`` of the unit square to pixels of an image of this size."""
    return points * _xy(size, points)


def grid_for(image_size: Size, cells: int, max_aspect: float = 4.0) -> Size:
    """Choose the rows and columns of an image's grid: about ``cells²`` cells that are as square as possible.

    The aspect ratio of the grid is limited to ``max_aspect``, so that the short side of an image has enough cells.

    >>> grid_for((400, 400), 25), grid_for((300, 400), 25), grid_for((100, 4000), 25)
    ((25, 25), (22, 29), (12, 50))
    """
    height, width = image_size
    aspect = min(max(width / height, 1.0 / max_aspect), max_aspect)
    return max(1, round(cells / math.sqrt(aspect))), max(1, round(cells * math.sqrt(aspect)))
