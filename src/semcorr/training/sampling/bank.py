"""The feature bank: what the frozen part of a network makes of each view, computed once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semcorr.features import FeatureExtractor
from semcorr.files import replacing
from semcorr.geometry import Size, unit_to_cells
from semcorr.training.backbone import Backbone
from semcorr.training.objectives.joint import Picture, of_one_size
from semcorr.training.objectives.proxy import Example
from semcorr.training.sampling.ahead import Read
from semcorr.training.sampling.views import KeypointView, View, ViewPair


class FeatureBank:
    """Whatever does not change during training, computed once for each view and kept in half precision.

    Args:
        extractor: The extractor.
        folder: Folder for keeping it on disk; None keeps it in memory only.
        backbone: The backbone, if it learns: the output of its frozen part is kept. None keeps the features.
        capacity: Bytes kept in memory; what was used longest ago is dropped.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        folder: Path | None = None,
        backbone: Backbone | None = None,
        capacity: int = 4 << 30,
    ) -> None:
        self.extractor, self.backbone, self.capacity = extractor, backbone, capacity
        kept = repr(extractor.options) + ("" if backbone is None else f" {backbone.cut.modules} modules")
        name = hashlib.sha256(kept.encode()).hexdigest()[:16]
        self.folder = folder and folder / f"{extractor.options.backbone}-{name}"
        self._held: OrderedDict[View, Tensor] = OrderedDict()
        self._bytes = 0

    def features(self, view: View) -> Tensor:
        """Return a view's features ``(C, rows, columns)``, or the output of the frozen part; float32, on the device."""
        if view not in self._held:
            self._held[view] = values = self._read_or_compute(view)
            self._bytes += values.nbytes
            while self._bytes > self.capacity and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        self._held.move_to_end(view)
        return self._held[view].to(self.extractor.device).float()

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
        return _picture(kept, self._grid(seen.view, kept), seen)

    def pictures(self, groups: Sequence[Sequence[Read]]) -> list[list[Picture]]:
        """Return the features and keypoints of groups of prefetched pictures, without caching them."""

        def grid_of(read: Read) -> Size:
            return self.extractor.grid(read.seen.view.size)

        def compute(alike: list[Read]) -> list[Picture]:
            images = torch.stack([read.image for read in alike]).to(self.extractor.device).float()
            grid = grid_of(alike[0])
            if self.backbone is None:
                kept = self.extractor(images, grid)
            else:
                kept = self.backbone.keep(self.extractor.normalised(images)).float()
            return [_picture(values, grid, read.seen) for values, read in zip(kept, alike, strict=True)]

        return of_one_size(groups, lambda read: (*read.image.shape, *grid_of(read)), compute)

    def _grid(self, view: View, kept: Tensor) -> Size:
        return (kept.shape[1], kept.shape[2]) if self.backbone is None else self.extractor.grid(view.size)

    def _read_or_compute(self, view: View) -> Tensor:
        if self.folder is None:
            return self._compute(view)
        status = view.path.stat()  # another picture of that name is another picture
        file = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:8]
        kind = f"{'m' if view.mirrored else ''}{view.draw}"
        path = self.folder / f"{view.path.parent.name}-{view.path.stem}-{file}-{kind}.npy"
        if path.exists():
            return torch.from_numpy(np.load(path))
        features = self._compute(view)
        with replacing(path) as part, part.open("wb") as opened:  # other runs may share the folder
            np.save(opened, features.numpy())
        return features

    def _compute(self, view: View) -> Tensor:
        if self.backbone is not None:
            return self.backbone.keep(self.extractor.pixels(view.picture()))[0].half().cpu()
        features: Tensor = self.extractor.encode([view.picture()]).tensor[0]
        return features.half().cpu()


def _picture(kept: Tensor, grid: Size, seen: KeypointView) -> Picture:
    cells = _cells(tuple(seen.points.values()), grid).tolist()
    return Picture(kept, grid, dict(zip(seen.points, map(tuple, cells), strict=True)))


def _cells(points: tuple[tuple[float, float], ...], grid: Size) -> Tensor:
    return unit_to_cells(torch.tensor(points, dtype=torch.float32).reshape(-1, 2), grid)
