"""Time of `conv4d` beside the usual loop of `conv3d` calls, in one run: the two networks of NC-Net, made symmetric.

python benchmarks/conv4d.py --threads 2
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from semcorr.consensus.conv4d import conv4d

NETWORKS = {"3-3-3 / 10-10-1": (3, (10, 10, 1)), "5-5-5 / 16-16-1": (5, (16, 16, 1))}
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


def network(convolve: Convolve, maps: Tensor, layers: Layers) -> Tensor:
    """Return f(x) + f(xᵀ)ᵀ, ReLU after each layer."""

    def stack(maps: Tensor) -> Tensor:
        for weight, bias in layers:
            maps = convolve(maps, weight, bias).relu()
        return maps

    return stack(maps) + stack(maps.permute(0, 1, 4, 5, 2, 3)).permute(0, 1, 4, 5, 2, 3)


def make_layers(kernel: int, channels: tuple[int, ...], dtype: torch.dtype) -> Layers:
    generator = torch.Generator().manual_seed(0)
    layers = []
    for inside, outside in zip((1, *channels[:-1]), channels, strict=True):
        bound = (inside * kernel**4) ** -0.5
        weight = torch.empty(outside, inside, *[kernel] * 4).uniform_(-bound, 2 * bound, generator=generator)
        layers.append((weight.to(dtype).requires_grad_(), torch.zeros(outside, dtype=dtype).requires_grad_()))
    return layers


def seconds(convolve: Convolve, maps: Tensor, layers: Layers, backward: bool) -> float:
    """Return the time of a forward pass, or of the backward pass after one."""
    with torch.set_grad_enabled(backward):
        start = time.perf_counter()
        result = network(convolve, maps, layers)
        if backward:
            start = time.perf_counter()
            torch.autograd.backward(result.sum())
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=3)
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
            layers = make_layers(*NETWORKS[name], dtype)
            for grid in arguments.grids:
                maps = torch.rand(1, 1, grid, grid, grid, grid, generator=torch.Generator().manual_seed(1)).to(dtype)
                for backward in (False,) if arguments.forward_only else (False, True):
                    times: dict[Convolve, list[float]] = {loop_of_conv3d: [], conv4d: []}
                    for _ in range(arguments.runs + 1):
                        for convolve, taken in times.items():
                            taken.append(seconds(convolve, maps, layers, backward))
                    theirs, ours = (statistics.median(taken[1:]) for taken in times.values())
                    label = f"{name} | {grid} | {str(dtype)[6:]} | {'backward' if backward else 'forward'}"
                    print(f"| {label} | {theirs:.3f} s | {ours:.3f} s | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
