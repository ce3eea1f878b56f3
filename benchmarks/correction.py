"""Time of correcting matches by fine descriptors, compiled and in NumPy, in turns: 50×50 places, 64 channels.

OMP_NUM_THREADS=1 python benchmarks/correction.py
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from semcorr.match.refine import Refinement, correct, correct_plainly


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=int, default=50)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    rng, grid = np.random.default_rng(0), arguments.grid
    target = rng.standard_normal((grid, grid, arguments.channels)).astype(np.float32)
    target /= np.linalg.norm(target, axis=2, keepdims=True)
    descriptors = rng.permutation(target.reshape(-1, arguments.channels))
    begin = rng.uniform(0, grid - 1, (grid**2, 2)).astype(np.float32)
    times: dict[str, list[float]] = {}
    found = {}
    for _ in range(arguments.runs + 1):
        for method in (correct, correct_plainly):
            start = time.perf_counter()
            found[method.__name__] = method(descriptors, target, begin, Refinement(10.0, 1.5))
            times.setdefault(method.__name__, []).append(1000 * (time.perf_counter() - start))
    for name, values in times.items():
        print(f"{name:16} median {statistics.median(values[1:]):6.2f} ms of {arguments.runs} runs")
    compiled, plain = found.values()
    print(f"largest difference {np.abs(compiled - plain).max():.1e} cells")


if __name__ == "__main__":
    main()
