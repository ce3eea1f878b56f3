"""The arrays and tuples that a match is made of."""

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
    """Points in the other picture: ``points (N, 2)`` in pixels, ``confidence (N,)`` in 0…1, both float32."""

    points: Floats
    confidence: Floats


class Keypoints(NamedTuple):
    """Matched points: ``source (N, 2)`` and ``target (N, 2)`` in pixels, ``confidence (N,)`` in 0…1, float32."""

    source: Floats
    target: Floats
    confidence: Floats


class Field(NamedTuple):
    """Matches of a grid of cells.

    Attributes:
        points: ``(rows, columns, 2)`` in pixels of the other picture.
        confidence: ``(rows, columns)``, 0…1: how probable it is that the match is right, if there is one.
        visibility: ``(rows, columns)``, 0…1: how probable it is that the other picture shows it at all; None of a model
            that does not say.
    """

    points: Floats
    confidence: Floats
    visibility: Floats | None = None
