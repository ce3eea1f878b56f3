"""Threads: one setting for everything that a match computes, and one thread pool for all matches of the process.

The number of threads is the argument ``threads`` if given, otherwise the environment variable SEMCORR_NUM_THREADS, and
by default the number of processors; it is limited to the processors that this process may use. Work is divided into
parts, which the calling thread and any free threads of the pool take one after another. Concurrent matches share the
pool, and none of them waits for a thread of it. Idle threads sleep.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import local
from typing import TypeVar

VARIABLE = "SEMCORR_NUM_THREADS"

Part = TypeVar("Part")
Result = TypeVar("Result")

_own = local()  # of the calling thread: whether it computes alone

_CGROUP = Path("/sys/fs/cgroup")


@cache
def processors() -> int:
    """Return the number of processors that this process may use, given its affinity and its control group's limit."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, _quota())))


def _quota() -> float:
    try:  # version 2, then version 1
        if (_CGROUP / "cpu.max").is_file():
            quota, period = (_CGROUP / "cpu.max").read_text().split()
        else:
            quota, period = ((_CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return math.inf if quota.strip() in ("max", "-1") else float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def thread_count(threads: int | None = None) -> int:
    """Return the number of threads to use.

    Args:
        threads: Requested number; None reads SEMCORR_NUM_THREADS.

    Raises:
        ValueError: If the number is not a whole number of 1 or more.
    """
    given, source = (threads, "threads") if threads is not None else (os.environ.get(VARIABLE) or None, VARIABLE)
    if given is None:
        return 1 if getattr(_own, "alone", False) else processors()
    try:
        count = int(given)
    except ValueError:
        count = 0
    if count < 1 or count != float(given):
        raise ValueError(f"{source} must be a whole number, 1 or more; got {given!r}")
    return 1 if getattr(_own, "alone", False) else min(count, processors())


def compute_alone() -> None:
    """Let `thread_count` return 1 in the calling thread from now on, because others match beside it."""
    _own.alone = True


def each_alone(function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Call a function for every part, one thread per part, with `thread_count` 1 inside; see `in_parallel`.

    A single part is given all threads.
    """
    parts = list(parts)
    threads = min(thread_count(), len(parts))
    return always_alone(function, parts) if threads > 1 else [function(part) for part in parts]


def always_alone(function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Do as `each_alone`, a single part included: results are the same to the last digit for any number of threads."""

    def alone(part: Part) -> Result:
        before = getattr(_own, "alone", False)
        _own.alone = True
        try:
            return function(part)
        finally:
            _own.alone = before

    return in_parallel(alone, parts, thread_count())


def in_parallel(function: Callable[[Part], Result], parts: Iterable[Part], threads: int) -> list[Result]:
    """Call a function for every part, in up to ``threads`` threads including the calling one.

    Args:
        function: A function that releases the GIL most of the time, as the native core does.
        parts: Arguments of the calls; started in this order.
        threads: Number of threads, from `thread_count`.

    Returns:
        The results in the order of the parts. If a call fails, its error is raised once all started calls have ended.
    """
    parts = list(parts)
    results: dict[int, Result] = {}
    waiting = list(reversed(range(len(parts))))  # pop is atomic

    def work() -> None:
        while waiting:
            try:
                index = waiting.pop()
            except IndexError:  # another thread took the last one
                return
            results[index] = function(parts[index])

    helpers = [later(work) for _ in range(min(threads, len(parts)) - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.exception()  # waits for it to end
    for helper in helpers:
        if not helper.cancelled():
            helper.result()
    return [results[index] for index in range(len(parts))]


def later(function: Callable[[], Result]) -> Future[Result]:
    """Submit a function to the pool; until it starts, it can be cancelled and run by the caller instead."""
    return _pool().submit(function)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, processors() - 1), thread_name_prefix="semcorr")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
