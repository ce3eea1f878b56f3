"""Time of a warm match while other processes want the processors: OpenMP's and ONNX Runtime's threads must not spin.

    python benchmarks/busy.py --model pmnc

Printed are medians in milliseconds: alone; beside a process that keeps one processor busy; and in each of as many
worker processes as there are processors, all with default threads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time

from skimage import data

import semcorr
from semcorr.threads import processors


def median_of_matches(model: str, runs: int) -> float:
    """Load a model and return the median time of a match in milliseconds."""
    loaded, cat = semcorr.load(model), data.chelsea()
    loaded.match(cat, cat)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        loaded.match(cat, cat)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def keep_busy() -> None:
    """Compute until killed."""
    while True:
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pmnc")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    context, given = multiprocessing.get_context("spawn"), (arguments.model, arguments.runs)
    with context.Pool(1) as pool:
        print(f"alone                      {pool.apply(median_of_matches, given):7.1f} ms")
    other = context.Process(target=keep_busy, daemon=True)
    other.start()
    with context.Pool(1) as pool:
        print(f"one processor busy         {pool.apply(median_of_matches, given):7.1f} ms")
    other.kill()
    with context.Pool(processors()) as pool:
        each = pool.starmap(median_of_matches, [given] * processors(), chunksize=1)
    print(f"{processors()} processes at once        {statistics.mean(each):7.1f} ms in each")


if __name__ == "__main__":
    main()
