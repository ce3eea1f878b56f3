"""Match two pictures with a model that `semcorr.onnx.export` wrote: onnxruntime, NumPy and Pillow, no torch."""

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
from semcorr.match.refine import Refinement, refine
from semcorr.match.result import Match
from semcorr.match.types import Field
from semcorr.settings import default_errors

FORMAT = 2
"""Version of the graph's inputs, outputs and metadata; `load` refuses others."""

METADATA = "semcorr"
"""Key of the metadata entry, a JSON object: ``format``, ``model``, ``cells``, ``stride``, ``plain_interpolation``, and
``refinement``, null or the values of `semcorr.match.refine.Refinement`."""


@dataclass(frozen=True, eq=False, repr=False)
class ExportedMatcher:
    """A model from a file, used as `semcorr.models.matcher.Matcher` is.

    Attributes:
        name: The model's name.
        cells: A picture gets about ``cells²`` cells.
        stride: Height and width of a cell, in pixels of the picture as the network sees it.
        plain_interpolation: See `semcorr.match.result.Match`.
        refinement: How fine descriptors correct the matches, if the model has them.
        session: The open ``onnxruntime.InferenceSession``.
    """

    name: str
    cells: int
    stride: int
    plain_interpolation: bool
    refinement: Refinement | None
    session: Any

    def __repr__(self) -> str:
        return f"ExportedMatcher({self.name!r}, cells={self.cells})"

    @default_errors
    def match(self, source: ImageLike, target: ImageLike) -> Match:
        """Find for every point of the source the point of the target that means the same, and the reverse.

        Args:
            source: A path, PIL picture or ``(H, W, 3)`` uint8 array.
            target: Likewise.

        Returns:
            The match. With a picture of a single colour, every confidence is zero.

        Raises:
            ImageError: If a picture cannot be used; the message says why.
            FileNotFoundError: If there is no such file.
            SemcorrError: If onnxruntime fails, as for want of memory.
        """
        a, b = load_image(source), load_image(target)
        try:
            outputs = self.session.run(None, {"source": self._input(a), "target": self._input(b)})
        except Exception as error:  # onnxruntime's errors have no public base class
            raise SemcorrError(f"onnxruntime cannot match these pictures: {one_line(error)}") from error
        blank = is_blank(a) or is_blank(b)
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
        return match if self.refinement is None else refine(match, fine[0][0], fine[1][0], self.refinement)

    def _input(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows, columns = grid_for((image.shape[0], image.shape[1]), self.cells)
        return resize(image, (rows * self.stride, columns * self.stride))[None]


def load(path: str | os.PathLike[str], threads: int | None = None) -> ExportedMatcher:
    """Open a model that `semcorr export` wrote.

    Args:
        path: The ``.onnx`` file.
        threads: How many onnxruntime may use; None leaves it the choice.

    Raises:
        ModelError: If the file is missing, broken or not an exported model of this version.
        SemcorrError: If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise SemcorrError("--runtime onnx needs onnxruntime: pip install 'semcorr[onnx]'") from error
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelError(f"no model file at {path}: write one with `semcorr export --out {path}`")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is said in the error
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no public base class
        raise ModelError(f"{path} is not a readable ONNX file: {one_line(error)}") from error
    return _opened(session, path)


def _opened(session: Any, path: Path) -> ExportedMatcher:
    try:
        about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        version = int(about["format"])
        if version == FORMAT:
            return ExportedMatcher(
                str(about["model"]),
                int(about["cells"]),
                int(about["stride"]),
                bool(about["plain_interpolation"]),
                about["refinement"] and Refinement(**about["refinement"]),
                session,
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} was not written by `semcorr export`: its metadata say nothing of semcorr") from error
    raise ModelError(f"{path} has format {version}, this semcorr reads {FORMAT}: export the model again")


def _field(points: NDArray[np.float32], confidence: NDArray[np.float32], size: Size, blank: bool) -> Field:
    """Take one direction out of its batch of one; its points ``(1, rows, columns, 2)`` are in the unit square."""
    return Field(unit_to_pixels(points[0], size), np.zeros_like(confidence[0]) if blank else confidence[0])
