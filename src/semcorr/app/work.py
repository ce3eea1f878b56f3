"""Work that takes long: how much of it runs at once, how much may wait, and what is kept of it."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from semcorr.errors import SemcorrError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Busy(SemcorrError):
    """As much work is waiting as may wait."""


class Queue:
    """A bounded queue.

    Args:
        workers: How many tasks run at once.
        waiting: How many more may wait.
    """

    def __init__(self, workers: int = 2, waiting: int = 8) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="semcorr-app")
        self._places = threading.BoundedSemaphore(workers + waiting)

    async def run(self, task: Callable[[], Value]) -> Value:
        """Run a task in one of the workers' threads.

        Raises:
            Busy: If as many tasks wait as may.
        """
        if not self._places.acquire(blocking=False):
            raise Busy("the server is busy with other people's work: try again in a few seconds")
        future = self._pool.submit(task)
        future.add_done_callback(lambda _: self._places.release())  # also when the caller has gone away
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what waits, and let what runs end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Cache(Generic[Key, Value]):
    """Results that are computed once, the least recently used dropped first.

    Args:
        limit: What all kept results may cost together; the newest one is kept whatever it costs.
        cost: What one costs.
    """

    def __init__(self, limit: int, cost: Callable[[Value], int] = lambda _: 1) -> None:
        self._limit, self._cost = limit, cost
        self._kept: OrderedDict[Key, Future[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the result for a key; if two threads ask at once, one computes it and the other waits.

        Raises:
            Exception: Whatever ``make`` raises; nothing is kept then.
        """
        with self._lock:
            future = self._kept.get(key)
            mine = future is None
            if future is None:
                future = self._kept[key] = Future()
            self._kept.move_to_end(key)
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    self._kept.pop(key, None)
                future.set_exception(error)
                raise
            self._trim()
        return future.result()

    def has(self, key: Key) -> bool:
        """Whether a result is there, so that `get` returns at once."""
        with self._lock:
            return key in self._kept and self._kept[key].done()

    def _trim(self) -> None:
        with self._lock:
            done = [key for key, future in self._kept.items() if future.done()]
            total = sum(self._cost(self._kept[key].result()) for key in done)
            for key in done[:-1]:
                if total <= self._limit:
                    return
                total -= self._cost(self._kept.pop(key).result())
