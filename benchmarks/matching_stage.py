"""Time and memory of the matching stage alone: features in, sub-cell matches of both directions out.

    python benchmarks/matching_stage.py --threads 2 --plot docs/matching_stage.png

The features are those of two photographs, turned into ``--channels`` dimensions by a rotation, which leaves every
correlation as it is. Methods are timed in turns, so that a busy machine slows all of them; every figure is a median.
Memory (Linux) is the peak of a process of its own that matches for the second time, above what it held before. NC-Net
and ANC-Net are run twice: with the usual loop of 3-D convolutions, as a yardstick, and with this library's 4-D
convolution; their weights are random.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from conv4d import loop_of_conv3d
from skimage import data
from torch import Tensor, nn

import semcorr
from semcorr.features import FeatureMap
from semcorr.matchers.dense import conv4d as convolution
from semcorr.matchers.dense.ancnet import AdaptiveConsensus, ANCNet, SelfSimilarity
from semcorr.matchers.dense.decode import decode
from semcorr.matchers.dense.ncnet import NCNet, NeighbourhoodConsensus
from semcorr.matchers.pmnc.gpu.matcher import PMNC
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.models.torch_loading import load

CONSENSUS: dict[str, Callable[[], nn.Module]] = {
    "NC-Net 5-5-5, 16-16-1": lambda: NCNet(NeighbourhoodConsensus((5, 5, 5), (16, 16, 1))),
    "NC-Net 3-3-3, 10-10-1": lambda: NCNet(NeighbourhoodConsensus((3, 3, 3), (10, 10, 1))),
    "ANC-Net": lambda: ANCNet(AdaptiveConsensus(), SelfSimilarity()),
}
METHODS = ["pmnc", "pmnc, NumPy", *(f"{name}{how}" for name in CONSENSUS for how in (", loop", ""))]
Stage = Callable[[], object]


def with_loop(matcher: nn.Module, source: FeatureMap, target: FeatureMap) -> Tensor:
    """Run a matcher with every 4-D convolution as the usual loop of 3-D ones."""
    folded, convolution.conv4d = convolution.conv4d, loop_of_conv3d
    try:
        return matcher(source, target)
    finally:
        convolution.conv4d = folded


def features(grid: int, channels: int) -> tuple[FeatureMap, FeatureMap]:
    model = load("nearest", grid=grid)
    gradio = Path((find_spec("gradio").submodule_search_locations or [""])[0])  # type: ignore[union-attr]
    square = data.chelsea()[:, 75:375]
    cheetah = semcorr.image.load_image(gradio / "media_assets" / "images" / "cheetah1.jpg")
    side = min(cheetah.shape[:2])
    pictures = [model.encode(np.ascontiguousarray(picture)).features for picture in (square, cheetah[:side, :side])]
    rotation = torch.linalg.qr(torch.randn(channels, channels, generator=torch.Generator().manual_seed(0)))[0]
    small = pictures[0].tensor.shape[1]
    first, second = (
        FeatureMap(torch.einsum("bchw,cd->bdhw", p.tensor, rotation[:small]).contiguous(), p.image_sizes)
        for p in pictures
    )
    return first, second


def stages(methods: list[str], grid: int, radius: int, arguments: argparse.Namespace) -> dict[str, Stage]:
    source, target = features(grid, arguments.channels)
    shipped = load("pmnc").method
    torch.manual_seed(0)
    function = (
        shipped.scoring if radius == shipped.scoring.radius else ScoringFunction(radius, 16).requires_grad_(False)
    )
    found: dict[str, Stage] = {}
    for name in methods:
        if name.startswith("pmnc"):
            score = PMNC(function, options=shipped.options, votes=shipped.votes, compiled=name == "pmnc")
        else:
            consensus = CONSENSUS[name.removesuffix(", loop")]().eval().requires_grad_(False)
            score = partial(with_loop, consensus) if name.endswith(", loop") else consensus
        found[name] = partial(lambda score: decode(score(source, target), 2), score)
    return found


def optimum(grid: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the share of cells that reach the best score of all, and the share of pairs that the search scores."""
    source, target = features(grid, arguments.channels)
    shipped = load("pmnc").method
    table, oracle = (
        PMNC(shipped.scoring, options=options, votes=shipped.votes)(source, target).table()
        for options in (shipped.options, replace(shipped.options, candidates=10**9, iterations=0))
    )
    reached = [
        (oracle.flatten(a, b).amax(a) - table.flatten(a, b).amax(a) <= 1e-3).float() for a, b in ((3, 4), (1, 2))
    ]
    return float(torch.cat([r.flatten() for r in reached]).mean()), float(table.isfinite().float().mean())


