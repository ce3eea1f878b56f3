"""Isolation from global settings of the process: results do not depend on them, and they are not changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def default_errors(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a function with NumPy's default handling of floating-point errors, regardless of ``np.seterr``.

    >>> with np.errstate(all="raise"):
    ...     float(default_errors(np.exp)(np.float32(-200)))
    0.0
    """

    @wraps(function)
    def unaffected(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
            return function(*args, **kwargs)

    return unaffected
