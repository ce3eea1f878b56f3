"""Arrays as the native core takes them: contiguous, of the type and the shape that are expected, given by address."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

SLACK = 16
"""Floats behind the end of an array that is read in whole vectors; they must be there, and mean nothing."""

LANES = 16
"""The widths of a scoring function's layers are whole multiples of this."""


def address(array: NDArray[Any], dtype: type, *shape: int | None) -> int:
    """Return where an array begins.

    Args:
        array: Contiguous.
        dtype: Its dtype.
        shape: Its shape; None takes any length.

    Raises:
        ValueError: If it is of another dtype or shape, or not contiguous.
    """
    fits = len(array.shape) == len(shape) and all(s is None or s == n for s, n in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits or not array.flags.c_contiguous:
        wanted = f"({', '.join('any' if n is None else str(n) for n in shape)})"
        raise ValueError(
            f"expected a contiguous array of {np.dtype(dtype).name}, shape {wanted}; got {array.dtype}, {array.shape}"
            + ("" if array.flags.c_contiguous else ", not contiguous")
        )
    return int(array.ctypes.data)


def writable(array: NDArray[Any], dtype: type, *shape: int | None) -> int:
    """Return the address of an array that is written to; see `address`."""
    if not array.flags.writeable:
        raise ValueError("expected an array that may be written to")
    return address(array, dtype, *shape)
