"""The feature bank: what the frozen part of a network makes of each view, computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semcorr.features import FeatureExtractor
from semcorr.files import replacing
from semcorr.geometry import Size, unit_to_cells
from semcorr.training.objectives.joint import Picture
from semcorr.training.objectives.proxy import Example
from semcorr.training.sampling.views import KeypointView, View, ViewPair


class FeatureBank:
    """Whatever does not change during training, computed once for each view and kept in half precision.

    Args:
        extractor: The backbone.
        folder: Folder for keeping it on disk, half a megabyte a view, or, with fewer than three frozen blocks, up to
            five times that; None keeps it in memory only.
        capacity: Views kept in memory; the least recently used one is dropped.
        blocks: Number of frozen blocks of the backbone, whose output is kept; None keeps the features.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        folder: Path | None = None,
        capacity: int = 8_000,
        blocks: int | None = None,
    ) -> None:
        self.extractor, self.blocks = extractor, blocks
        kept = repr(extractor.options) + ("" if blocks is None else f" {blocks} blocks")
        name = hashlib.sha256(kept.encode()).hexdigest()[:16]
        self.folder = folder and folder / f"{extractor.options.backbone}-{name}"
        self._features: Callable[[View], Tensor] = lru_cache(maxsize=capacity)(self._read_or_compute)

    def features(self, view: View) -> Tensor:
        """Return a view's features ``(C, rows, columns)``, or the output of the frozen blocks; float32."""
        return self._features(view).float()

    def example(self, pair: ViewPair) -> Example:
        """Return the features and keypoints of a pair."""
        source, target = self.features(pair.source), self.features(pair.target)
        grids = self._grid(pair.source, source), self._grid(pair.target, target)
        source_cells, target_cells = _cells(pair.source_points, grids[0]), _cells(pair.target_points, grids[1])
        negative = None
        if pair.negative is not None:
            other = self.features(pair.negative)
            negative = other, self._grid(pair.negative, other)
        return Example(source, target, source_cells.to(source.device), target_cells.to(target.device), grids, negative)

    def picture(self, seen: KeypointView) -> Picture:
        """Return the features and keypoints of one picture of a group."""
        kept = self.features(seen.view)
        grid = self._grid(seen.view, kept)
        cells = _cells(tuple(seen.points.values()), grid).tolist()
        return Picture(kept, grid, dict(zip(seen.points, map(tuple, cells), strict=True)))

    def _grid(self, view: View, kept: Tensor) -> Size:
        return (kept.shape[1], kept.shape[2]) if self.blocks is None else self.extractor.grid(view.size)

    def _read_or_compute(self, view: View) -> Tensor:
        if self.folder is None:
            return self._compute(view)
        kind = f"{'m' if view.mirrored else ''}{view.draw}"
        path = self.folder / f"{view.path.parent.name}-{view.path.stem}-{kind}.npy"
        if path.exists():
            return torch.from_numpy(np.load(path)).to(self.extractor.device)
        features = self._compute(view)
        with replacing(path) as part, part.open("wb") as file:  # other runs may share the folder
            np.save(file, features.cpu().numpy())
        return features

    def _compute(self, view: View) -> Tensor:
        if self.blocks is not None:
            return self.extractor.stem(view.picture(), self.blocks).half()
        return self.extractor.encode([view.picture()]).tensor[0].half()


def _cells(points: tuple[tuple[float, float], ...], grid: Size) -> Tensor:
    return unit_to_cells(torch.tensor(points, dtype=torch.float32).reshape(-1, 2), grid)
