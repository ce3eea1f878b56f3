"""Semantic correspondence: for every point of one image, the corresponding point of another.

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
    from semcorr.annotation.run import annotate
    from semcorr.errors import SemcorrError
    from semcorr.match.result import Match
    from semcorr.models.loading import list_models, load
    from semcorr.models.matcher import Matcher
    from semcorr.models.pretrained import from_pretrained, save_pretrained

__version__ = "0.1.0"
__all__ = ["Match", "Matcher", "SemcorrError", "annotate", "from_pretrained", "list_models", "load", "save_pretrained"]

_HOMES = {
    "annotate": "annotation.run",
    "Match": "match",
    "Matcher": "models.matcher",
    "SemcorrError": "errors",
    "from_pretrained": "models.pretrained",
    "list_models": "models.loading",
    "load": "models.loading",
    "save_pretrained": "models.pretrained",
}

# How idle threads of OpenMP wait (GNU's, LLVM's). Their default is to spin for a while, which makes a match many times
# slower on a machine that is busy with other work. A program that sets either variable itself is left alone.
WAIT_POLICY = {"OMPWAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def __getattr__(name: str) -> Any:
    """Import the names of this module on first use, so that ``import semcorr`` is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'semcorr' has no attribute {name!r}")
    added = {} if "torch" in sys.modules or any(key in os.environ for key in WAIT_POLICY) else WAIT_POLICY
    os.environ.update(added)  # read once, when torch is imported
    try:
        return getattr(import_module(f"semcorr.{_HOMES[name]}"), name)
    finally:
        for key in added:
            os.environ.pop(key, None)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
