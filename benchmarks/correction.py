"""Time the correction of matches by fine descriptors, compiled and in NumPy in turn: 50×50 positions, 64 channels.

OMP_NUM_THREADS=1 python benchmarks/correction.py
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from semcorr.match.correct import Correction, correct_cells, correct_cells_plain


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
    corrected = {}
    for _ in range(arguments.runs + 1):
        for method in (correct_cells, correct_cells_plain):
            start = time.perf_counter()
            corrected[method.__name__] = method(descriptors, target, begin, Correction(10.0, 1.5))
            times.setdefault(method.__name__, []).append(1000 * (time.perf_counter() - start))
    for name, values in times.items():
        print(f"{name:16} median {statistics.median(values[1:]):6.2f} ms of {arguments.runs} runs")
    compiled, plain = corrected.values()
    print(f"largest difference {np.abs(compiled - plain).max():.1e} cells")


if __name__ == "__main__":
    main()
