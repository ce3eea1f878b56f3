"""The graph of the whole network: EfficientNet-Lite, the joining of its stages, adapter, fine descriptors and gate.

It computes what `semcorr.features.extractor.FeatureExtractor.describe` computes for one image; tests hold the two
equal. All batch norms are folded. Stages are resized by products with two matrices, which are inputs of the graph, so
that one graph serves every grid; its dilation is fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcorr.features.architecture import DEVIATION, EARLY_BLOCKS, LAST_OF_STAGE, MEAN, STEM, Block, groups_of
from semcorr.features.light.graph import Graph, Value

Floats = NDArray[np.float32]

PIXELS, FEATURES, FINE = "pixels", "features", "fine_descriptors"
BACKBONE, UNTOUCHED, ADAPTER, DESCRIPTORS, GATE = "backbone.", "untouched.", "adapter.", "fine.", "gate."
_TINY = 1e-12  # least norm that is divided by, as in torch


@dataclass(frozen=True)
class Architecture:
    """What the network is made of.

    Attributes:
        name: One of `semcorr.features.architecture.SCALES`.
        stages: The stages that are joined, ascending.
        adapter: Hidden channels of the adapter; 0 means none.
        fine: Channels of the fine descriptors; 0 means none.
        shares: Least and greatest share of the tuned features; None joins no untouched ones.
    """

    name: str
    stages: tuple[int, ...]
    adapter: int = 0
    fine: int = 0
    shares: tuple[float, float] | None = None

    @property
    def channels(self) -> int:
        """Channels of the joined stages."""
        groups = groups_of(self.name)
        return sum(groups[LAST_OF_STAGE[stage]][-1].outside for stage in self.stages)

    @property
    def stride(self) -> int:
        """Stride of the finest stage."""
        return 2 << self.stages[0]


class Described(NamedTuple):
    """A graph and the shapes of the weights that it takes."""

    content: bytes
    weights: Mapping[str, tuple[int, ...]]


def rows_name(stage: int) -> str:
    """Return the name of the input with the matrix that resizes a stage's rows, ``(rows, h)``."""
    return f"rows_{stage}"


def columns_name(stage: int) -> str:
    """Return the name of the input with the matrix that resizes a stage's columns, ``(w, columns)``."""
    return f"columns_{stage}"


FINE_ROWS, FINE_COLUMNS = "rows_fine", "columns_fine"


def describe(architecture: Architecture, dilation: int) -> Described:
    """Return the graph of a network whose adapter is dilated.

    Its inputs are the `PIXELS` of one image, ``(1, 3, H, W)`` in 0…1, and the resizing matrices of every stage; for
    fine descriptors also those from the grid to the early stage. Its outputs are the `FEATURES`
    ``(1, C, rows, columns)`` and the `FINE` descriptors ``(1, D, h, w)``.
    """
    network = _Network(architecture, dilation)
    graph, early = network.graph, network.early()
    features = network.joined(early, BACKBONE)
    if architecture.adapter:
        features = network.adapted(features)
    outputs = {FEATURES: 4}
    if architecture.fine:
        outputs[FINE] = 4
        graph.output(network.fine(early, features), FINE)
    if architecture.shares is not None:
        features = network.gated(features, network.joined(early, UNTOUCHED), architecture.shares)
    graph.output(features, FEATURES)
    inputs = {PIXELS: 4}
    for stage in architecture.stages:
        inputs |= {rows_name(stage): 2, columns_name(stage): 2}
    if architecture.fine:
        inputs |= {FINE_ROWS: 2, FINE_COLUMNS: 2}
    return Described(graph.serialise(inputs, outputs), dict(graph.external))


