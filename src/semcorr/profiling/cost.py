"""What a method costs: the time of a pair, and the memory of the matching stage, in a process of its own.

In the process that matched a whole data set, times depend on what is cached and read ahead, and the peak of memory is
that of the cache. Here a fresh process matches a few pairs, one at a time.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcorr.data.pairs import Pair
from semcorr.errors import SemcorrError

if TYPE_CHECKING:
    from semcorr.image import ImageLike
    from semcorr.models.matcher import Matcher

FILE = "cost.json"
PAIRS = 8
"""Pairs that are timed; the figures are medians over them."""


@dataclass(frozen=True)
class Cost:
    """What a pair costs, as `semcorr.profiling.cost` measures it.

    Attributes:
        matching: Seconds from both pictures' features to the match: consensus, search, decoding.
        total: Seconds in all, with both pictures read and their features computed.
        megabytes: Most memory that the matching stage held beyond the model and the features; None if unknown.
    """

    matching: float
    total: float
    megabytes: float | None


def measure(arguments: dict[str, Any], pairs: Sequence[Pair], known: str, out: Path) -> Cost:
    """Return what an earlier call wrote to ``cost.json``, or measure it in a process of its own and write it.

    Args:
        arguments: Keyword arguments of `semcorr.load`, plain JSON values.
        pairs: The pairs; the first `PAIRS` of them are matched.
        known: The run's fingerprint; figures of another run are not taken.
        out: The run's folder.

    Raises:
        SemcorrError: If the process fails.
    """
    path = out / FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.pop("fingerprint") == known:
            return Cost(**stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none yet, or damaged: it is measured
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
        raise SemcorrError(f"time and memory could not be measured ({last}); leave them out with --no-cost")
    cost = Cost(**json.loads(process.stdout))
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps({"fingerprint": known, **vars(cost)}) + "\n", encoding="utf-8")
    part.replace(path)
    return cost


def cost_of(
    model: Matcher, pairs: Sequence[tuple[ImageLike, ImageLike]], clock: Callable[[], float] = time.perf_counter
) -> Cost:
    """Match pairs one after another, and say what it took; memory can only be told in a process of its own."""
    encoding, matching = [], []
    encoded = []
    model.match(*pairs[0])  # the first call of everything is slower
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
    """Return a function that says how many megabytes more than now were in use at most; None if nobody knows."""
    if model.device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(model.device)
        held = torch.cuda.memory_allocated(model.device)
        return lambda: (torch.cuda.max_memory_allocated(model.device) - held) / 1e6
    try:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)  # what the backbone has given back would otherwise be used again, unseen
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
    except (OSError, KeyError, TypeError):
        return None
    return lambda: max(0.0, _status("VmHWM") - before)


def _status(key: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(lines[key].split()[0]) / 1024


def main() -> None:
    """Measure what stdin asks for, and answer on stdout."""
    import semcorr

    wanted = json.load(sys.stdin)
    model = semcorr.load(**wanted["arguments"])
    cost = cost_of(model, [(Path(source), Path(target)) for source, target in wanted["pairs"]])
    json.dump(vars(cost), sys.stdout)


if __name__ == "__main__":
    main()
