"""The native core's library: where it is, which level of its code this processor runs, and how its functions are called.

The environment variable SEMCORR_NATIVE chooses a lower level than the processor's own, ``plain``, ``avx2`` or ``avx512``,
or turns the core ``off``.
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
        if result in (-1, -2) or (result in (1, 2) and name not in _LISTING):
            raise MemoryError(f"no memory for {name}") if abs(result) == 1 else IndexError(f"{name}: a cell is outside")
        return result


_LISTING = ("first_candidates", "next_candidates")


@cache
def core(level: str | None = None) -> Core | None:
    """Return the native core, or None, and one line on stderr, if there is none.

    Args:
        level: One of `LEVELS`; None is the best one that this processor and SEMCORR_NATIVE allow.

    Raises:
        ValueError: If this processor, or this build, does not have that level.
    """
    wanted = os.environ.get("SEMCORR_NATIVE", "").lower()
    if wanted == "off" and level is None:
        return None
    library = _open()
    if library is None:
        return None
    best = LEVELS.index(ctypes.string_at(library.semcorr_level()).decode())
    level = level or (wanted if wanted in LEVELS[:best] else LEVELS[best])
    if level not in LEVELS[: best + 1]:
        raise ValueError(f"level must be one of {', '.join(LEVELS[: best + 1])} on this processor; got {level!r}")
    return Core(library, level)


def levels() -> tuple[str, ...]:
    """Return the levels that this processor can run, the best last; none where there is no native core."""
    best = core()
    library = _open()
    if best is None or library is None:
        return ()
    return LEVELS[: LEVELS.index(ctypes.string_at(library.semcorr_level()).decode()) + 1]


@cache
def _open() -> ctypes.CDLL | None:
    path = Path(os.environ.get("SEMCORR_LIBRARY") or _FOLDER / f"core{_ENDING}")
    try:
        library = ctypes.CDLL(str(path))
        library.semcorr_level.restype = library.semcorr_sources.restype = ctypes.c_void_p
        compiled = ctypes.string_at(library.semcorr_sources()).decode()
    except (OSError, AttributeError) as error:
        _warn(f"its native core is missing ({str(error).splitlines()[0]})")
        return None
    if compiled != _sources(compiled):
        _warn("its native core was compiled from other sources: run `python hatch_build.py` in the checkout")
        return None
    return library


def _sources(compiled: str) -> str:
    """Return the checksum of the sources where they lie beside the library, in a checkout; else that of the library."""
    paths = sorted(_FOLDER.glob("*.[ch]"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest() if paths else compiled


def _warn(why: str) -> None:
    logging.getLogger("semcorr").warning("semcorr: the search runs in NumPy, which is much slower: %s", why)
