"""The cost of a method: the time of a pair and the memory of the matching stage, measured in a separate process.

In the process that matches a whole data set, times depend on what is cached and read ahead, and the cache sets the peak
of memory. Here a new process matches a few pairs, one at a time.
"""

from __future__ import annotations

import ctypes
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcorr.data.pairs import Pair
from semcorr.errors import SemcorrError
from semcorr.files import write_text
from semcorr.threads import thread_count

if TYPE_CHECKING:
    from semcorr.image import ImageLike
    from semcorr.models.matcher import Matcher

FILE = "cost.json"
PAIRS = 8
"""How many pairs are timed; the figures are medians over them."""


@dataclass(frozen=True)
class Cost:
    """The cost of a pair.

    Attributes:
        matching: Seconds from both pictures' features to the match: search, consensus, decoding.
        total: Seconds in all, including reading both pictures and computing their features.
        megabytes: Peak memory of the matching stage, beyond the model and the features; None if unknown.
        machine: What it was measured on.
    """

    matching: float
    total: float
    megabytes: float | None
    machine: str = ""


def measure(arguments: dict[str, Any], pairs: Sequence[Pair], fingerprint: str, out: Path, fresh: bool = False) -> Cost:
    """Measure the cost of a pair in a separate process and write it to ``cost.json``, or read it from there.

    Args:
        arguments: Keyword arguments of `semcorr.load`, plain JSON values.
        pairs: The pairs; the first `PAIRS` of them are matched.
        fingerprint: The run's; a file of another run is ignored.
        out: The run's folder.
        fresh: Measure again, ignoring the file.

    Raises:
        SemcorrError: If the process fails.
    """
    path = out / FILE
    known = None if fresh else _stored(path, fingerprint)
    if known is not None:
        return known
    files = [[str(pair.source.path), str(pair.target.path)] for pair in pairs[:PAIRS]]
    process = subprocess.run(
        [sys.executable, "-m", "semcorr.profiling.cost"],
        input=json.dumps({"arguments": arguments, "pairs": files}),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise SemcorrError(f"time and memory could not be measured ({last}); --no-cost leaves them out")
    cost = Cost(**json.loads(process.stdout))
    write_text(path, json.dumps({"fingerprint": fingerprint, **vars(cost)}) + "\n")
    return cost


def _stored(path: Path, fingerprint: str) -> Cost | None:
    """Return what an earlier call wrote, or None if there is nothing, or it is damaged or of another run."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.pop("fingerprint") != fingerprint:
            return None
        cost = Cost(**stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    numbers = [cost.matching, cost.total, *([] if cost.megabytes is None else [cost.megabytes])]
    whole = all(isinstance(n, (int, float)) and 0 <= n < math.inf for n in numbers) and isinstance(cost.machine, str)
    return cost if whole else None


def cost_of(
    model: Matcher, pairs: Sequence[tuple[ImageLike, ImageLike]], clock: Callable[[], float] = time.perf_counter
) -> Cost:
    """Match pairs one after another and return their cost; the memory is right only in a new process."""
    encoding, matching = [], []
    encoded = []
    model.match(*pairs[0])  # warm-up
    for pair in pairs:
        start = clock()
        encoded.append([model.encode(path) for path in pair])
        encoding.append(clock() - start)
    held = _begin_peak(model)
    for source, target in encoded:
        start = clock()
        model.match(source, target)
        matching.append(clock() - start)
    megabytes = held and held()
    seconds = statistics.median(matching)
    return Cost(seconds, seconds + statistics.median(encoding), megabytes)


def _begin_peak(model: Matcher) -> Callable[[], float] | None:
    """Return a function that returns the peak memory from now on, in megabytes above the present; None if unknown."""
    if model.device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(model.device)
        held = torch.cuda.memory_allocated(model.device)
        return lambda: (torch.cuda.max_memory_allocated(model.device) - held) / 1e6
    try:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)  # memory that the backbone freed would otherwise be reused, uncounted
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak
    except (OSError, KeyError, TypeError):
        return None
    return lambda: max(0.0, _status("VmHWM") - before)


def _status(key: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(lines[key].split()[0]) / 1024


def main() -> None:
    """Run one measurement: read the request from stdin, write the result to stdout."""
    import semcorr
    from semcorr.profiling.machine import processor

    request = json.load(sys.stdin)
    model = semcorr.load(**request["arguments"])
    cost = cost_of(model, [(Path(source), Path(target)) for source, target in request["pairs"]])
    threads = thread_count()
    machine = f"{threads} thread{'s' if threads > 1 else ''} of {processor()}"
    json.dump(vars(replace(cost, machine=machine)), sys.stdout)


if __name__ == "__main__":
    main()
