"""One model, many threads and processes, and thousands of pairs: the same answers, and no growing memory.

python tests/hostile/soak.py                          # 8 threads x 200, 4 processes x 200, 2,000 pairs in a row
python tests/hostile/soak.py --hours 2                # the same, and pairs in a row for two hours
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import semcorr

PICTURES = 8
EVERY = 600  # seconds between two lines on the memory


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


def growth(model: semcorr.Matcher, pairs: int, hours: float) -> tuple[float, float]:
    """Match pairs one after the other; return the memory in MB after a tenth of them, and after all.

    Args:
        model: Matches them.
        pairs: How many at least.
        hours: How long at least.
    """
    begun, said, before, count = time.monotonic(), 0.0, 0.0, 0
    while count < pairs or time.monotonic() - begun < 3600 * hours:
        match = model.match(picture(count % (PICTURES - 1)), picture(count % (PICTURES - 1) + 1))
        match.transfer([(1, 1)])
        count += 1
        if count == pairs // 10:
            before = resident()
            print(f"memory: {before:.1f} MB after {count} pairs", flush=True)
        elif count % 100 == 0 and time.monotonic() - begun > said + EVERY:
            said = time.monotonic() - begun
            print(f"memory: {resident():.1f} MB after {count} pairs, {said / 60:.0f} minutes", flush=True)
    after = resident()
    print(f"memory: {after:.1f} MB after {count} pairs")
    return before, after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--matches", type=int, default=200, help="of each thread and each process")
    parser.add_argument("--pairs", type=int, default=2000, help="one after the other, for the memory")
    parser.add_argument("--hours", type=float, default=0.0, help="match pairs one after the other at least this long")
    parser.add_argument("--model", default="pmnc")
    given = parser.parse_args()
    if given.pairs < 10:
        parser.error("--pairs must be 10 or more: the memory after a tenth of them is compared with that at the end")
    model = semcorr.load(given.model, grid=16, image_size=256)
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
    before, after = growth(model, given.pairs, given.hours)
    return 1 if worst > 0.01 or after > 1.05 * before else 0


if __name__ == "__main__":
    sys.exit(main())
