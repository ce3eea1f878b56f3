"""Evaluation: score models on a data set, keep the predictions on disk, and write a report.

>>> from semcorr.evaluation import Options, compare
>>> result = compare("pairs/", ["nearest", "pmnc"], Options(limit=200))     # doctest: +SKIP
>>> print(result.to_markdown())                                             # doctest: +SKIP
>>> result.write()                                                          # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcorr.evaluation.comparison import Comparison, compare
    from semcorr.evaluation.options import Options

__all__ = ["Comparison", "Options", "compare"]

_HOMES = {"Comparison": "comparison", "Options": "options", "compare": "comparison"}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the command line reads `Options` and needs no torch for it."""
    if name in _HOMES:
        return getattr(import_module(f"semcorr.evaluation.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'semcorr.evaluation' has no attribute {name!r}")
