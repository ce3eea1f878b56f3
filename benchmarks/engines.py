"""Photographs a second of `semcorr annotate`: in this process, and over Ray with one worker and with two.

    python benchmarks/engines.py EXEMPLARS PICTURES --limit 300

EXEMPLARS and PICTURES are as for ``semcorr annotate``. In this process, one thread is used, then all. Starting Ray and
loading the model are not counted: the rate begins after the first two batches. The labels of all rows are compared.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import semcorr
from semcorr.annotation.exemplars import read_exemplars
from semcorr.annotation.labeller import Labeller
from semcorr.annotation.pictures import Target, find_pictures
from semcorr.annotation.ray_engine import BATCH, ray_engine
from semcorr.annotation.records import Annotation
from semcorr.annotation.run import Engine, Job, plan
from semcorr.annotation.settings import Settings
from semcorr.threads import VARIABLE, processors


def local(exemplars: object, settings: Settings, targets: Iterator[Target]) -> Iterator[tuple[Target, Annotation]]:
    return Labeller(semcorr.load(), exemplars, settings).label(targets)


def measure(engine: Engine, job: Job) -> tuple[float, float, dict[str, Annotation]]:
    """Return the seconds until the first label, labels a second after two batches, and the labels."""
    begun, labels, times = time.perf_counter(), {}, []
    for target, annotation in engine(job.exemplars, job.settings, job.targets()):
        labels[target.key] = annotation
        times.append(time.perf_counter())
    return times[0] - begun, (len(times) - 2 * BATCH) / (times[-1] - times[2 * BATCH - 1]), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exemplars", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--limit", type=int, default=20 * BATCH, help="pictures to label")
    arguments = parser.parse_args()
    pictures = find_pictures(arguments.pictures)
    pictures = replace(pictures, files=pictures.files[: arguments.limit])
    job = plan(read_exemplars([arguments.exemplars]), pictures, Settings())
    print(f"| {job.count} pictures | seconds to the first | a second | of one thread's rate | same labels |")
    print("|---|---|---|---|---|")
    rate, labels = 0.0, {}
    for name, threads, workers in [
        ("one thread", 1, 0),
        ("all threads", processors(), 0),
        ("Ray, 1", 1, 1),
        ("Ray, 2", 1, 2),
    ]:
        os.environ[VARIABLE] = str(threads)
        engine = ray_engine("pmnc", {}, workers, None) if workers else local
        seconds, speed, found = measure(engine, job)
        rate, labels = rate or speed, labels or found
        print(f"| {name} | {seconds:.1f} | {speed:.2f} | {speed / rate:.2f} | {found == labels} |", flush=True)


if __name__ == "__main__":
    main()
