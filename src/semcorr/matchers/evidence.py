"""What is known about each match once it is decoded, and what that is worth. No torch is needed.

The softmax over the other picture says which of its places is the best; it forgets how good that is. The cosine of the
features at the match remembers. Beside it there are how peaked the scores were, whether the way back ends where the way
there began, whether the cells around moved alike, and whether the place found has a better partner. The `Judge`, a
small network, turns these into two probabilities: that the other picture shows the point at all, and, if so, that its
match is right. It also reads the tuned features of both cells: some parts are hidden, or mistaken for others, more
often than most. With the kind of thing that both pictures show as a whole, it tells whether they show the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcorr.matchers.correlation import multiply

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

NAMES = (
    "cosine",  # of the joined features at the match
    "tuned cosine",  # of the tuned features alone
    "untouched cosine",  # of the untouched ones alone
    "peak",  # log-odds of the probability around the best cell
    "round trip",  # how far there and back ends from the start, in cells
    "roughness",  # how far the four neighbours' matches are from moving alike, in cells
    "rival",  # by how much the place found is more like its own match than like the cell, in cosines
)
"""The columns of the evidence."""

FAR = 6.0  # cells: beyond it, distances count alike
BETTER = 0.8  # the quantile that stands for a pair's better matches
SUREST = 1e-4  # how near to 0 and 1 a peak's probability can come


class Decoded(NamedTuple):
    """One direction of a match on its coarse grid.

    Attributes:
        cells: ``(h, w, 2)`` (x, y) in cells of the other picture.
        peak: ``(h, w)``, the share of probability around the best cell, 0…1.
    """

    cells: Floats
    peak: Floats


def gather_evidence(
    source: Floats, target: Floats, tuned: int, forward: Decoded, backward: Decoded
) -> tuple[Floats, Floats]:
    """List what is known about the match of every cell of both pictures.

    Args:
        source: Features ``(C, hs, ws)``, L2-normalised over C.
        target: Features ``(C, ht, wt)``.
        tuned: How many of the channels, the first ones, are tuned features; C where there are no others.
        forward: The matches of the source cells.
        backward: Those of the target cells.

    Returns:
        ``(hs, ws, len(NAMES))`` and ``(ht, wt, len(NAMES))`` float32. Without untouched features, the tuned ones take
        their column.
    """
    nearest = nearest_cells(forward.cells, target.shape[1:]), nearest_cells(backward.cells, source.shape[1:])
    cosines = _cosines(source, target, tuned, *nearest[0]), _cosines(target, source, tuned, *nearest[1])
    columns = []
    for way, other, (x, y), own, others in (
        (forward, backward, nearest[0], *cosines),
        (backward, forward, nearest[1], *cosines[::-1]),
    ):
        peak = np.clip(way.peak, SUREST, 1 - SUREST)
        rest = np.log(peak / (1 - peak)), _round_trips(way.cells, other.cells, x, y), _roughness(way.cells)
        columns.append(np.stack([*own, *rest, others[0][y, x] - own[0]], axis=2).astype(np.float32))
    return columns[0], columns[1]


def nearest_cells(cells: Floats, grid: tuple[int, ...]) -> tuple[Integers, Integers]:
    """Return column and row of the cell of the other picture that each match is nearest to."""
    x, y = (np.rint(cells[..., axis]).astype(np.int64) for axis in (0, 1))
    return np.clip(x, 0, grid[1] - 1), np.clip(y, 0, grid[0] - 1)


def _cosines(source: Floats, target: Floats, tuned: int, x: Integers, y: Integers) -> list[Floats]:
    """Return the cosines at matches, of all features, of the tuned ones, and of the untouched ones."""
    at_match = target[:, y, x]  # (C, h, w)
    products, cosines = [], []
    for part in (slice(0, tuned), slice(tuned, None)) if tuned < len(source) else (slice(None),):
        a, b = source[part], at_match[part]
        product = np.einsum("chw,chw->hw", a, b)
        norms = np.einsum("chw,chw->hw", a, a) * np.einsum("chw,chw->hw", b, b)
        products.append(product)
        cosines.append(product / np.maximum(np.sqrt(norms), 1e-9))
    return [np.sum(products, axis=0), cosines[0], cosines[-1]]


def _round_trips(forward: Floats, backward: Floats, x: Integers, y: Integers) -> Floats:
    """Return how far from its start each cell's round trip ends, in cells ``(h, w)``, at most `FAR`."""
    returned = backward[y, x] + forward - np.stack([x, y], axis=2)
    start = np.moveaxis(np.indices(x.shape)[::-1], 0, 2)
    far: Floats = np.minimum(np.linalg.norm(returned - start, axis=2), FAR)
    return far


