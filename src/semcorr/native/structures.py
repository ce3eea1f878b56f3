"""What the native core reads in one piece: the correlations of two pictures, and a scoring function's parameters."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from semcorr.native.arrays import LANES, SLACK, Floats, Integers, address

Grids = tuple[int, int, int, int]
"""Rows and columns of the source, rows and columns of the target."""


class Maps(NamedTuple):
    """One pair's correlations, laid out so that a window over target cells is a few runs of memory.

    The target has a margin of zeros as wide as the window reaches. Within a row, columns come in the order of their
    remainder by the dilation, so that the columns of a window follow each other.

    Attributes:
        correlation: ``(P · places + SLACK,)``: rows of the target with its margin, one for each source cell.
        of_source: 1 / (largest correlation + eps) of each source cell, ``(P,)``.
        of_target: The same of each target place, ``(places + SLACK,)``.
        begins: Where the window around each target cell begins, ``(Q,)``.
        centres: Where each target cell is, ``(Q,)``.
        step: From one row of a window to the next.
        dilation: Spacing of the window's cells.
        grid: Rows and columns of the source, rows and columns of the target.
    """

    correlation: Floats
    of_source: Floats
    of_target: Floats
    begins: Integers
    centres: Integers
    step: int
    dilation: int
    grid: Grids

    @property
    def sources(self) -> int:
        """P, the number of source cells."""
        return self.grid[0] * self.grid[1]

    @property
    def targets(self) -> int:
        """Q, the number of target cells."""
        return self.grid[2] * self.grid[3]

    @property
    def places(self) -> int:
        """The floats in a row of the map."""
        return (len(self.correlation) - SLACK) // max(self.sources, 1)


class Layers(NamedTuple):
    """A scoring function's parameters; H is its hidden width, rounded up to a multiple of `LANES`.

    Attributes:
        window: ``(K, 2·H)``, a row for each of the K correlations that are read: by source offset, within it by row of
            the target offset, then C before M, then by column. Columns: the outputs of W, then those of its exchange.
        boxes: The target offsets that are read at each source offset, ``(S, 4)``: first row and column, rows, columns.
        bias: ``(2·H,)``.
        mix: ``(H, H)``, inputs before outputs.
        mix_bias: ``(H,)``.
        out: ``(H,)``.
        rest: Twice the last bias, and the weights of the centre: ``(3,)``.
        radius: Of the window, in cells.
    """

    window: Floats
    boxes: Integers
    bias: Floats
    mix: Floats
    mix_bias: Floats
    out: Floats
    rest: Floats
    radius: int


class MapsStructure(ctypes.Structure):
    """``struct maps``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("correlation", "of_source", "of_target", "begins", "centres")),
        *((name, ctypes.c_int64) for name in ("places", "step", "hs", "ws", "targets", "dilation")),
    ]


class LayersStructure(ctypes.Structure):
    """``struct layers``."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("window", "boxes", "bias", "mix", "mix_bias", "out", "rest")),
        *((name, ctypes.c_int64) for name in ("radius", "hidden")),
    ]


class BandsStructure(ctypes.Structure):
    """``struct bands``."""

    _fields_ = [
        ("maps", MapsStructure),
        ("where", ctypes.c_void_p),
        ("near", ctypes.c_void_p),
        ("listed", ctypes.c_int64),
        ("phases", ctypes.c_int64),
    ]


class FieldStructure(ctypes.Structure):
    """``struct field``."""

    _fields_ = [
        ("points", ctypes.c_void_p),
        ("confidence", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("cell", ctypes.c_float * 2),
        ("size", ctypes.c_double * 2),
        ("faint", ctypes.c_float),
        ("same", ctypes.c_double),
    ]


def maps_structure(maps: Maps, radius: int, phases: int = 1) -> MapsStructure:
    """Check maps, for windows of that radius, and give them to C. They must live as long as the structure.

    Args:
        maps: The maps.
        radius: Of the window that is read, in cells.
        phases: How many weights there are of every source cell and target place, one set behind the other.

    Raises:
        ValueError: If something does not fit, or a window would be read beyond the map.
    """
    sources, targets, places, side = maps.sources, maps.targets, maps.places, 2 * radius + 1
    pointers = (
        address(maps.correlation, np.float32, sources * places + SLACK),
        address(maps.of_source, np.float32, phases * sources),
        address(maps.of_target, np.float32, phases * (places + SLACK)),
        address(maps.begins, np.int64, targets),
        address(maps.centres, np.int64, targets),
    )
    if min(maps.grid) < 1 or maps.step < side or maps.dilation < 1 or radius < 0:
        raise ValueError(f"no map of grid {maps.grid}, step {maps.step}, dilation {maps.dilation}, radius {radius}")
    last = (side - 1) * maps.step + side - 1
    if maps.begins.min() < 0 or maps.begins.max() + last >= places:
        raise ValueError("the windows reach beyond the map")
    if maps.centres.min() < 0 or maps.centres.max() >= places:
        raise ValueError("a target cell is outside the map")
    return MapsStructure(*pointers, places, maps.step, maps.grid[0], maps.grid[1], targets, maps.dilation)


def layers_structure(layers: Layers) -> LayersStructure:
    """Check layers, and give them to C. They must live as long as the structure.

    Raises:
        ValueError: If something does not fit, or more is read than a window holds.
    """
    wide, side = len(layers.out), 2 * layers.radius + 1
    if wide % LANES or not wide or layers.radius < 0:
        raise ValueError(f"layers must be whole multiples of {LANES} wide; got {wide}, radius {layers.radius}")
    pointers = (
        address(layers.window, np.float32, None, 2 * wide),
        address(layers.boxes, np.int64, side * side, 4),
        address(layers.bias, np.float32, 2 * wide),
        address(layers.mix, np.float32, wide, wide),
        address(layers.mix_bias, np.float32, wide),
        address(layers.out, np.float32, wide),
        address(layers.rest, np.float32, 3),
    )
    top, left, rows, columns = layers.boxes.T
    inside = (layers.boxes >= 0).all() and (top + rows <= side).all() and (left + columns <= side).all()
    if not inside or 2 * (rows * columns).sum() != len(layers.window):
        raise ValueError("the boxes do not fit the window")
    return LayersStructure(*pointers, layers.radius, wide)
