"""Warm time of ``model.match`` at 400×400, split into its stages, and the peak memory of a process that does it.

python benchmarks/match_time.py --threads 2
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

from PIL import Image
from skimage import data

import semcorr
from semcorr.features.feature_map import array_of
from semcorr.image import load_image
from semcorr.match.correct import Correction, correct_match
from semcorr.threads import thread_count


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=thread_count())
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--grid", type=int, default=25)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where the two test pictures are written")
    arguments = parser.parse_args()
    os.environ["SEMCORR_NUM_THREADS"] = str(arguments.threads)
    gradio = Path((find_spec("gradio").submodule_search_locations or [""])[0])  # type: ignore[union-attr]
    cheetah = gradio / "media_assets" / "images" / "cheetah1.jpg"
    arguments.folder.mkdir(exist_ok=True)
    paths = [arguments.folder / "cat400.jpg", arguments.folder / "cheetah400.jpg"]
    for picture, path in zip((Image.fromarray(data.chelsea()), Image.open(cheetah)), paths, strict=True):
        picture.convert("RGB").resize((400, 400)).save(path)

    before = peak_megabytes()
    start = time.perf_counter()
    model = semcorr.load("pmnc", grid=arguments.grid, precision=arguments.precision)
    loaded = time.perf_counter() - start
    start = time.perf_counter()
    model.match(*paths)
    first = time.perf_counter() - start
    after = peak_megabytes()

    times: dict[str, list[float]] = defaultdict(list)

    def lap(name: str, start: float) -> float:
        now = time.perf_counter()
        times[name].append(1000 * (now - start))
        return now

    for _ in range(arguments.runs):
        start = now = time.perf_counter()
        match = model.match(*paths)
        now = lap("whole match", start)
        images = [load_image(path) for path in paths]
        now = lap("decode both JPEGs", now)
        source, target = (picture.features for picture in model.encode_many(images))
        now = lap("backbone, both pictures", now)
        model._engine.match(model.method, [source], [target], model.decode_radius)
        now = lap("correlation, search and decoding", now)
        comparison = model.features.comparison()
        if comparison is not None and source.fine is not None and target.fine is not None:
            fine = array_of(source.fine)[0], array_of(target.fine)[0]
            correct_match(match, *fine, Correction(*comparison))
            lap("correction, once more", now)
    print(f"{arguments.threads} threads, {arguments.precision}, grid {arguments.grid}")
    print(f"load {loaded:.2f} s, first match {first:.2f} s")
    for name, values in times.items():
        print(f"{name:32} median {statistics.median(values):7.1f} ms   (min {min(values):.1f}, max {max(values):.1f})")
    print(f"peak memory {after:.0f} MB, {after - before:.0f} MB above that of the imported library")


if __name__ == "__main__":
    main()
