"""The native core's library: where it is, which level of its code runs, and how its functions are called.

The environment variable SEMCORR_NATIVE chooses a lower level than the processor's own, ``plain`` or ``avx2``, or turns
the core ``off``.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

LEVELS = ("plain", "avx2", "avx512")
"""From the least to the most that a processor can have."""

_ENDING = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_FOLDER = Path(__file__).parent
_TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float, "d": ctypes.c_double}
_FUNCTIONS = {  # a letter for each argument: pointer, int64, float, double
    "pack": "piip",
    "multiply": "piipip",
    "correlate": "piipiiipippp",
    "correlate_tiles": "iippiiippipp",
    "first_candidates": "pipp",
    "next_candidates": "pppippp",
    "update_best": "ppiiipp",
    "by_phase": "pipip",
    "from_phase": "pipip",
    "score_pairs": "ppipp",
    "score_phases": "iipppipp",
    "count_votes": "pppiiiifp",
    "interpolate_votes": "pippipp",
    "soft_argmax": "pppiiiiipp",
    "blend": "pipppp",
    "correct": "pipiiipiddp",
}


_LISTING = ("first_candidates", "next_candidates")
_NO_MEMORY, _BAD_INDEX = 1, 2  # in semcorr.h


class Core:
    """The functions of one level; each returns a count, or raises what the code that it returned means."""

    def __init__(self, library: ctypes.CDLL, level: str) -> None:
        self.level, self._functions = level, {}
        for name, types in _FUNCTIONS.items():
            function = getattr(library, f"semcorr_{level}_{name}")
            function.argtypes, function.restype = [_TYPES[letter] for letter in types], ctypes.c_int64
            self._functions[name] = function

    def __call__(self, name: str, *arguments: Any) -> int:
        """Call a function; arrays are given by `semcorr.native.arrays.address`.

        Raises:
            MemoryError: If the core needs more memory than there is.
            IndexError: If a pair of cells, or a cell, is outside its grid.
        """
        result: int = self._functions[name](*arguments)
        failed = -result if name in _LISTING else result  # those return how many pairs they listed
        if failed == _NO_MEMORY:
            raise MemoryError(f"the native core needs more memory for {name} than there is")
        if failed == _BAD_INDEX:
            raise IndexError(f"{name}: a pair of cells, or a cell, is outside its grid")
        return result


@cache
def core() -> Core | None:
    """Return the native core, at the level that SEMCORR_NATIVE names or else the best one; None if there is none.

    If it is missing, one line on stderr says so.

    Raises:
        ValueError: If SEMCORR_NATIVE names no level that this processor can run.
    """
    wanted = os.environ.get("SEMCORR_NATIVE", "").lower()
    library = None if wanted == "off" else _open()
    if library is None:
        return None
    usable = LEVELS[: LEVELS.index(_text(library.semcorr_level)) + 1]
    if wanted and wanted not in usable:
        raise ValueError(f"SEMCORR_NATIVE must be off or one of {', '.join(usable)} on this processor; got {wanted!r}")
    return Core(library, wanted or usable[-1])


def native_core() -> Core:
    """Return the native core, which must be there.

    Raises:
        RuntimeError: If it is missing or turned off.
    """
    library = core()
    if library is None:
        raise RuntimeError(
            "the native core is turned off or missing: `python hatch_build.py` compiles it in a checkout"
        )
    return library


def levels() -> tuple[str, ...]:
    """Return the levels that this processor can run, the best last; none where there is no native core."""
    library = _open()
    return () if library is None else LEVELS[: LEVELS.index(_text(library.semcorr_level)) + 1]


@cache
def _open() -> ctypes.CDLL | None:
    path = _FOLDER / f"core{_ENDING}"
    try:
        library = ctypes.CDLL(os.environ.get("SEMCORR_LIBRARY") or str(path))
        compiled = _text(library.semcorr_sources)
    except (OSError, AttributeError) as error:
        _warn(f"its native core cannot be used ({str(error).splitlines()[0]})")
        return None
    if compiled != _sources(compiled):
        _warn("its native core was compiled from other sources: run `python hatch_build.py` in the checkout")
        return None
    return library


def _text(function: Any) -> str:
    """Call a function of the library that returns a text."""
    function.restype = ctypes.c_char_p
    text: bytes = function()
    return text.decode()


def _sources(compiled: str) -> str:
    """Return the checksum of the sources where they lie beside the library, in a checkout; else that of the library."""
    paths = sorted(_FOLDER.glob("*.[ch]"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest() if paths else compiled


def _warn(why: str) -> None:
    logging.getLogger("semcorr").warning("semcorr: the search runs in NumPy, which is much slower: %s", why)
