"""Agreement of a device with the CPU, and its speed.

python benchmarks/device.py FOLDER --device cuda

FOLDER holds photographs, *.jpg. For each model, the script prints how closely the matches of the same points agree, the
time of a whole pair, and that of matching alone; for `pmnc`, also the times of the first and second image of new sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

import semcorr
from semcorr.models.matcher import Matcher

MODELS = ("pmnc", "pmnc-universal", "ncnet", "ancnet")
PAIRS = 6
TIMES = 10


def main() -> None:
    """Compare and time each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    pictures = sorted(arguments.folder.glob("*.jpg"))[: 2 * PAIRS]
    for name in MODELS:
        there = semcorr.load(name, device=arguments.device)
        away = apart(semcorr.load(name), there, pictures)
        print(f"{name}: within 1 px of the CPU's {(away < 1).mean():.2%}, median difference {np.median(away):.3f} px")
        encoded = [there.encode(picture) for picture in pictures[:2]]
        pair, alone = timed(lambda: there.match(*pictures[:2])), timed(lambda: there.match(*encoded))  # noqa: B023
        print(f"{name}: pair {pair:.1f} ms, matching alone {alone:.1f} ms")
    sizes(semcorr.load("pmnc", device=arguments.device))


def apart(here: Matcher, there: Matcher, pictures: list[Path]) -> np.ndarray:
    """Return how far apart the matches of the same points are, in pixels."""
    found = []
    for source, target in zip(pictures[::2], pictures[1::2], strict=False):
        matches = here.match(source, target), there.match(source, target)
        height, width = matches[0].source_size
        points = np.stack(np.meshgrid(np.linspace(0, width - 1, 20), np.linspace(0, height - 1, 20)), -1).reshape(-1, 2)
        first, second = (np.asarray(match.transfer(points).points) for match in matches)
        found.append(np.linalg.norm(first - second, axis=1))
    return np.concatenate(found)


def sizes(model: Matcher) -> None:
    """Print how long the first and the second image of new sizes take."""
    for height, width in ((300, 400), (330, 400), (300, 450), (450, 300)):
        image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
        first, second = (once(lambda: model.encode(image)) for _ in range(2))  # noqa: B023
        print(f"images of {width}×{height}: {first:.0f} ms for the first, {second:.0f} ms for the second")


def timed(run: Callable[[], object]) -> float:
    """Return the median time of `TIMES` runs in milliseconds, after two to warm up."""
    return median([once(run) for _ in range(TIMES + 2)][2:])


def once(run: Callable[[], object]) -> float:
    """Return the time of one run in milliseconds."""
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
