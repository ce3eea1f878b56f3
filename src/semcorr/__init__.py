"""Semantic correspondence: for every point of one photograph, the point that means the same in another.

>>> import semcorr
>>> model = semcorr.load("pmnc")
>>> match = model.match("cat.jpg", "dog.jpg")                       # doctest: +SKIP
>>> points, confidence = match.transfer([(120, 85)])                # doctest: +SKIP
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcorr.errors import SemcorrError
    from semcorr.match.result import Match
    from semcorr.models.loading import list_models, load
    from semcorr.models.matcher import Matcher

__version__ = "0.1.0"
__all__ = ["Match", "Matcher", "SemcorrError", "list_models", "load"]

_HOMES = {
    "Match": "match",
    "Matcher": "models.matcher",
    "SemcorrError": "errors",
    "list_models": "models.loading",
    "load": "models.loading",
}

# How OpenMP's threads wait, GNU's and LLVM's. By default they spin for a while: on a machine that is busy with other
# things a match then takes many times as long. A program that sets either variable itself is left alone.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def __getattr__(name: str) -> Any:
    """Import the names of this module only when they are used, so that ``import semcorr`` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'semcorr' has no attribute {name!r}")
    added = {} if "torch" in sys.modules or any(key in os.environ for key in _WAITING) else _WAITING
    os.environ.update(added)  # read once, when torch is imported
    try:
        return getattr(import_module(f"semcorr.{_HOMES[name]}"), name)
    finally:
        for key in added:
            os.environ.pop(key, None)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
