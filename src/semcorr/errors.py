"""Errors. Each message says what was given, what was expected, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TypeVar

Choice = TypeVar("Choice", bound=str)


class SemcorrError(Exception):
    """Base class of the errors of this library; the message is one line and says what to do."""


class ImageError(SemcorrError, ValueError):
    """An image that cannot be used: broken, too large, or of the wrong type or shape."""


class ModelError(SemcorrError, ValueError):
    """A model, backbone or weights file that is unknown, broken or incompatible."""


class DataError(SemcorrError, ValueError):
    """A data set, annotation file or points file that is incomplete, broken or malicious."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` — did you mean …?`` with the known names most similar to ``name``, or an empty string.

    >>> did_you_mean("pmcn", ["nearest", "pmnc"])
    ' — did you mean pmnc?'
    """
    near = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" — did you mean {' or '.join(near)}?" if near else ""


def one_of(given: str, known: Sequence[Choice], name: str) -> Choice:
    """Check an argument that accepts only certain words, and return it.

    Args:
        given: What was given.
        known: The accepted words.
        name: The argument's name, for the error message.

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
    """Raise an error that says what to install if packages of an extra are missing.

    Call it before any work is done, so that nothing is computed in vain.

    Args:
        extra: The extra of this package that installs them, such as ``"data"``; empty for this package's own needs.
        modules: The names by which the packages are imported.

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
    except ValueError:  # `sys.modules` holds None for it, so that importing it fails
        return False
