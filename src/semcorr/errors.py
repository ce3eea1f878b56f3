"""Errors for the person who caused them: each message says what was given, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TypeVar

Choice = TypeVar("Choice", bound=str)


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


def one_of(given: str, known: Sequence[Choice], name: str) -> Choice:
    """Return an argument that takes one of a few words, as one of them.

    Args:
        given: What was given.
        known: The words.
        name: The argument's name, for the error.

    Raises:
        ValueError: If it is none of them.

    >>> one_of("argmax", ["soft-argmax", "argmax"], "decoding")
    'argmax'
    """
    for value in known:
        if given == value:
            return value
    raise ValueError(f"{name} must be {' or '.join(known)}; got {given!r}{did_you_mean(given, known)}")


def need_extra(extra: str, *modules: str) -> None:
    """Raise an error that says what to install, where packages of an extra are missing.

    Called before work begins, so that nothing is computed in vain.

    Args:
        extra: The extra of this package that brings them, such as ``"data"``; empty for this package's own needs.
        modules: Names under which the packages are imported.

    Raises:
        SemcorrError: If any of them is not installed.
    """
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        package = f"semcorr[{extra}]" if extra else "semcorr"
        raise SemcorrError(f"this needs {' and '.join(missing)}, which {verb} not installed: pip install '{package}'")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # `sys.modules` holds None for it: imports of it fail
        return False
