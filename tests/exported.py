"""An exported model in ONNX Runtime, as another program would run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from semcorr.geometry import grid_for, unit_to_pixels
from semcorr.image import load_image, resize
from semcorr.match.correct import Correction, correct_match
from semcorr.match.result import Match
from semcorr.match.types import Field


class Exported:
    """A model written by `semcorr export`."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["semcorr"])

    def match(self, source: Any, target: Any) -> Match:
        a, b = load_image(source), load_image(target)
        outputs = self.session.run(None, {"source": self._input(a), "target": self._input(b)})
        forward, forward_confidence, backward, backward_confidence, *fine = outputs
        fields = (
            Field(unit_to_pixels(points[0], other.shape[:2]), confidence[0])
            for points, confidence, other in ((forward, forward_confidence, b), (backward, backward_confidence, a))
        )
        match = Match(a, b, *fields, self.about["model"], self.about["plain_interpolation"])
        correction = self.about["refinement"]
        return match if correction is None else correct_match(match, fine[0][0], fine[1][0], Correction(**correction))

    def _input(self, image: np.ndarray) -> np.ndarray:
        rows, columns = grid_for(image.shape[:2], self.about["cells"])
        return resize(image, (rows * self.about["stride"], columns * self.about["stride"]))[None]
