"""One model, many threads and processes, and thousands of pairs: the same answers, and no growing memory.

python tests/hostile/soak.py                          # 8 threads x 200, 4 processes x 200, 2,000 pairs in a row
python tests/hostile/soak.py --minutes 120            # and pairs in a row for two hours

Without torch, as `semcorr.load` chooses for the package's models; with --torch, on torch's modules.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

import semcorr

PICTURES = 8


def picture(index: int) -> np.ndarray:
    """Return a smooth random image; each has another size."""
    chance = np.random.default_rng(index)
    coarse = chance.integers(0, 256, (6, 8, 3)).astype(np.float32)
    return np.ascontiguousarray(np.kron(coarse, np.ones((20 + index, 20, 1), np.float32)).astype(np.uint8))


def answers(model: semcorr.Matcher, count: int, first: int) -> list[np.ndarray]:
    """Match so many pairs, beginning with another one in each thread."""
    pairs = [(first + index) % (PICTURES - 1) for index in range(count)]
    return [model.match(picture(index), picture(index + 1)).forward.points for index in pairs]


def differences(found: list[np.ndarray], truth: list[np.ndarray], first: int) -> float:
    """Return how far any point is from where one thread alone puts it, in pixels."""
    return max(
        float(np.abs(points - truth[(first + index) % (PICTURES - 1)]).max()) for index, points in enumerate(found)
    )


def resident() -> float:
    """Return the memory of this process in MB."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--matches", type=int, default=200, help="of each thread and each process")
    parser.add_argument("--pairs", type=int, default=2000, help="one after the other, for the memory")
    parser.add_argument("--minutes", type=float, default=0.0, help="at least so long, for the memory")
    parser.add_argument("--model", default="pmnc")
    parser.add_argument("--torch", action="store_true")
    given = parser.parse_args()
    load = import_module("semcorr.models.torch_loading").load if given.torch else semcorr.load
    model = load(given.model, grid=16, image_size=256)
    print(f"{model}; torch is {'' if 'torch' in sys.modules else 'not '}imported")
    truth = answers(model, PICTURES - 1, 0)
    worst = 0.0
    begun = time.monotonic()
    with ThreadPoolExecutor(given.threads) as pool:
        found = list(pool.map(partial(answers, model, given.matches), range(given.threads)))
    worst = max(differences(points, truth, first) for first, points in enumerate(found))
    print(f"{given.threads} threads x {given.matches}: at most {worst:g} px apart; {time.monotonic() - begun:.0f} s")
    for start in multiprocessing.get_all_start_methods():
        begun = time.monotonic()
        with multiprocessing.get_context(start).Pool(given.processes) as workers:
            found = workers.map(partial(answers, model, given.matches), range(given.processes))
        apart = max(differences(points, truth, first) for first, points in enumerate(found))
        worst = max(worst, apart)
        seconds = f"{time.monotonic() - begun:.0f} s"
        print(f"{given.processes} processes x {given.matches} ({start}): at most {apart:g} px apart; {seconds}")
    del found
    before, after, begun = 0.0, 0.0, time.monotonic()
    done = 0
    while done < given.pairs or time.monotonic() - begun < 60 * given.minutes:
        index, done = done, done + 1
        match = model.match(picture(index % (PICTURES - 1)), picture(index % (PICTURES - 1) + 1))
        match.transfer([(1, 1)])
        after = resident()
        before = after if index + 1 == max(1, given.pairs // 10) else before
    print(f"memory: {before:.1f} MB after {given.pairs // 10} pairs, {after:.1f} MB after {done}")
    return 1 if worst > 0.01 or after > 1.05 * before else 0


if __name__ == "__main__":
    sys.exit(main())