def peak_megabytes(stage: Stage) -> float:
    """Return the peak of the resident memory while a stage runs, above what was resident before."""
    status = Path("/proc/self/status")

    def resident(key: str) -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith(key)).split()[1])

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory that was given back and kept would hide what the stage takes
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    stage()
    return (resident("VmHWM") - before) / 1024


def memory(method: str, arguments: argparse.Namespace, grid: int, radius: int) -> float:
    command = [sys.executable, __file__, "--only", method, "--grids", str(grid), "--radii", str(radius)]
    command += [
        "--channels",
        str(arguments.channels),
        "--threads",
        str(arguments.threads),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(run.stdout))


def clock(stage: Stage) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    stage()
    return time.perf_counter() - wall, time.process_time() - processor


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--grids", type=int, nargs="+", default=[16, 25, 32, 50, 64])
    parser.add_argument("--radii", type=int, nargs="+", default=[2])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--largest", type=int, default=50, help="largest grid for all methods but the first")
    parser.add_argument("--channels", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="also peak memory, each in a process of its own")
    parser.add_argument("--optimum", action="store_true", help="also the share of the exhaustive optimum, at r = 2")
    parser.add_argument("--plot", type=Path, help="where to draw time against cells")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.only:
        stage = stages([arguments.only], arguments.grids[0], arguments.radii[0], arguments)[arguments.only]
        stage()
        print(json.dumps(peak_megabytes(stage)))
        return
    print(f"{arguments.threads} threads, {arguments.channels} channels, medians of {arguments.runs} runs in turns")
    times: dict[str, dict[int, float]] = {}
    for radius in arguments.radii:
        for grid in arguments.grids:
            methods = arguments.methods if grid <= arguments.largest else arguments.methods[:1]
            running = stages(methods, grid, radius, arguments)
            running[methods[0]]()  # compiles it
            turns = [{name: clock(stage) for name, stage in running.items()} for _ in range(arguments.runs)]
            for name in methods:
                wall, processor = (1000 * statistics.median(turn[name][i] for turn in turns) for i in (0, 1))
                ratios = [[turn[name][i] / turn[methods[0]][i] for turn in turns] for i in (0, 1)]
                line = f"r {radius} grid {grid:3} {name:28} {wall:9.1f} ms, {processor:9.1f} ms of processor"
                line += f", {statistics.median(ratios[0]):6.1f} / {statistics.median(ratios[1]):6.1f} times the first"
                if arguments.memory:
                    line += f", {memory(name, arguments, grid, radius):7.1f} MB"
                if arguments.optimum and name == methods[0] and radius == 2 and grid <= arguments.largest:
                    reached, scored = optimum(grid, arguments)
                    line += f", optimum in {100 * reached:.1f} % of cells, {100 * scored:.2f} % of pairs scored"
                print(line, flush=True)
                times.setdefault(f"{name}, r = {radius}", {})[grid] = processor
    if arguments.plot:
        plot(times, arguments.plot)


def plot(times: dict[str, dict[int, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(6, 4), layout="constrained")).subplots()
    for name, found in times.items():
        cells = np.array([grid**2 for grid in found])
        values = np.array(list(found.values()))
        slope = np.polyfit(np.log(cells), np.log(values), 1)[0] if len(cells) > 1 else float("nan")
        axes.loglog(cells, values, "o-", label=f"{name}: slope {slope:.2f}")
        print(f"{name}: time grows as cells^{slope:.2f}")
    axes.set_xlabel("cells of one picture")
    axes.set_ylabel("processor time of the matching stage, ms")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
