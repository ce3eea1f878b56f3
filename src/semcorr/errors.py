"""Errors for the person who caused them: each message says what was given, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SemcorrError(Exception):
    """An error that only this library knows: its message is one line and says what to do."""


class ImageError(SemcorrError, ValueError):
    """A picture that cannot be read or used: broken, too large, of the wrong type or shape."""


class ModelError(SemcorrError, ValueError):
    """A model, backbone or weights file that is unknown, broken or does not fit."""


class DataError(SemcorrError, ValueError):
    """A data set, annotation or points file that is missing something, broken or hostile."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` — did you mean …?`` with the known names nearest to ``name``, or an empty string.

    >>> did_you_mean("pmcn", ["nearest", "pmnc"])
    ' — did you mean pmnc?'
    """
    near = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" — did you mean {' or '.join(near)}?" if near else ""