@dataclass
class _Network:
    architecture: Architecture
    dilation: int
    graph: Graph = field(default_factory=Graph)

    def _number(self, *values: float) -> str:
        return self.graph.constant(np.array(values, np.float32).reshape(1, -1, 1, 1))

    def _shape(self, *sizes: int) -> str:
        return self.graph.constant(np.array(sizes, np.int64))

    def _convolve(self, x: str, name: str, shape: tuple[int, ...], **how: Value) -> str:
        """Convolve with a weight ``(outside, inside / groups, kernel, kernel)`` and a bias."""
        weight = self.graph.weight(f"{name}.weight", shape)
        bias = self.graph.weight(f"{name}.bias", shape[:1])
        return self.graph.add("Conv", x, weight, bias, kernel_shape=shape[2:], **how)

    def _same(self, x: str, name: str, shape: tuple[int, ...], stride: int, groups: int = 1) -> str:
        """Convolve as TensorFlow does: output sizes are size / stride, rounded up; then ReLU6."""
        strides = (stride, stride)
        return self._relu6(self._convolve(x, name, shape, strides=strides, group=groups, auto_pad="SAME_UPPER"))

    def _relu6(self, x: str) -> str:
        low, high = (self.graph.constant(np.array(value, np.float32)) for value in (0, 6))
        return self.graph.add("Clip", x, low, high)

    def _block(self, x: str, name: str, block: Block) -> str:
        inside, outside, kernel, stride, expansion = block
        middle = inside * expansion
        inner, last = x, f"{name}.conv_pw"
        if expansion > 1:
            inner = self._relu6(self._convolve(x, f"{name}.conv_pw", (middle, inside, 1, 1)))
            last = f"{name}.conv_pwl"
        inner = self._same(inner, f"{name}.conv_dw", (middle, 1, kernel, kernel), stride, middle)
        y = self._convolve(inner, last, (outside, middle, 1, 1))
        return self.graph.add("Add", y, x) if block.residual else y

    def _group(self, x: str, prefix: str, index: int) -> str:
        for number, block in enumerate(groups_of(self.architecture.name)[index]):
            x = self._block(x, f"{prefix}blocks.{index}.{number}", block)
        return x

    @property
    def _last(self) -> int:
        """The last group of blocks that is needed."""
        return LAST_OF_STAGE[self.architecture.stages[-1]]

    def early(self) -> dict[int, str]:
        """Compute the early groups of blocks: group to its output."""
        scaled = self.graph.add("Sub", PIXELS, self._number(*MEAN))
        scaled = self.graph.add("Div", scaled, self._number(*DEVIATION))
        x, found = self._same(scaled, f"{BACKBONE}conv_stem", (STEM, 3, 3, 3), 2), {}
        for index in range(min(EARLY_BLOCKS, self._last + 1)):
            x = found[index] = self._group(x, BACKBONE, index)
        return found

    def joined(self, early: dict[int, str], prefix: str) -> str:
        """Compute the later groups of blocks, and join the stages on the grid."""
        found = dict(early)
        for index in range(EARLY_BLOCKS, self._last + 1):
            found[index] = self._group(found[index - 1], prefix, index)
        resized = [
            self._unit(self._resized(self._unit(found[LAST_OF_STAGE[stage]]), rows_name(stage), columns_name(stage)))
            for stage in self.architecture.stages
        ]
        return self._unit(self.graph.add("Concat", *resized, axis=1))

    def _resized(self, x: str, rows: str, columns: str) -> str:
        return self.graph.add("MatMul", self.graph.add("MatMul", rows, x), columns)

    def _unit(self, x: str) -> str:
        """L2-normalise over the channels."""
        norm = self.graph.add("ReduceL2", x, axes=(1,), keepdims=1)
        return self.graph.add("Div", x, self.graph.add("Max", norm, self._number(_TINY)))

    def _norm(self, x: str, name: str, channels: int) -> str:
        """Normalise over all channels and cells: a group norm with one group."""
        one, zero = (self.graph.constant(np.full(1, value, np.float32)) for value in (1, 0))
        flat = self.graph.add("Reshape", x, self._shape(1, 1, -1))
        mean = self.graph.add("InstanceNormalization", flat, one, zero)
        again = self.graph.add("Reshape", mean, self.graph.add("Shape", x))
        weight, bias = (self.graph.weight(f"{name}.{of}", (1, channels, 1, 1)) for of in ("weight", "bias"))
        return self.graph.add("Add", self.graph.add("Mul", again, weight), bias)

    def _relu(self, x: str) -> str:
        return self.graph.add("Relu", x)

    def adapted(self, features: str) -> str:
        """Compute what `semcorr.features.adapter.Adapter` does."""
        channels, width = self.architecture.channels, self.architecture.adapter
        scale, around = self._number(channels**0.5), (self.dilation,)
        inner = self._convolve(self.graph.add("Mul", features, scale), f"{ADAPTER}enter", (width, channels, 1, 1))
        inner = self._relu(self._norm(inner, f"{ADAPTER}norms.0", width))
        for number, layer in enumerate(("first", "second"), start=1):
            spread = self._convolve(
                inner, f"{ADAPTER}{layer}", (width, width, 3, 3), dilations=around * 2, pads=around * 4
            )
            added = self._relu(self._norm(spread, f"{ADAPTER}norms.{number}", width))
            inner = self.graph.add("Add", inner, added)
        left = self._convolve(inner, f"{ADAPTER}leave", (channels, width, 1, 1))
        return self._unit(self.graph.add("Add", features, self.graph.add("Div", left, scale)))

    def fine(self, early: dict[int, str], features: str) -> str:
        """Compute what `semcorr.features.fine.FineDescriptors` does."""
        width, deep = self.architecture.fine, self.architecture.channels
        channels = groups_of(self.architecture.name)[EARLY_BLOCKS - 1][-1].outside
        scaled = self.graph.add("Mul", features, self._number(deep**0.5))
        context = self._convolve(scaled, f"{DESCRIPTORS}from_deep", (width, deep, 1, 1))
        context = self._resized(context, FINE_ROWS, FINE_COLUMNS)
        values = self._norm(early[EARLY_BLOCKS - 1], f"{DESCRIPTORS}norm", channels)
        values = self._convolve(values, f"{DESCRIPTORS}from_early", (width, channels, 3, 3), pads=(1, 1, 1, 1))
        values = self._norm(self.graph.add("Add", values, context), f"{DESCRIPTORS}norms.0", width)
        values = self._relu(values)
        inner = self._convolve(values, f"{DESCRIPTORS}inner", (width, width, 3, 3), pads=(1, 1, 1, 1))
        inner = self._relu(self._norm(inner, f"{DESCRIPTORS}norms.1", width))
        values = self.graph.add("Add", values, inner)
        return self._unit(self._convolve(values, f"{DESCRIPTORS}leave", (width, width, 1, 1)))

    def gated(self, tuned: str, untouched: str, shares: tuple[float, float]) -> str:
        """Compute what `semcorr.features.untouched` does."""
        least, most = shares
        mean = self.graph.add("ReduceMean", untouched, axes=(2, 3), keepdims=1)
        familiar = self._convolve(mean, f"{GATE}familiar", (1, self.architecture.channels, 1, 1))
        familiar = self.graph.add("Mul", self.graph.add("Sigmoid", familiar), self._number(most - least))
        share = self.graph.add("Add", familiar, self._number(least))
        rest = self.graph.add("Sub", self._number(1), share)
        parts = [
            self.graph.add("Mul", part, self.graph.add("Sqrt", of)) for part, of in ((tuned, share), (untouched, rest))
        ]
        return self.graph.add("Concat", *parts, axis=1)
