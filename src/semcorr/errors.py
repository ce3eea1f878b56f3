"""Exceptions of the library; messages say what was given, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TypeVar

Choice = TypeVar("Choice", bound=str)


class SemcorrError(Exception):
    """Base class of the library's own errors; the message is one line and says what to do."""


class ImageError(SemcorrError, ValueError):
    """An image cannot be read or used: it is broken, too large, or of the wrong type or shape."""


class ModelError(SemcorrError, ValueError):
    """A model, backbone or weights file is unknown or broken, or does not fit."""


class DataError(SemcorrError, ValueError):
    """A data set, annotation file or points file is incomplete, broken or hostile."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` — did you mean …?`` with up to three known names similar to ``name``, or an empty string.

    >>> did_you_mean("pmcn", ["nearest", "pmnc"])
    ' — did you mean pmnc?'
    """
    similar = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" — did you mean {' or '.join(similar)}?" if similar else ""


def one_of(given: str, known: Sequence[Choice], name: str) -> Choice:
    """Check that an argument is one of a few words.

    Args:
        given: The value of the argument.
        known: The accepted words.
        name: Name of the argument, for the error message.

    Returns:
        The value, as one of the accepted words.

    Raises:
        ValueError: If it is not one of them.

    >>> one_of("argmax", ["soft-argmax", "argmax"], "decoding")
    'argmax'
    """
    for value in known:
        if given == value:
            return value
    raise ValueError(f"{name} must be {' or '.join(known)}; got {given!r}{did_you_mean(given, known)}")


def need_extra(extra: str, *modules: str) -> None:
    """Check that the packages of an extra are installed.

    Call it before any work starts, so that nothing is computed in vain.

    Args:
        extra: The extra that installs the packages, such as ``"data"``; empty for dependencies of semcorr itself.
        modules: Names of the modules to import.

    Raises:
        SemcorrError: If any of them is not installed; the message says what to install.
    """
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        package = f"semcorr[{extra}]" if extra else "semcorr"
        raise SemcorrError(f"this needs {' and '.join(missing)}, which {verb} not installed: pip install '{package}'")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # `sys.modules` maps it to None, so that importing it fails
        return False
