"""semcorr as a model of vismatch (image-matching-models), a wrapper of many image-matching models.

Put this file into its folder ``im_models`` as it is, and name the class where the models are listed; or use it alone:

    matcher = SemcorrMatcher()
    result = matcher("cat.jpg", "dog.jpg")
    result["matched_kpts0"], result["matched_kpts1"], result["matched_confidences"]
"""

from __future__ import annotations

from typing import Any

from vismatch import BaseMatcher

import semcorr
from semcorr.match.wrapper import to_wrapper


class SemcorrMatcher(BaseMatcher):
    """Semantic correspondence by PatchMatch-based neighbourhood consensus."""

    def __init__(self, device: str = "cpu", max_num_keypoints: int = 200, model: str = "pmnc", **kwargs: Any) -> None:
        super().__init__(device, **kwargs)
        self.count = max_num_keypoints
        self.model = semcorr.load(model, device=device)

    def _forward(self, img0: Any, img1: Any) -> tuple[Any, ...]:
        found = to_wrapper(self.model.match(img0, img1), self.count)
        return found["matched_kpts0"], found["matched_kpts1"], None, None, None, None, found["scores"]
