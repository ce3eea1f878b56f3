"""Export a model as one ONNX graph: two images in, the matches of both directions and their confidence out.

The iterations of PatchMatch do not suit a graph. The exported `pmnc` scores all pairs of cells instead, and so finds
exactly what PatchMatch searches for: the match with the highest score for each cell.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.errors import ModelError, need_extra
from semcorr.features import FeatureMap
from semcorr.files import one_line, write_bytes
from semcorr.geometry import cells_to_unit
from semcorr.match.correct import Correction
from semcorr.matchers.dense.ancnet import ANCNet
from semcorr.matchers.dense.confidence import rescale
from semcorr.matchers.dense.decode import decode
from semcorr.matchers.dense.judge import TensorJudge
from semcorr.matchers.dense.ncnet import NCNet
from semcorr.matchers.dense.scores import CellMatches
from semcorr.matchers.pmnc.gpu.matcher import PMNC
from semcorr.models.matcher import Matcher

FORMAT = 3
"""Version of the graph's inputs, outputs and metadata."""

METADATA = "semcorr"
"""Key of the metadata entry, a JSON object: ``format``, ``model``, ``cells``, ``stride``, ``plain_interpolation``, and
``refinement``, which is null or holds the values of `semcorr.match.correct.Correction`."""

SIDES = ("source", "target")
FEATURES = ("source_features", "target_features")
FINE = ("source_fine", "target_fine")
OUTPUTS = ("forward", "forward_confidence", "backward", "backward_confidence")
JUDGED = ("forward_visibility", "backward_visibility", "similarity")
_OPSET = 18
_SCORED = 20  # pairs of each cell; the search scores about as many on a grid of 25
_SHORTEST, _LONGEST = 2, 1024  # smallest and largest number of cells along a side that the graph accepts


class FeatureGraph(nn.Module):
    """Maps an image ``(1, 3, H, W)`` to its features ``(1, C, H / stride, W / stride)`` and any fine descriptors."""

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self.features = matcher.features

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Compute features, followed by fine descriptors if the model has them."""
        return tuple(part for part in self.features.describe(picture) if part is not None)


class MatchGraph(nn.Module):
    """Maps the features of two images to the matches of both directions, using only operations that can be exported."""

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self.method, self.grid = matcher.method, (matcher.features.options.grid,) * 2
        self.radius, self.rescaling = matcher.decode_radius, matcher.rescaling
        self.judge = None if matcher.judge is None else TensorJudge(matcher.judge, matcher.features.channels)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Match two feature maps.

        Args:
            source: L2-normalised features ``(1, C, hs, ws)``.
            target: Likewise, ``(1, C, ht, wt)``.

        Returns:
            The match of each source cell, ``(1, hs, ws, 2)`` (x, y) in the unit square of the target, and its
            confidence ``(1, hs, ws)``; then the same for each target cell. With a judge, then the visibility of source
            and target cells, like their confidence, and the similarity ``(1,)``.
        """
        scores = self._scores(source, target)
        forward, backward = decode(scores, self.radius)
        points = _unit(forward.cells, target), _unit(backward.cells, source)
        if self.judge is not None:
            of_source = _peaked(forward, scores.flatten(3))
            of_target = _peaked(backward, scores.permute(0, 3, 4, 1, 2).flatten(3))
            confidence, visibility, similarity = self.judge(source[0], target[0], of_source, of_target)
            parts = points[0], confidence[0][None], points[1], confidence[1][None]
            return *parts, visibility[0][None], visibility[1][None], similarity[None]
        confidence = [
            each if self.rescaling is None else rescale(each, self.rescaling)
            for each in (forward.confidence, backward.confidence)
        ]
        return points[0], confidence[0], points[1], confidence[1]

    def _scores(self, source: Tensor, target: Tensor) -> Tensor:
        if not isinstance(self.method, PMNC):
            return cast(Tensor, self.method(FeatureMap(source, ((1, 1),)), FeatureMap(target, ((1, 1),))))
        return self.method.score_all(source, target, self.method.dilation(self.grid, self.grid), at_once=None)