def _roughness(cells: Floats) -> Floats:
    """Return how far the matches of a cell's neighbours are, in the mean, from moving as it does, ``(h, w)``."""
    total, count = np.zeros(cells.shape[:2], np.float32), np.zeros(cells.shape[:2], np.float32)
    for axis in (0, 1):
        steps = np.diff(cells, axis=axis)
        steps[..., 1 - axis] -= 1
        far = np.minimum(np.linalg.norm(steps, axis=2), FAR)
        for part in (slice(1, None), slice(None, -1)):
            index = (part, slice(None)) if axis == 0 else (slice(None), part)
            total[index] += far
            count[index] += 1
    return np.asarray(total / np.maximum(count, 1), dtype=np.float32)


class Views(NamedTuple):
    """What the network reads of a picture's tuned features, ``(h, w, hidden)`` each.

    Attributes:
        of_cell: As the cell whose match is judged.
        of_match: As the place that a match leads to.
    """

    of_cell: Floats
    of_match: Floats


class Verdict(NamedTuple):
    """What the judge says of a pair.

    Attributes:
        confidence: Of the source's cells ``(hs, ws)`` and the target's ``(ht, wt)``: probability that the match is
            right if the other picture shows the point, 0…1.
        visibility: Of both: probability that the other picture shows it, 0…1.
        similarity: Probability that both pictures show the same kind of thing, 0…1.
    """

    confidence: tuple[Floats, Floats]
    visibility: tuple[Floats, Floats]
    similarity: float


