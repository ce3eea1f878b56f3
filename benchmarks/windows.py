"""The window study: scoring functions of radius r = 0…4, trained alike on frozen features, several seeds each.

python benchmarks/windows.py FOLDER --out runs/windows --cache runs/features --plot docs/images/windows.svg

Prints PCK on validation pairs (dense scores, no search), the parameters and the processor time of scoring every target
cell for one source point. A run that was stopped goes on; FOLDER is as for `semcorr train`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from semcorr.features import FeatureOptions
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.metrics.pck import ALPHAS
from semcorr.models.configs import PMNCConfig
from semcorr.training.loop import train
from semcorr.training.recipe import TrainingRecipe
from semcorr.weights import read_weights

HIDDEN = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/windows"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--radii", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=6, help="of a step")
    parser.add_argument("--validation-pairs", type=int, default=200)
    arguments = parser.parse_args()
    figures: dict[int, list[list[float]]] = {radius: [] for radius in arguments.radii}
    for seed in arguments.seeds:
        for radius in arguments.radii:
            recipe = TrainingRecipe(
                model=PMNCConfig(FeatureOptions(), radius=radius, hidden=HIDDEN),
                data=arguments.folder,
                out=arguments.out / f"r{radius}-seed{seed}",
                seed=seed,
                cache=arguments.cache,
                steps=arguments.steps,
                pairs=arguments.pairs,
                validate_every=arguments.steps,
                validation_pairs=arguments.validation_pairs,
                precision="bf16-mixed",
            )
            trained = read_weights(train(recipe)).metadata["training"]
            figures[radius].append([trained[f"validation PCK@{alpha}"] for alpha in ALPHAS])
    costs = {radius: cost(radius) for radius in arguments.radii}
    print(f"| r | parameters | ms a point | PCK at {', '.join(map(str, ALPHAS))}: mean ± deviation over seeds |")
    print("|---|---|---|---|")
    for radius, runs in figures.items():
        columns = list(zip(*runs, strict=True))
        spread = " / ".join(f"{statistics.mean(c):.1f} ± {statistics.pstdev(c):.1f}" for c in columns)
        count = sum(parameter.numel() for parameter in ScoringFunction(radius, HIDDEN).parameters())
        print(f"| {radius} | {count:,} | {costs[radius]:.2f} | {spread} |")
    if arguments.plot:
        draw(figures, costs, arguments.plot)


@torch.inference_mode()
def cost(radius: int, runs: int = 9) -> float:
    """Measure the processor time in ms of scoring one source point against 25×25 target cells."""
    source, target = (F.normalize(torch.randn(1, 432, 25, 25), dim=1) for _ in range(2))
    maps = correlation_channels(cosine_correlation(source, target))[0]
    scoring, points = ScoringFunction(radius, HIDDEN), torch.rand(16, 2) * 24
    times = []
    for _ in range(runs):
        start = time.process_time()
        scoring.score_points(maps, points)
        times.append(1000 * (time.process_time() - start) / len(points))
    return statistics.median(times)


def draw(figures: dict[int, list[list[float]]], costs: dict[int, float], path: Path) -> None:
    """Draw PCK against the radius, a line for each α, and the time."""
    from matplotlib.figure import Figure

    figure = Figure((7.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    radii = list(figures)
    for index, (alpha, colour) in enumerate(zip(ALPHAS, ("#0072b2", "#009e73", "#e69f00", "#d55e00"), strict=True)):
        means = [statistics.mean(run[index] for run in figures[radius]) for radius in radii]
        low = [min(run[index] for run in figures[radius]) for radius in radii]
        high = [max(run[index] for run in figures[radius]) for radius in radii]
        left.fill_between(radii, low, high, color=colour, alpha=0.2, linewidth=0)
        left.plot(radii, means, color=colour, marker="o", label=f"α = {alpha:g}")
    left.set(xlabel="radius r of the window, cells", ylabel="PCK, %", xticks=radii, ylim=(0, None))
    left.legend(frameon=False, ncols=2, fontsize=8)
    right.plot(radii, [costs[radius] for radius in radii], color="#333333", marker="o")
    right.set(xlabel="radius r", ylabel="ms a point, dense, one thread", xticks=radii, yscale="log")
    right.set_yticks([0.2, 0.5, 1, 2, 5], labels=["0.2", "0.5", "1", "2", "5"], minor=False)
    right.set_yticks([], minor=True)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