def _peaked(matches: CellMatches, scores: Tensor) -> CellMatches:
    """Measure how peaked scores ``(1, h, w, N)`` are over as many pairs of each cell as PatchMatch scores.

    The judge has learned from those.
    """
    highest = F.pad(scores, (0, _SCORED), value=-torch.inf).topk(_SCORED, dim=3).values
    peak = matches.peak * (scores.logsumexp(dim=3) - highest.logsumexp(dim=3)).exp()
    return matches._replace(peak=peak.clamp(max=1))


def _unit(cells: Tensor, other: Tensor) -> Tensor:
    return cells_to_unit(cells, (other.shape[2], other.shape[3])).clamp(0, 1)


@torch.no_grad()
def export(matcher: Matcher, path: Path) -> None:
    """Export a matcher, with its weights, as an ONNX file.

    The graph takes the images ``source`` and ``target``, ``(1, 3, H, W)`` float32 in 0…1, whose height and width are
    any multiples of the network's stride. Its `OUTPUTS` are those of `MatchGraph`, followed by the `JUDGED` ones of a
    model that tells visibility and similarity, and the `FINE` descriptors of one that has them, for
    `semcorr.match.correct`.

    Args:
        matcher: The model, on torch and the CPU: from `semcorr.models.torch_loading.load`.
        path: The file, written atomically.

    Raises:
        ModelError: If the matcher cannot be exported: it is `ncnet` or `ancnet`, its grid differs from that of its
            network, it does not compute in float32, or PyTorch fails to export its graph.
        SemcorrError: If ``onnx`` or ``onnxscript`` is not installed.
    """
    need_extra("torch", "onnx", "onnxscript")
    if isinstance(matcher.method, NCNet | ANCNet):
        raise ModelError(
            f"{matcher.name!r} cannot be exported: PyTorch's exporter does not finish with 4-D convolutions; export "
            "'pmnc', 'pmnc-universal' or 'nearest'"
        )
    if matcher.features.precision != "float32":
        raise ModelError(
            f"only float32 models can be exported; got {matcher.features.precision}: load it with precision='float32'"
        )
    stride, cells = matcher.features.stride, matcher.features.options.grid
    if matcher.features.options.image_size != stride * cells:
        raise ModelError(
            f"an exported model has one cell per {stride} × {stride} pixels of its network's input: for a grid of "
            f"{cells} set the image size to {stride * cells}; got {matcher.features.options.image_size}"
        )
    if (
        isinstance(matcher.method, PMNC)
        and matcher.method.votes
        and matcher.method.dilation((cells,) * 2, (cells,) * 2) > 1
    ):
        raise ModelError(
            f"an exported {matcher.name!r} can vote only on grids of the size it was trained on: set the grid to 25"
        )
    channels, fine = matcher.features.width, matcher.features.fine
    picture = torch.rand(1, 3, 22 * stride, 29 * stride)
    maps = tuple(F.normalize(torch.rand(1, channels, *grid), dim=1) for grid in ((22, 29), (27, 23)))
    try:
        with _plain_padding(matcher.features), _quiet():
            features = _graph(
                FeatureGraph(matcher), {"picture": picture}, ("features", "fine") if fine else ("features",), stride
            )
            outputs = OUTPUTS if matcher.judge is None else OUTPUTS + JUDGED
            matching = _graph(MatchGraph(matcher), dict(zip(FEATURES, maps, strict=True)), outputs, 1)
    except Exception as error:  # the exporter raises many kinds of exception
        reason = one_line(error)
        raise ModelError(f"{matcher.name!r} cannot be exported: {reason}") from error
    model = _join(features, matching)
    metadata = {"format": FORMAT, "model": matcher.name, "cells": cells, "stride": stride}
    metadata["plain_interpolation"] = matcher.plain_interpolation
    metadata["refinement"] = fine and asdict(Correction(*fine.comparison()))
    model.metadata_props.add(key=METADATA, value=json.dumps(metadata))
    write_bytes(path, model.SerializeToString())


