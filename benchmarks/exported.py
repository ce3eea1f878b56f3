"""An exported model against the model itself: how far apart their matches of one pair are, and the time of a pair.

    python benchmarks/exported.py FILE.onnx --threads 1

The pair is two real photographs, of the ``examples`` extra. FILE is what `semcorr export` wrote.
"""

from __future__ import annotations

import argparse
import statistics
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from skimage import data

import semcorr
from semcorr.onnx import runtime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    gradio = Path((find_spec("gradio").submodule_search_locations or [""])[0])  # type: ignore[union-attr]
    pair = data.chelsea(), gradio / "media_assets" / "images" / "cheetah1.jpg"
    exported = runtime.load(arguments.file, arguments.threads)
    search, dense = semcorr.load("pmnc"), semcorr.load("pmnc")
    dense.score.exhaustive = True  # type: ignore[union-attr]
    ways = {"torch, PatchMatch": search, "torch, all pairs": dense, "onnxruntime, all pairs": exported}
    matches = {name: model.match(*pair) for name, model in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.runs):
        for name, model in ways.items():
            start = time.perf_counter()
            model.match(*pair)
            times[name].append(1000 * (time.perf_counter() - start))
    answer = matches["onnxruntime, all pairs"].forward
    for name, match in matches.items():
        apart = np.linalg.norm(match.forward.points - answer.points, axis=2)
        doubt = np.abs(match.forward.confidence - answer.confidence)
        print(
            f"{name:24} {statistics.median(times[name]):7.0f} ms; from onnxruntime: points {np.median(apart):.3f} px "
            f"(median), {apart.max():.3f} px (most), {100 * (apart <= 1).mean():.1f} % within 1 px; confidence "
            f"{doubt.max():.4f} (most)"
        )


if __name__ == "__main__":
    main()
