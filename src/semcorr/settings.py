"""What other code in the process may have set: answers do not depend on it, and it is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def default_errors(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function compute with NumPy's own handling of floating-point errors, whatever ``np.seterr`` was told.

    >>> with np.errstate(all="raise"):
    ...     float(default_errors(np.exp)(np.float32(-200)))
    0.0
    """

    @wraps(function)
    def unaffected(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
            return function(*args, **kwargs)

    return unaffected
