"""Match two images with an exported model, using onnxruntime, NumPy and Pillow but not torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcorr.errors import ModelError, SemcorrError
from semcorr.files import one_line
from semcorr.geometry import Size, grid_for, unit_to_pixels
from semcorr.image import ImageLike, file_of, is_blank, load_image, resize
from semcorr.match.correct import Correction, correct_match
from semcorr.match.result import Match
from semcorr.match.types import Field
from semcorr.settings import default_errors

FORMAT = 2
"""Version of the graph's inputs, outputs and metadata; `load` accepts no other."""

METADATA = "semcorr"
"""Key of the metadata entry, a JSON object: ``format``, ``model``, ``cells``, ``stride``, ``plain_interpolation``, and
``refinement``, which is null or holds the values of `semcorr.match.correct.Correction`."""


@dataclass(frozen=True, eq=False, repr=False)
class ExportedMatcher:
    """A model loaded from an ONNX file; `match` is that of `semcorr.models.matcher.Matcher`.

    Attributes:
        name: The model's name.
        cells: Images are divided into about ``cells²`` cells.
        stride: Height and width of a cell, in pixels of the network's input.
        plain_interpolation: See `semcorr.match.result.Match`.
        correction: How fine descriptors correct the matches; None if the model has none.
        session: The open ``onnxruntime.InferenceSession``.
    """

    name: str
    cells: int
    stride: int
    plain_interpolation: bool
    correction: Correction | None
    session: Any

    def __repr__(self) -> str:
        return f"ExportedMatcher({self.name!r}, cells={self.cells})"

    @default_errors
    def match(self, source: ImageLike, target: ImageLike) -> Match:
        """Find the corresponding target point of every source point, and the reverse.

        Args:
            source: A path, PIL image or ``(H, W, 3)`` uint8 array.
            target: Likewise.

        Returns:
            The match. If either image has a single colour, every confidence is zero.

        Raises:
            ImageError: If an image cannot be used; the message says why.
            FileNotFoundError: If a file does not exist.
            ModelError: If the model's outputs are not those of an exported model.
            SemcorrError: If onnxruntime fails, for example because memory cannot be allocated.
        """
        a, b = load_image(source), load_image(target)
        try:
            outputs = self.session.run(None, {"source": self._input(a), "target": self._input(b)})
        except Exception as error:  # onnxruntime's errors have no public base class
            raise SemcorrError(f"onnxruntime cannot match these images: {one_line(error)}") from error
        blank = is_blank(a) or is_blank(b)
        _check_outputs(outputs, 4 if self.correction is None else 6)
        forward, forward_confidence, backward, backward_confidence, *fine = outputs
        match = Match(
            a,
            b,
            _field(forward, forward_confidence, b.shape[:2], blank),
            _field(backward, backward_confidence, a.shape[:2], blank),
            self.name,
            self.plain_interpolation,
            files=tuple(file for file in (file_of(source), file_of(target)) if file is not None),
        )
        return match if self.correction is None else correct_match(match, fine[0][0], fine[1][0], self.correction)

    def _input(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows, columns = grid_for((image.shape[0], image.shape[1]), self.cells)
        return resize(image, (rows * self.stride, columns * self.stride))[None]


def load(path: str | os.PathLike[str], threads: int | None = None) -> ExportedMatcher:
    """Load a model written by `semcorr export`.

    Args:
        path: The ``.onnx`` file.
        threads: Number of threads that onnxruntime uses within an operation; None leaves the choice to it.

    Raises:
        ModelError: If the file is missing, broken or not an exported model of this format version.
        SemcorrError: If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise SemcorrError("--runtime onnx needs onnxruntime: pip install 'semcorr[onnx]'") from error
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no model file found at {path}: create one with `semcorr export --out {path}`")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are reported by the exceptions
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no public base class
        raise ModelError(f"{path} is not a readable ONNX file: {one_line(error)}") from error
    return _from_session(session, path)


def _from_session(session: Any, path: Path) -> ExportedMatcher:
    try:
        metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        version = int(metadata["format"])
        if version == FORMAT:
            return ExportedMatcher(
                str(metadata["model"]),
                int(metadata["cells"]),
                int(metadata["stride"]),
                bool(metadata["plain_interpolation"]),
                metadata["refinement"] and Correction(**metadata["refinement"]),
                session,
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} was not written by `semcorr export`: it lacks semcorr's metadata") from error
    raise ModelError(f"{path} has format {version}, but this semcorr reads {FORMAT}: export the model again")


def _check_outputs(outputs: list[Any], count: int) -> None:
    """Reject outputs that are not float32 arrays of the shapes that `semcorr.onnx.export` gives them."""
    floats = all(isinstance(output, np.ndarray) and output.dtype == np.float32 for output in outputs)
    if not floats or len(outputs) != count or not all(np.isfinite(output).all() for output in outputs):
        raise ModelError(f"the model does not return {count} arrays of finite numbers: export it again")
    for points, confidence in (outputs[0:2], outputs[2:4]):
        if points.ndim != 4 or points.shape != (1, *confidence.shape[1:], 2) or not points.size:
            shapes = f"{points.shape} and {confidence.shape}"
            raise ModelError(f"the model returns points and confidences of shapes {shapes}: export it again")
    for fine in outputs[4:]:
        if fine.ndim != 4 or fine.shape[:2] != (1, outputs[4].shape[1]) or not fine.size:
            raise ModelError(f"the model returns fine descriptors of shape {fine.shape}: export it again")


def _field(points: NDArray[np.float32], confidence: NDArray[np.float32], size: Size, blank: bool) -> Field:
    """Convert one direction from the graph's output, whose points ``(1, rows, columns, 2)`` are in the unit square."""
    return Field(unit_to_pixels(points[0], size), np.zeros_like(confidence[0]) if blank else confidence[0])
