"""The judge of `semcorr.matchers.evidence`, in torch operations that can be exported."""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcorr.matchers.dense.scores import CellMatches
from semcorr.matchers.evidence import BETTER, FAR, SUREST, Judge


class Verdict(NamedTuple):
    """What the judge says of a pair; see `semcorr.matchers.evidence.Verdict`.

    Attributes:
        confidence: Of the source's cells ``(hs, ws)`` and the target's ``(ht, wt)``.
        visibility: Of both.
        similarity: ``()``.
    """

    confidence: tuple[Tensor, Tensor]
    visibility: tuple[Tensor, Tensor]
    similarity: Tensor


class TensorJudge(nn.Module):
    """Judges one pair as a `Judge` does.

    Args:
        judge: Its parameters.
        tuned: How many channels of the features, the first ones, are tuned.
    """

    mean: Tensor
    scale: Tensor
    enter_evidence: Tensor
    enter_cell: Tensor
    enter_match: Tensor
    enter_bias: Tensor
    leave: Tensor
    leave_bias: Tensor
    kind_mean: Tensor
    kind: Tensor
    pair: Tensor

    def __init__(self, judge: Judge, tuned: int) -> None:
        super().__init__()
        self.tuned = tuned
        for field in fields(judge):
            self.register_buffer(field.name, torch.from_numpy(getattr(judge, field.name)).clone())

    def forward(self, source: Tensor, target: Tensor, forward: CellMatches, backward: CellMatches) -> Verdict:
        """Judge features ``(C, h, w)`` and the matches of their cells, batches of one."""
        pictures = source, target
        nearest = _nearest(forward.cells[0], target), _nearest(backward.cells[0], source)
        cosines = self._cosines(source, target, *nearest[0]), self._cosines(target, source, *nearest[1])
        confidence, visibility, means = [], [], []
        for way, other_way, side in ((forward, backward, 0), (backward, forward, 1)):
            own, other, (x, y) = pictures[side], pictures[1 - side], nearest[side]
            peak = way.peak[0].clamp(SUREST, 1 - SUREST)
            returned = _at(other_way.cells[0].movedim(2, 0), x, y).movedim(0, 2) + way.cells[0]
            start = torch.stack([x, y], dim=2) + _places(own)
            round_trip = (returned - start).norm(dim=2).clamp(max=FAR)
            rival = _at(cosines[1 - side][0][None], x, y)[0] - cosines[side][0]
            columns = [*cosines[side], (peak / (1 - peak)).log(), round_trip, _roughness(way.cells[0]), rival]
            evidence = (torch.stack(columns, dim=2) - self.mean) * self.scale
            views = self._view(own, self.enter_cell), _at(self._view(other, self.enter_match).movedim(2, 0), x, y)
            entered = evidence @ self.enter_evidence + views[0] + views[1].movedim(0, 2) + self.enter_bias
            seen, right = _sigmoid(entered.relu() @ self.leave + self.leave_bias).unbind(dim=2)
            visibility.append(seen)
            confidence.append(right)
            rows = evidence.flatten(0, 1)
            means.append(torch.cat([rows.mean(dim=0), _better(rows)]))
        alike = (self._kind(source) * self._kind(target)).sum()
        known = torch.cat([(means[0] + means[1]) / 2, alike[None]])
        similarity = _sigmoid((known * self.pair[:-1]).sum() + self.pair[-1])
        return Verdict((confidence[0], confidence[1]), (visibility[0], visibility[1]), similarity)

    def _cosines(self, source: Tensor, target: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
        a = source[: self.tuned], source[self.tuned :]
        matched = _at(target[: self.tuned], x, y), _at(target[self.tuned :], x, y)
        products = [(one * other).sum(dim=0) for one, other in zip(a, matched, strict=True)]
        norms = [(one**2).sum(dim=0) * (other**2).sum(dim=0) for one, other in zip(a, matched, strict=True)]
        cosines = [product / norm.sqrt().clamp(min=1e-9) for product, norm in zip(products, norms, strict=True)]
        if len(source) == self.tuned:  # there are no untouched features
            return [products[0], cosines[0], cosines[0]]
        return [products[0] + products[1], *cosines]

    def _view(self, features: Tensor, weights: Tensor) -> Tensor:
        tuned = features[: self.tuned]
        view: Tensor = (tuned / _norm(tuned)).movedim(0, 2) @ weights
        return view

    def _kind(self, features: Tensor) -> Tensor:
        untouched = features[self.tuned :]
        mean = (untouched / _norm(untouched)).mean(dim=(1, 2))
        kind = ((mean - self.kind_mean)[:, None] * self.kind).sum(dim=0)
        return kind / _norm(kind)


def _norm(values: Tensor) -> Tensor:
    norm: Tensor = (values**2).sum(dim=0).sqrt()
    return norm.clamp(min=1e-9)


def _nearest(cells: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    height, width = other.shape[1:]
    nearest = cells.round().long()
    return nearest[..., 0].clamp(0, width - 1), nearest[..., 1].clamp(0, height - 1)


def _at(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Read ``(C, h', w')`` at places ``(h, w)`` of it: ``(C, h, w)``."""
    return values.flatten(1)[:, y * values.shape[2] + x]


def _places(features: Tensor) -> Tensor:
    """Return (x, y) of the cells of ``(C, h, w)``: ``(h, w, 2)``."""
    height, width = features.shape[1:]
    rows, columns = torch.arange(height, device=features.device), torch.arange(width, device=features.device)
    return torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=2)


def _roughness(cells: Tensor) -> Tensor:
    total, count = torch.zeros_like(cells[..., 0]), torch.zeros_like(cells[..., 0])
    for axis in (0, 1):
        step = torch.ones(2, device=cells.device)
        step[axis] = 0
        far = (cells.diff(dim=axis) - step).norm(dim=2).clamp(max=FAR)
        for pad in ((0, 1), (1, 0)):
            sides = (0, 0, *pad) if axis == 0 else (*pad, 0, 0)
            total = total + F.pad(far, sides)
            count = count + F.pad(torch.ones_like(far), sides)
    return total / count.clamp(min=1)


def _better(rows: Tensor) -> Tensor:
    """Return the upper quantile of each column of ``(N, K)``, which ``torch.quantile`` would not export."""
    numbers = torch.arange(rows.shape[0], device=rows.device)
    shares = (1 - (numbers - BETTER * numbers[-1:]).abs()).clamp(min=0)
    return (rows.sort(dim=0).values * shares[:, None]).sum(dim=0)


def _sigmoid(values: Tensor) -> Tensor:
    return values.clamp(-30, 30).sigmoid()
