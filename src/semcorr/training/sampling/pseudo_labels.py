"""Pseudo-labels: points that earlier models matched on photographs without keypoints, as training pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from semcorr.errors import DataError
from semcorr.files import one_line
from semcorr.geometry import Size
from semcorr.training.objectives.joint import MIN_SHARED
from semcorr.training.sampling.augment import STRONG
from semcorr.training.sampling.samplers import MAX_TRIES
from semcorr.training.sampling.views import View, ViewPair


class PseudoLabelSampler:
    """Draw pairs of photographs of the same category, with the points that earlier models matched.

    Args:
        file: A JSON list of ``source`` and ``target``, folder and file, and ``source_points`` and ``target_points``,
            (x, y) in the unit square; ``category`` where it is not the folder.
        photos: Files and their sizes.
        seed: Random seed.
        views: Number of warped views of each photograph; the target is one of them or the photograph itself.
        leave_out: Categories whose pairs are left out.

    Raises:
        DataError: If the file is not such a list, or names photographs that do not exist.
    """

    def __init__(
        self, file: Path, photos: Sequence[tuple[Path, Size]], seed: int, views: int, leave_out: Sequence[str] = ()
    ) -> None:
        self.seed, self.views = seed, views
        self.sizes = {f"{path.parent.name}/{path.name}": (path, size) for path, size in photos}
        try:
            pairs = TypeAdapter(list[_PseudoLabels]).validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{file} holds no pseudo-labels: expected a file of `semcorr data pseudo-labels` ({one_line(error)})"
            ) from None
        self.pairs = [pair for pair in pairs if not pair.categories & {*leave_out}]
        if missing := [name for pair in self.pairs for name in (pair.source, pair.target) if name not in self.sizes]:
            raise DataError(f"{file} names {missing[0]}, which is not among the photographs")
        if not self.pairs:
            raise DataError(f"{file} lists no pairs")

    def draw(self, step: int, index: int) -> ViewPair:
        """Draw pair ``index`` of a step."""
        rng = np.random.default_rng([self.seed, step, index])
        for _ in range(MAX_TRIES):
            pair = self.pairs[int(rng.integers(len(self.pairs)))]
            source_points = torch.tensor(pair.source_points).double()
            (source, source_size), (path, size) = self.sizes[pair.source], self.sizes[pair.target]
            target = View(path, size, draw=int(rng.integers(1 + self.views)), strength=STRONG)
            target_points, inside = target.moved(torch.tensor(pair.target_points).double())
            if inside.sum() >= MIN_SHARED:
                kept = [tuple((x, y) for x, y in points[inside].tolist()) for points in (source_points, target_points)]
                return ViewPair(View(source, source_size), target, kept[0], kept[1])
        raise DataError(
            "no warped photograph keeps its pseudo-labels: make more of them with `semcorr data pseudo-labels --points`"
        )


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class _PseudoLabels:
    source: str
    target: str
    source_points: tuple[tuple[float, float], ...]
    target_points: tuple[tuple[float, float], ...]
    category: str | None = None

    @property
    def categories(self) -> set[str]:
        folders = {Path(name).parent.name for name in (self.source, self.target)}
        return folders if self.category is None else {self.category}

    def __post_init__(self) -> None:
        if len(self.source_points) != len(self.target_points):
            raise ValueError("source_points and target_points must have the same length")
        if len(self.source_points) < MIN_SHARED:
            raise ValueError(f"at least {MIN_SHARED} points are needed")
        if not all(0 <= value <= 1 for point in self.source_points + self.target_points for value in point):
            raise ValueError("points must lie in the unit square, 0 to 1")
