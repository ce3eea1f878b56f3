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
        outputs = self.run(a, b)
        fields = []
        for way, other in (("forward", b), ("backward", a)):
            points, seen = unit_to_pixels(outputs[way][0], other.shape[:2]), outputs.get(f"{way}_visibility")
            fields.append(Field(points, outputs[f"{way}_confidence"][0], None if seen is None else seen[0]))
        similarity = float(outputs["similarity"][0]) if "similarity" in outputs else None
        match = Match(a, b, *fields, self.about["model"], self.about["plain_interpolation"], similarity)
        correction = self.about["refinement"]
        if correction is None:
            return match
        fine = outputs["source_fine"][0], outputs["target_fine"][0]
        return correct_match(match, *fine, Correction(**correction))

    def run(self, source: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        answer = self.session.run(None, {"source": self.input_of(source), "target": self.input_of(target)})
        return dict(zip((output.name for output in self.session.get_outputs()), answer, strict=True))

    def input_of(self, image: np.ndarray) -> np.ndarray:
        rows, columns = grid_for(image.shape[:2], self.about["cells"])
        return resize(image, (rows * self.about["stride"], columns * self.about["stride"]))[None]
