"""Compiled code where it can be had. Needs nothing but Python."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def import_compiled(name: str) -> ModuleType | Exception:
    """Import a module that needs Numba, or return why that fails: what it does can be done without, more slowly."""
    try:
        return import_module(name)
    except (ImportError, OSError, AttributeError) as error:  # Numba or LLVM is missing, broken or of another version
        return error
