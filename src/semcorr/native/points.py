"""Decoding, blending and correcting on NumPy arrays; as checked, and as much in need of the core, as `functions`."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from semcorr.native.arrays import Floats, Integers, address
from semcorr.native.loader import native_core
from semcorr.native.structures import FieldStructure


def soft_argmax(
    cell: Integers, other: Integers, scores: Floats, sizes: tuple[int, tuple[int, int]], radius: int
) -> tuple[Floats, Floats]:
    """Decode the matches of the cells of one picture from a list of scored pairs, each cell in it at least once.

    Args:
        cell: Of each pair, the cell that is decoded, ``(N,)``.
        other: The cell of the other picture.
        scores: Log-probabilities up to a constant.
        sizes: How many cells are decoded, and rows and columns of the other picture's grid.
        radius: Radius in cells of the window around the best one.

    Returns:
        Positions ``(cells, 2)`` (x, y) in cells of the other picture, and the share of all probability in the window.
    """
    cells, (rows, columns) = sizes
    places, share = np.empty((cells, 2), np.float32), np.empty(cells, np.float32)
    if rows < 1 or columns < 1 or radius < 0:
        raise ValueError(f"expected a grid of cells and a radius, 0 or more; got {sizes[1]} and {radius}")
    native_core()(
        "soft_argmax",
        address(cell, np.int64, None),
        address(other, np.int64, len(cell)),
        address(scores, np.float32, len(cell)),
        len(cell),
        cells,
        columns,
        rows * columns,
        radius,
        places.ctypes.data,
        share.ctypes.data,
    )
    return places, share


class Blending(NamedTuple):
    """How proposals are blended.

    Attributes:
        points: Matches of the cells, ``(rows, columns, 2)`` in pixels of the other picture.
        confidence: ``(rows, columns)``.
        cell: Width and height of a cell of the other picture in pixels.
        size: Width and height of the other picture.
        faint: What is added to every confidence.
        same_part: How far from the heaviest proposal others may be, in cells of the other picture.
    """

    points: Floats
    confidence: Floats
    cell: tuple[float, float]
    size: tuple[float, float]
    faint: float
    same_part: float


def blend(cells: Floats, how: Blending) -> tuple[Floats, Floats, Floats]:
    """Blend what the four cells around each place ``(N, 2)`` (x, y) in cells propose.

    Returns:
        Points ``(N, 2)``, the mean confidence ``(N,)`` of the proposals that had a say, and their share ``(N,)``.
    """
    rows, columns = how.confidence.shape
    if rows < 1 or columns < 1:
        raise ValueError("there are no matches to blend")
    count = len(cells)
    moved, mean, share = (np.empty(shape, np.float32) for shape in ((count, 2), count, count))
    structure = FieldStructure(
        address(how.points, np.float32, rows, columns, 2),
        address(how.confidence, np.float32, rows, columns),
        rows,
        columns,
        (ctypes.c_float * 2)(*how.cell),
        (ctypes.c_double * 2)(*how.size),
        how.faint,
        how.same_part,
    )
    place = address(cells, np.float32, count, 2)
    pointers = (array.ctypes.data for array in (moved, mean, share))
    native_core()("blend", place, count, ctypes.byref(structure), *pointers)
    return moved, mean, share


def correct(
    descriptors: Floats, target: Floats, begin: Floats, radius: int, sharpness: float, nearness: float
) -> Floats:
    """Move places ``(N, 2)`` in the cells of ``target (h, w, D)`` to the soft-argmax around them.

    Args:
        descriptors: ``(N, D)``.
        target: ``(h, w, D)``.
        begin: (x, y) in cells.
        radius: Of the window, in cells.
        sharpness: What a cosine of 1 is worth, as a log-probability.
        nearness: What a squared distance of 1 costs.
    """
    height, width, length = target.shape
    if radius < 0:
        raise ValueError(f"radius must be 0 or more; got {radius}")
    result = np.empty((len(begin), 2), np.float32)
    native_core()(
        "correct",
        address(descriptors, np.float32, len(begin), length),
        len(begin),
        address(target, np.float32, height, width, length),
        height,
        width,
        length,
        address(begin, np.float32, len(begin), 2),
        radius,
        sharpness,
        nearness,
        result.ctypes.data,
    )
    return result
