"""torch's settings that other code in the process may have changed: a model's answers do not depend on them.

What belongs to the calling thread (default device, autocast, inference mode) is set aside for the call. What belongs to
the whole process is left alone as far as possible: dtypes are named wherever tensors are made, and torch's precision of
float32 products is raised, if somebody lowered it, only while a match is computed. Numbers of threads change how fast a
match is, and its last digits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock, Thread
from typing import Any

import torch


@contextmanager
def default_settings(device: torch.device) -> Iterator[None]:
    """Compute as in a process in which nobody has changed torch's settings.

    Args:
        device: Where it is computed.
    """
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_full_precision())
        yield


@contextmanager
def building() -> Iterator[None]:
    """Apply `default_settings` while a model is built; torch's random numbers go on afterwards as if it had not been.

    The default dtype is the process's: while something is built it is float32 for all threads.
    """
    dtype = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), default_settings(torch.device("cpu")):
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            if dtype != torch.float32:
                torch.set_default_dtype(dtype)


_lock = Lock()
_inside: list[list[tuple[Any, str]]] = []  # of each call at work, the settings to put back; those of the first count


@contextmanager
def _full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32, whatever ``torch.set_float32_matmul_precision`` was told."""
    with _lock:
        _inside.append(_raise_precision() if not _inside else _inside[0])
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                for settings, value in before:
                    settings.fp32_precision = value


def _raise_precision() -> list[tuple[Any, str]]:
    before: list[tuple[Any, str]] = []
    for library in (torch.backends.mkldnn, torch.backends.cuda):
        settings: Any = getattr(library, "matmul", None)
        value = getattr(settings, "fp32_precision", "none")  # from torch 2.9 on
        if value not in ("none", "ieee"):
            inherited = getattr(library, "fp32_precision", "none") == value
            before.append((settings, "none" if inherited else value))
            settings.fp32_precision = "ieee"
    return before


def use_one_thread() -> None:
    """Let torch compute with one thread in the calling thread, and leave the number of later threads as it is."""
    with _lock:
        count = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.get_num_threads()  # torch asks for the number once in each thread; from here on it is 1 in this one
        restoring = Thread(target=torch.set_num_threads, args=(count,))  # the number of this thread stays
        restoring.start()
        restoring.join()


def _in_child() -> None:
    """Let a forked child go on with one thread: its parent's others are not there, and OpenMP would wait for them."""
    global _lock
    _lock = Lock()
    _inside.clear()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