def _graph(module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], multiple: int) -> Any:
    """Export a module whose inputs ``(1, C, H, W)`` may have any H and W that are multiples of ``multiple``."""
    module.eval()(*inputs.values())  # fills caches, so that they never hold the exporter's fake tensors
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        dynamo=True,
        dynamic_shapes=tuple(_sizes(name, multiple) for name in inputs),
        input_names=list(inputs),
        output_names=outputs,
        opset_version=_OPSET,
        verbose=False,
    )
    assert program is not None  # always the case with dynamo=True
    return program.model_proto


def _name_of(shared: set[str], renamed: dict[str, str], side: str, name: str) -> str:
    return name if name in shared else renamed.get(name, f"{side}/{name}")


def _join(features: Any, matching: Any) -> Any:
    """Join two graphs into one: the features of both images, computed with shared weights, feed the matching."""
    model = type(matching)()
    model.CopyFrom(matching)
    graph, weights = model.graph, {tensor.name for tensor in features.graph.initializer}
    kept = {*OUTPUTS, *JUDGED, *FEATURES, ""}
    described = {output.name: output for output in features.graph.output}
    _rename(graph.node, lambda name: name if name in kept else f"matching/{name}")
    for tensor in graph.initializer:
        tensor.name = f"matching/{tensor.name}"
    del graph.value_info[:], graph.input[:]
    graph.initializer.extend(features.graph.initializer)
    feature_nodes = []
    for side, result, fine in zip(SIDES, FEATURES, FINE, strict=True):
        renamed = {"picture": side, "features": result, "fine": fine, "": ""}
        if "fine" in described:
            output = graph.output.add()
            output.CopyFrom(described["fine"])
            output.name = fine
            for axis, name in ((2, "height"), (3, "width")):
                output.type.tensor_type.shape.dim[axis].dim_param = f"{fine}_{name}"
        picture = graph.input.add()
        picture.CopyFrom(features.graph.input[0])
        picture.name = side
        for axis, name in ((2, "height"), (3, "width")):
            picture.type.tensor_type.shape.dim[axis].dim_param = f"{side}_{name}"
        copies = [type(node).FromString(node.SerializeToString()) for node in features.graph.node]
        _rename(copies, partial(_name_of, weights, renamed, side))
        feature_nodes += copies
    matching_nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(feature_nodes + matching_nodes)
    return model


def _rename(nodes: Any, new_name: Callable[[str], str]) -> None:
    for node in nodes:
        node.name = new_name(node.name)
        node.input[:] = [new_name(name) for name in node.input]
        node.output[:] = [new_name(name) for name in node.output]


def _sizes(name: str, multiple: int) -> dict[int, Any]:
    """Return the symbolic height and width of an input, as multiples of ``multiple``."""
    rows, columns = (torch.export.Dim(f"{name}_{side}", min=_SHORTEST, max=_LONGEST) for side in ("rows", "columns"))
    return {2: multiple * rows, 3: multiple * columns}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress output and its warnings about its own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _plain_padding(network: nn.Module) -> Iterator[None]:
    """Let timm's "same" convolutions compute their padding without a maximum.

    With the maximum, the exporter's symbolic sizes grow with every convolution, until the export does not terminate.
    """
    from timm.layers.conv2d_same import Conv2dSame

    convolutions = [module for module in network.modules() if isinstance(module, Conv2dSame)]
    for module in convolutions:
        if all(_extent(module, axis) >= module.stride[axis] for axis in (0, 1)):
            module.forward = _convolve_same.__get__(module)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in convolutions:
            module.__dict__.pop("forward", None)


def _extent(module: nn.Conv2d, axis: int) -> int:
    return (module.kernel_size[axis] - 1) * module.dilation[axis] + 1


def _convolve_same(module: nn.Conv2d, images: Tensor) -> Tensor:
    """TensorFlow's "same" convolution, for kernels whose extent is at least the stride."""
    padding: list[int] = []
    for axis in (1, 0):
        stride = module.stride[axis]
        total = _extent(module, axis) - stride + (-images.shape[2 + axis]) % stride
        padding += [total // 2, total - total // 2]
    padded = F.pad(images, padding)
    return F.conv2d(padded, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)
