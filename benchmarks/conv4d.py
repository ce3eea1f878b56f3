"""Time of `conv4d` beside the usual loop of `conv3d` calls, in one run: the networks of NC-Net and ANC-Net.

python benchmarks/conv4d.py --threads 2
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.matchers.dense.conv4d import conv4d

Kernel = tuple[int, int, int, int]
Stage = list[list[tuple[int, int, Kernel]]]  # parallel stacks of layers: channels in, channels out, kernel
NETWORKS: dict[str, list[Stage]] = {
    "3-3-3 / 10-10-1": [[[(1, 10, (3,) * 4), (10, 10, (3,) * 4), (10, 1, (3,) * 4)]]],
    "5-5-5 / 16-16-1": [[[(1, 16, (5,) * 4), (16, 16, (5,) * 4), (16, 1, (5,) * 4)]]],
    "ANC-Net": [[[(1, 8, (3, 3, 5, 5))], [(1, 8, (5,) * 4)]], [[(16, 16, (5,) * 4), (16, 1, (5,) * 4)]]],
}
Convolve = Callable[[Tensor, Tensor, Tensor], Tensor]
Layers = list[tuple[Tensor, Tensor]]


def loop_of_conv3d(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve by the usual definition: for each source row, one `conv3d` for each of the kernel's rows."""
    rows, reach = inputs.shape[2], weight.shape[2] // 2
    padding = tuple(size // 2 for size in weight.shape[3:])
    results = []
    for row in range(rows):
        result: Tensor = F.conv3d(inputs[:, :, row], weight[:, :, reach], bias, padding=padding)
        for step in (step for step in range(-reach, reach + 1) if step and 0 <= row + step < rows):
            result = result + F.conv3d(inputs[:, :, row + step], weight[:, :, reach + step], padding=padding)
        results.append(result)
    return torch.stack(results, dim=2)


def network(convolve: Convolve, maps: Tensor, stages: list[list[Layers]]) -> Tensor:
    """Return f(x) + f(xᵀ)ᵀ after each stage, ReLU after each layer."""

    def stack(maps: Tensor, layers: Layers) -> Tensor:
        for weight, bias in layers:
            maps = convolve(maps, weight, bias).relu()
        return maps

    for stage in stages:
        exchanged = maps.permute(0, 1, 4, 5, 2, 3)
        both = [stack(maps, layers) + stack(exchanged, layers).permute(0, 1, 4, 5, 2, 3) for layers in stage]
        maps = torch.cat(both, dim=1)
    return maps


def make_layers(shapes: list[tuple[int, int, Kernel]], dtype: torch.dtype) -> Layers:
    generator = torch.Generator().manual_seed(0)
    layers = []
    for inside, outside, kernel in shapes:
        bound = (inside * math.prod(kernel)) ** -0.5
        weight = torch.empty(outside, inside, *kernel).uniform_(-bound, 2 * bound, generator=generator)
        layers.append((weight.to(dtype).requires_grad_(), torch.zeros(outside, dtype=dtype).requires_grad_()))
    return layers


def seconds(convolve: Convolve, maps: Tensor, stages: list[list[Layers]], backward: bool) -> float:
    """Return the time of a forward pass, or of the backward pass after one."""
    with torch.set_grad_enabled(backward):
        start = time.perf_counter()
        result = network(convolve, maps, stages)
        if backward:
            start = time.perf_counter()
            torch.autograd.backward(result.sum())
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1, help="runs before that, not counted")
    parser.add_argument("--grids", type=int, nargs="+", default=[13, 25])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--forward-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads, medians of {arguments.runs} runs, taken in turn")
    print(
        "| network, symmetric | cells | dtype | pass | loop of conv3d | conv4d | times as fast |\n" + "|---" * 7 + "|"
    )
    for name in arguments.networks:
        for dtype in (getattr(torch, dtype) for dtype in arguments.dtypes):
            stages = [[make_layers(stack, dtype) for stack in stage] for stage in NETWORKS[name]]
            for grid in arguments.grids:
                maps = torch.rand(1, 1, grid, grid, grid, grid, generator=torch.Generator().manual_seed(1)).to(dtype)
                for backward in (False,) if arguments.forward_only else (False, True):
                    times: dict[Convolve, list[float]] = {loop_of_conv3d: [], conv4d: []}
                    for _ in range(arguments.warmup + arguments.runs):
                        for convolve, taken in times.items():
                            taken.append(seconds(convolve, maps, stages, backward))
                    theirs, ours = (statistics.median(taken[arguments.warmup :]) for taken in times.values())
                    label = f"{name} | {grid} | {str(dtype)[6:]} | {'backward' if backward else 'forward'}"
                    print(f"| {label} | {theirs:.3f} s | {ours:.3f} s | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
