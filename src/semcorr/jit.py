"""Functions compiled by Numba where it can be used; what they do can be done without, more slowly."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def compile_once(function: Function) -> Function:
    """Compile on first use, and keep the code on disk: beside the package, or in the user's cache, where it can be."""
    return _compile(function, {})


def compile_loosely(function: Function) -> Function:
    """Do as `compile_once`, and let sums be added in any order, as vectors need."""
    return _compile(function, {"fastmath": {"reassoc", "contract"}})


def _compile(function: Function, options: dict[str, Any]) -> Function:
    from numba import njit

    options = options | {"nogil": True, "error_model": "numpy"}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:  # Numba finds no folder that it may write to
        compiled = njit(**options)(function)
    return cast(Function, compiled)


@cache
def import_compiled(name: str) -> ModuleType | Exception:
    """Import a module that needs Numba, or return why that fails: what it does can be done without, more slowly."""
    try:
        return import_module(name)
    except (ImportError, OSError, AttributeError) as error:  # Numba or LLVM is missing, broken or of another version
        return error
