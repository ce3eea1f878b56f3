"""Feature extraction without torch: `FeatureExtractor` for the package's own network, on the CPU, in float32."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from importlib import import_module
from threading import Lock
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from semcorr.errors import ModelError, SemcorrError
from semcorr.features.architecture import EPS
from semcorr.features.feature_map import FeatureMap
from semcorr.features.light.network import (
    ADAPTER,
    BACKBONE,
    FEATURES,
    FINE,
    FINE_COLUMNS,
    FINE_ROWS,
    GATE,
    PIXELS,
    Architecture,
    columns_name,
    describe,
    rows_name,
)
from semcorr.features.options import FeatureOptions, network_size, scaled
from semcorr.files import one_line
from semcorr.geometry import Size, grid_for
from semcorr.image import resize
from semcorr.threads import thread_count

Floats = NDArray[np.float32]

_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_ERRORS_ONLY = 4  # what ONNX Runtime logs; exceptions say the rest


class LightExtractor:
    """Compute feature maps of images in ONNX Runtime.

    Args:
        options: The image size and the grid.
        architecture: What the network is made of.
        weights: Its weights, all batch norms folded, with the names that `semcorr.features.light.network` gives them.
        trained_grid: Cells along each side of the grid that an adapter was trained on.
        comparison: Sharpness and spread of `semcorr.match.correct.Correction`, if there are fine descriptors.

    Attributes:
        channels: Number of channels of the backbone's stages.
        width: Number of channels C of the features; twice as many where untouched features are joined.
        stride: The input's height and width are multiples of it.

    Raises:
        ModelError: If a weight is missing or does not fit.
    """

    def __init__(
        self,
        options: FeatureOptions,
        architecture: Architecture,
        weights: Mapping[str, Floats],
        trained_grid: int = 25,
        comparison: tuple[float, float] | None = None,
    ) -> None:
        self.options, self.architecture, self.trained_grid = options, architecture, trained_grid
        self.channels, self.stride = architecture.channels, architecture.stride
        self.width = self.channels * (1 if architecture.shares is None else 2)
        self._comparison = comparison
        self._weights = _fitting(weights, describe(architecture, 1).weights, options.backbone)
        self._without_sessions()

    def _without_sessions(self) -> None:
        self._sessions: dict[tuple[int, int], Any] = {}  # by dilation and number of threads
        self._lock = Lock()
        _extractors.add(self)

    def close_threads(self) -> None:
        """Close the sessions that have threads; they are opened again when they are needed."""
        self._sessions = {key: session for key, session in self._sessions.items() if key[1] == 1}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_sessions", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._without_sessions()

    @cached_property
    def key(self) -> Hashable:
        """Hashable; equal for extractors that compute the same features, in other processes too."""
        digest = hashlib.sha256()
        for name, values in sorted(self._weights.items()):
            digest.update(f"{name} {values.shape}\n".encode())
            digest.update(values.tobytes())
        adapted_from = self.trained_grid if self.architecture.adapter else None
        return ("onnxruntime", replace(self.options, weights=""), self.architecture, adapted_from, digest.hexdigest())

    def comparison(self) -> tuple[float, float] | None:
        """Return how fine descriptors are compared; None if there are none."""
        return self._comparison

    def input_size(self, image_size: Size) -> Size:
        """Return the height and width in pixels that an image is resized to: whole cells of the finest stage."""
        return network_size(image_size, self.options.image_size, self.stride)

    def grid(self, image_size: Size) -> Size:
        """Return the rows and columns of the feature map of an image."""
        return grid_for(image_size, self.options.grid)

    def scaled(self, factor: float) -> LightExtractor:
        """Return this extractor with input size and grid enlarged by a factor; sessions and `key` are shared."""
        other = object.__new__(LightExtractor)
        vars(other).update(vars(self), key=self.key, options=scaled(self.options, factor))
        return other

    def encode(self, image: NDArray[np.uint8]) -> FeatureMap:
        """Compute the features of an image ``(H, W, 3)`` uint8.

        Raises:
            SemcorrError: If ONNX Runtime fails, for example because memory cannot be allocated.
        """
        size = image.shape[0], image.shape[1]
        features, fine = self.describe(resize(image, self.input_size(size)), self.grid(size))
        return FeatureMap(features, (size,), fine)

    def describe(self, pixels: Floats, grid: Size) -> tuple[Floats, Floats | None]:
        """Compute features ``(1, C, rows, columns)``, and fine descriptors ``(1, D, h, w)`` if the model has them.

        Args:
            pixels: ``(3, H, W)`` float32 in 0…1, with H and W from `input_size`.
            grid: Rows and columns of the features.
        """
        sizes = [(pixels.shape[1], pixels.shape[2])]
        for _ in range(5):
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        given = {PIXELS: pixels[None]}
        for stage in self.architecture.stages:
            rows, columns = sizes[stage + 1]
            finer = rows > grid[0]
            given[rows_name(stage)] = resizing(rows, grid[0], finer)
            given[columns_name(stage)] = np.ascontiguousarray(resizing(columns, grid[1], finer).T)
        names = [FEATURES]
        if self.architecture.fine:
            names.append(FINE)
            given[FINE_ROWS] = resizing(grid[0], sizes[3][0], False)
            given[FINE_COLUMNS] = np.ascontiguousarray(resizing(grid[1], sizes[3][1], False).T)
        session = self._session(self._dilation(grid))
        try:
            features, *fine = session.run(names, given)
        except Exception as error:  # ONNX Runtime's errors have no public base class
            raise SemcorrError(f"the features of an image cannot be computed: {one_line(error)}") from error
        return features, fine[0] if fine else None

    def _dilation(self, grid: Size) -> int:
        if not self.architecture.adapter:
            return 1
        return max(1, round(math.sqrt(math.prod(grid)) / self.trained_grid))

    def _session(self, dilation: int) -> Any:
        threads = thread_count()
        session = self._sessions.get((dilation, threads))
        if session is not None:
            return session
        with self._lock:
            session = self._sessions.get((dilation, threads))
            if session is None:
                session = _open(describe(self.architecture, dilation).content, self._weights, threads)
                self._sessions[dilation, threads] = session
            return session


def _open(content: bytes, weights: Mapping[str, Floats], threads: int) -> Any:
    """Create a session whose threads sleep while they wait."""
    onnxruntime = _import_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # an arena keeps the memory of the largest image
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _import_runtime() -> Any:
    """Import ONNX Runtime without its telemetry.

    Recent versions would send events over the network, keep a file in the user's folder, and start a thread that a
    forked child lacks and waits for when it exits. A program that sets the variable itself is left alone.
    """
    added = _NO_TELEMETRY not in os.environ
    if added:
        os.environ[_NO_TELEMETRY] = "1"  # read when it is imported
    try:
        return import_module("onnxruntime")
    finally:
        if added:
            os.environ.pop(_NO_TELEMETRY, None)


_extractors: WeakSet[LightExtractor] = WeakSet()


def _before_fork() -> None:
    """Close sessions with threads: a forked child does not have them, and closing would wait for them there forever."""
    for extractor in list(_extractors):
        extractor.close_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)


def _fitting(weights: Mapping[str, Floats], shapes: Mapping[str, tuple[int, ...]], backbone: str) -> dict[str, Floats]:
    """Return the weights that a graph takes, in its shapes; those of norms and of the gate may lack dimensions of 1."""
    for name, shape in shapes.items():
        if name not in weights or weights[name].squeeze().shape != tuple(size for size in shape if size != 1):
            found = "is missing" if name not in weights else f"has shape {weights[name].shape}; expected {shape}"
            raise ModelError(f"the weights do not fit {backbone!r}: {name} {found}")
    return {
        name: np.ascontiguousarray(weights[name].reshape(shape), dtype=np.float32) for name, shape in shapes.items()
    }


def folded(weights: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Fold the batch norms of an EfficientNet-Lite into the convolutions before them.

    Args:
        weights: With timm's names: ``conv_stem`` and ``bn1``; in each block ``conv_dw`` and ``conv_pw``, and
            ``conv_pwl`` if it expands, and ``bn1`` and so on behind each.

    Returns:
        The weights and biases of the convolutions, float32, with the same names.
    """
    found: dict[str, Floats] = {}
    for name, values in weights.items():
        parent, _, layer = name.removesuffix(".weight").rpartition(".")
        if not layer.startswith("conv"):
            continue
        prefix = f"{parent}." if parent else ""
        order = ("conv_pw", "conv_dw", "conv_pwl") if f"{prefix}conv_pwl.weight" in weights else ("conv_dw", "conv_pw")
        norm = f"{prefix}bn{1 if layer == 'conv_stem' else order.index(layer) + 1}"
        weight, bias, mean, variance = (
            weights[f"{norm}.{of}"].astype(np.float32) for of in ("weight", "bias", "running_mean", "running_var")
        )
        factor = weight / np.sqrt(variance + np.float32(EPS))
        found[name] = values.astype(np.float32) * factor[:, None, None, None]
        found[f"{prefix}{layer}.bias"] = bias - mean * factor
    return found


@lru_cache(maxsize=64)
def resizing(size: int, new: int, antialias: bool) -> Floats:
    """Return the matrix ``(new, size)`` that resizes an axis bilinearly, as ``torch.nn.functional.interpolate`` does.

    Args:
        size: Length of the axis.
        new: Its new length.
        antialias: Whether a shrinking axis is averaged over all that falls on a place.

    >>> resizing(2, 3, False).round(2).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    scale = size / new
    reach = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(new) + 0.5) * scale - 0.5
    if not antialias:
        centres = centres.clip(0, size - 1)
    distances = np.abs(np.arange(size) - centres[:, None])
    weights = np.maximum(1 - distances / reach, 0)
    matrix: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    matrix.flags.writeable = False
    return matrix


__all__ = ["ADAPTER", "BACKBONE", "GATE", "LightExtractor", "folded", "resizing"]
