"""Numeric arrays of MATLAB 5 files, which PF-PASCAL's annotations are.

SciPy's reader is compiled code that trusts the file: one that was tampered with can crash the process. This one checks
every length, decompresses at most `MAX_BYTES`, and leaves out what is no numeric array.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcorr.errors import DataError

MAX_BYTES = 64 * 1024 * 1024
"""Size of the largest file, and of the largest array in it, that is read."""

_HEADER, _COMPRESSED, _MATRIX = 128, 15, 14
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC = range(6, 16)  # array classes, from double to uint64
_COMPLEX = 0x800  # a bit of the array's flags


def read_matlab(path: Path, names: Collection[str]) -> dict[str, NDArray[np.float64]]:
    """Read numeric arrays from a MATLAB 5 file (``-v6``, or compressed ``-v7``).

    Args:
        path: The file.
        names: The variables to read; the file may have others.

    Returns:
        Those that the file has, as float64.

    Raises:
        DataError: If it is no such file, or is damaged.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}.get(data[_HEADER - 2 : _HEADER])
        if order is None:
            raise ValueError("it does not begin like one")
        arrays = {}
        for kind, content in _elements(data[_HEADER:], order):
            for body in _matrices(kind, content, order):
                named = _array(body, order, names)
                if named is not None:
                    arrays[named[0]] = named[1]
        return arrays
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is not a readable MATLAB 5 file: {error}") from error


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the content of each data element."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # up to four bytes, in the tag itself
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        else:
            start, step = at + 8, 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
        if size > len(data) - start or (start == at + 4 and size > 4):
            raise ValueError("it is cut short")
        yield kind, data[start : start + size]
        at += step


def _matrices(kind: int, content: bytes, order: str) -> Iterator[bytes]:
    if kind == _COMPRESSED:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(content, MAX_BYTES)
        if unpacking.unconsumed_tail:
            raise ValueError(f"an array of it is larger than {MAX_BYTES >> 20} MB")
        for inner, body in islice(_elements(content, order), 1):
            if inner == _MATRIX:
                yield body
    elif kind == _MATRIX:
        yield content


def _array(body: bytes, order: str, names: Collection[str]) -> tuple[str, NDArray[np.float64]] | None:
    parts = list(islice(_elements(body, order), 4))  # flags, dimensions, name, values
    if len(parts) < 3:
        return None
    name = parts[2][1].decode("latin-1")
    flags = struct.unpack_from(f"{order}I", parts[0][1])[0]
    if name not in names or flags & 0xFF not in _NUMERIC or flags & _COMPLEX:
        return None
    shape = tuple(np.frombuffer(parts[1][1], f"{order}i4").tolist())
    kind, values = parts[3] if len(parts) == 4 else (2, b"")
    if kind not in _TYPES:
        raise ValueError(f"{name} holds values of the unknown type {kind}")
    flat = np.frombuffer(values, np.dtype(_TYPES[kind]).newbyteorder("<" if order == "<" else ">"))
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] != flat.size:
        raise ValueError(f"{name} has {flat.size} values for the shape {shape}")
    return name, flat.astype(np.float64).reshape(shape, order="F")
