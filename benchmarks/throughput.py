"""One exemplar against many photographs: how many are read, matched and given the exemplar's points in a second.

    python benchmarks/throughput.py --threads 2 --photographs 100

The photographs are crops of a real one, of the ``examples`` extra, written as JPEG files of 400 × 400 pixels. The ways
take turns, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

import semcorr
from semcorr.models.encoded import Encoded
from semcorr.models.matcher import Matcher

POINTS = [(120.0, 85.0), (200.0, 150.0), (300.0, 220.0)]


def photographs(folder: Path, count: int) -> list[Path]:
    cat = Image.fromarray(data.chelsea())
    paths = []
    for index, (left, top) in enumerate(np.random.default_rng(0).integers(0, 50, (count, 2)).tolist()):
        paths.append(folder / f"{index}.jpg")
        cat.resize((400, 400), box=(left, top, left + 400, top + 250)).save(paths[-1])
    return paths


def one_by_one(model: Matcher, exemplar: Encoded, paths: list[Path]) -> None:
    for path in paths:
        model.match(exemplar, path).transfer(POINTS)


def in_batches(model: Matcher, exemplar: Encoded, paths: list[Path]) -> None:
    for start in range(0, len(paths), 8):
        for match in model.match_many([(exemplar, path) for path in paths[start : start + 8]]):
            match.transfer(POINTS)


def each(model: Matcher, exemplar: Encoded, paths: list[Path]) -> None:
    for match in model.match_each(exemplar, paths):
        match.transfer(POINTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--photographs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ways: dict[str, Callable[[Matcher, Encoded, list[Path]], None]] = {
        "match, one by one": one_by_one,
        "match_many, eight at a time": in_batches,
        "match_each": each,
    }
    rates: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder), arguments.photographs)
        models = {name: semcorr.load(precision=name) for name in ("float32", "bfloat16")}
        exemplars = {name: model.encode(data.chelsea()) for name, model in models.items()}
        for turn in range(arguments.rounds + 1):
            for precision, model in models.items():
                for way, run in ways.items():
                    some = paths if turn else paths[:8]  # the first turn compiles
                    wall, processor = time.perf_counter(), time.process_time()
                    run(model, exemplars[precision], some)
                    if turn:
                        spent = time.perf_counter() - wall, time.process_time() - processor
                        rates.setdefault((precision, way), []).append(
                            (len(some) / spent[0], 1000 * spent[1] / len(some))
                        )
    print(f"{arguments.threads} threads, {arguments.photographs} photographs, medians of {arguments.rounds} rounds")
    for (precision, way), found in rates.items():
        rate, processor = (statistics.median(one[index] for one in found) for index in (0, 1))
        print(f"{precision:8} {way:28} {rate:6.1f} photographs a second, {processor:6.1f} ms of processor for each")


if __name__ == "__main__":
    main()
