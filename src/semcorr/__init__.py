"""Semantic correspondence: for every point of one image, the corresponding point of another.

>>> import semcorr
>>> model = semcorr.load("pmnc")
>>> match = model.match("cat.jpg", "dog.jpg")                       # doctest: +SKIP
>>> points, confidence = match.transfer([(120, 85)])                # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcorr.annotation.run import annotate
    from semcorr.match.result import Match
    from semcorr.models.loading import list_models, load
    from semcorr.models.matcher import Matcher

__version__ = "0.1.0"
__all__ = ["Match", "Matcher", "annotate", "list_models", "load"]

_HOMES = {
    "annotate": "annotation.run",
    "Match": "match",
    "Matcher": "models.matcher",
    "list_models": "models.loading",
    "load": "models.loading",
}


def __getattr__(name: str) -> Any:
    """Import the names of this module on first use, so that ``import semcorr`` is fast."""
    if name in _HOMES:
        return getattr(import_module(f"semcorr.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'semcorr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
