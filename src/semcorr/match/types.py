"""The array and tuple types of a match."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor


Floats = NDArray[np.float32]


Bytes = NDArray[np.uint8]


Points: TypeAlias = "ArrayLike | Tensor | Iterator[Any]"


class Transferred(NamedTuple):
    """Transferred points: ``points (N, 2)`` in pixels of the other image and ``confidence (N,)`` in 0…1, float32."""

    points: Floats
    confidence: Floats


class Keypoints(NamedTuple):
    """Matched points: ``source (N, 2)`` and ``target (N, 2)`` in pixels, ``confidence (N,)`` in 0…1, float32."""

    source: Floats
    target: Floats
    confidence: Floats


class Field(NamedTuple):
    """Matches of a grid of cells, float32.

    Attributes:
        points: The match of each cell's centre, ``(rows, columns, 2)`` (x, y) in pixels of the other image.
        confidence: ``(rows, columns)``, 0…1: the probability that the match is right, if the other image has the point.
        visibility: ``(rows, columns)``, 0…1: the probability that the other image has the point at all; None from a
            model that does not estimate it.
    """

    points: Floats
    confidence: Floats
    visibility: Floats | None = None
