"""Ways to compute the default backbone on a CPU, in turns: what docs/performance.md says was tried.

    OMP_NUM_THREADS=2 python benchmarks/backbone.py --threads 2

The fused operations are private to PyTorch; they are here for measurements alone.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import semcorr


class Linear(nn.Module):
    """A 1×1 convolution as a matrix product."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight.flatten(1), convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.movedim(1, 3), self.weight, self.bias).movedim(3, 1)


class Fused(nn.Module):
    """A convolution with the ReLU6 behind it; harmless to apply ReLU6 again."""

    def __init__(self, convolution: nn.Conv2d, clamp: bool, packed: bool) -> None:
        super().__init__()
        self.convolution, self.packed, self.weights = convolution, packed, dict[torch.Size, Tensor]()
        self.activation = ("hardtanh", [0.0, 6.0], "") if clamp else ("none", [], "")
        self.stride, self.kernel_size, self.padding = (
            convolution.stride,
            convolution.kernel_size,
            list(convolution.padding),
        )

    def forward(self, x: Tensor) -> Tensor:
        own = self.convolution
        # the network has padded what it strides over; it asks for these three attributes
        rest = (self.padding, list(own.stride), list(own.dilation), own.groups)
        weight = own.weight
        if self.packed:
            if x.shape not in self.weights:
                self.weights[x.shape] = torch.ops.mkldnn._reorder_convolution_weight(weight, *rest, list(x.shape))
            weight = self.weights[x.shape]
        return torch.ops.mkldnn._convolution_pointwise(x, weight, own.bias, *rest, *self.activation)


def replaced(network: nn.Module, change: Callable[[str, nn.Conv2d], nn.Module]) -> nn.Module:
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                setattr(module, name, change(name, child))
    return network


def narrows(name: str, convolution: nn.Conv2d) -> bool:
    """Say whether no ReLU6 follows: the last convolution of a block."""
    return name == "conv_pwl" or (name == "conv_pw" and convolution.out_channels < convolution.in_channels)


def ways(network: nn.Module) -> dict[str, tuple[nn.Module, torch.dtype]]:
    def linear(_: str, one: nn.Conv2d) -> nn.Module:
        return Linear(one) if one.kernel_size == (1, 1) else one

    half, full = torch.bfloat16, torch.float32
    rough = copy.deepcopy(network).to(half)
    found = {"as it is": (network, full), "matrix products": (replaced(network, linear), full)}
    for packed in (False, True):
        name = "fused, packed" if packed else "fused"
        for prefix, base, kind in (("", network, full), ("bfloat16, ", rough, half)):
            fused = replaced(base, lambda n, c, packed=packed: Fused(c, not narrows(n, c), packed))  # type: ignore[misc]
            found[prefix + name] = (fused, kind)
    return found | {"bfloat16": (rough, half)}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = semcorr.load("pmnc").features.network
    pixels = torch.rand(2, 3, 400, 400).contiguous(memory_format=torch.channels_last)
    exact = network(pixels)
    times: dict[str, list[tuple[float, float]]] = {}
    found = ways(network)
    for _ in range(arguments.runs):
        for name, (way, kind) in found.items():
            batch = pixels.to(kind)
            for how, parts in (("together", (batch,)), ("one by one", (batch[:1], batch[1:]))):
                for part in parts:
                    way(part)
                wall, processor = time.perf_counter(), time.process_time()
                for part in parts:
                    way(part)
                spent = (1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - processor))
                times.setdefault(f"{name}, {how}", []).append(spent)
    for name, spent in times.items():
        (wall, _), (processor, _) = ((statistics.median(column), min(column)) for column in zip(*spent, strict=True))
        print(f"{name:36} {wall:7.1f} ms, {processor:7.1f} ms of processor")
    for name, (way, kind) in found.items():
        both = zip(way(pixels.to(kind)), exact, strict=True)
        apart = max(float((a.float() - b).abs().max() / b.abs().max()) for a, b in both)
        print(f"{name:36} features differ by {apart:.1e} of the largest")


if __name__ == "__main__":
    main()