@dataclass(frozen=True, eq=False)
class Judge:
    """The network that weighs evidence; all arrays float32.

    K is the number of columns of evidence, T that of tuned channels and C that of untouched ones.

    Attributes:
        mean: Of each column, ``(K,)``; it is taken off.
        scale: What is then multiplied, ``(K,)``.
        enter_evidence: ``(K, hidden)``.
        enter_cell: ``(T, hidden)``, for the L2-normalised tuned features of the cell.
        enter_match: ``(T, hidden)``, for those at its match.
        enter_bias: ``(hidden,)``.
        leave: ``(hidden, 2)``: log-odds that the other picture shows the point, and that its match is right if so.
        leave_bias: ``(2,)``.
        kind_mean: ``(C,)``: of the mean untouched features of pictures; it is taken off.
        kind: ``(C, kinds)``: the directions in which pictures of different kinds of things differ.
        pair: ``(2·K + 2,)``: weights of a pair's mean evidence, of its better evidence and of the cosine of both
            pictures' kinds, and a constant.
    """

    mean: Floats
    scale: Floats
    enter_evidence: Floats
    enter_cell: Floats
    enter_match: Floats
    enter_bias: Floats
    leave: Floats
    leave_bias: Floats
    kind_mean: Floats
    kind: Floats
    pair: Floats

    def check(self, hidden: int) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            ValueError: If the shape of an array does not fit a judge with that many hidden units.
        """
        count, channels = len(NAMES), self.enter_cell.shape[:1]
        shapes: dict[str, tuple[int, ...]] = {"mean": (count,), "scale": (count,), "enter_evidence": (count, hidden)}
        shapes |= {"enter_cell": (*channels, hidden), "enter_match": (*channels, hidden), "enter_bias": (hidden,)}
        shapes |= {"leave": (hidden, 2), "leave_bias": (2,), "pair": (2 * count + 2,), "kind_mean": self.kind.shape[:1]}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"judge.{name} has shape {getattr(self, name).shape}; expected {shape}")

    def of(self, source: Floats, target: Floats, tuned: int, forward: Decoded, backward: Decoded) -> Verdict:
        """Judge a pair; see `gather_evidence` for the arguments."""
        evidence = gather_evidence(source, target, tuned, forward, backward)
        views = self.views(source[:tuned]), self.views(target[:tuned])
        confidence, visibility = [], []
        for own, other, columns, match in ((*views, evidence[0], forward), (*views[::-1], evidence[1], backward)):
            x, y = nearest_cells(match.cells, other.of_match.shape[:2])
            seen, right = self.weigh(columns, own.of_cell, other.of_match[y, x])
            visibility.append(seen)
            confidence.append(right)
        similarity = self.of_pair(*evidence, source[tuned:], target[tuned:])
        return Verdict((confidence[0], confidence[1]), (visibility[0], visibility[1]), similarity)

    def views(self, tuned: Floats) -> Views:
        """Project tuned features ``(T, h, w)``, of any norm, to what the network reads."""
        unit = tuned / np.maximum(np.linalg.norm(tuned, axis=0), 1e-9)
        both = multiply(np.moveaxis(unit, 0, 2), np.concatenate([self.enter_cell, self.enter_match], axis=1))
        return Views(*np.split(both, 2, axis=2))

    def weigh(self, evidence: Floats, of_cell: Floats, of_match: Floats) -> tuple[Floats, Floats]:
        """Return the probability that the other picture shows points, and that their matches are right if it does.

        Args:
            evidence: ``(..., K)``.
            of_cell: ``(..., hidden)`` from `views` of the point's own picture.
            of_match: The same of the other picture, at the match.
        """
        entered = multiply((evidence - self.mean) * self.scale, self.enter_evidence) + self.enter_bias
        inner = np.maximum(entered + of_cell + of_match, 0)
        left = _sigmoid(multiply(inner, self.leave) + self.leave_bias)
        return np.ascontiguousarray(left[..., 0]), np.ascontiguousarray(left[..., 1])

    def of_pair(self, forward: Floats, backward: Floats, source: Floats, target: Floats) -> float:
        """Judge a pair: how probable it is that both pictures show the same kind of thing, 0…1.

        Args:
            forward: Evidence of the source's cells ``(hs, ws, K)``.
            backward: Of the target's.
            source: Untouched features ``(C, hs, ws)``, of any one norm.
            target: Likewise.
        """
        means = [summarise((e - self.mean) * self.scale) for e in (forward, backward)]
        kinds = [self.kind_of(features) for features in (source, target)]
        known = np.concatenate([(means[0] + means[1]) / 2, [kinds[0] @ kinds[1]]])
        return float(_sigmoid(known @ self.pair[:-1] + self.pair[-1]))

    def kind_of(self, features: Floats) -> Floats:
        """Return the kind of thing that untouched features ``(C, h, w)`` show, ``(kinds,)``, of norm 1."""
        norms = np.linalg.norm(features, axis=0)
        kind = ((features / np.maximum(norms, 1e-9)).mean(axis=(1, 2)) - self.kind_mean) @ self.kind
        unit: Floats = kind / max(float(np.linalg.norm(kind)), 1e-9)
        return unit


def summarise(evidence: Floats) -> Floats:
    """Return mean and upper quantile of each column of ``(..., K)``: ``(2·K,)``."""
    rows = evidence.reshape(-1, evidence.shape[-1])
    return np.concatenate([rows.mean(axis=0), np.quantile(rows, BETTER, axis=0)]).astype(np.float32)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))), dtype=np.float32)
