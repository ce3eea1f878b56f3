"""Call the native core with what nobody should give it: odd shapes, NaN, infinities, indices outside, nothing at all.

    python tests/native/fuzz.py 200

Every call must end with an answer whose indices are valid, or with the error that the docstring names. Run by
`test_native.py`, and under the sanitizers by `test_sanitizers.py`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from semcorr.matchers import decode
from semcorr.matchers.pmnc.matcher import PatchMatcher
from semcorr.matchers.pmnc.scoring import Scoring
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.native import functions, points
from semcorr.native.structures import Layers, Maps

STRANGE = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, 0, -0.0], np.float32)


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return random numbers, in half of the calls with some strange ones among them, or only such."""
    values = rng.standard_normal(shape).astype(np.float32)
    share = rng.choice([0, 0, 0.01, 1.0])
    return np.where(rng.random(shape) < share, rng.choice(STRANGE, shape), values).astype(np.float32)


def scoring(rng: np.random.Generator) -> Scoring:
    radius, hidden = int(rng.integers(0, 5)), int(rng.integers(1, 20))
    cells = (2 * radius + 1) ** 2
    reach = [None, 0, 1, 2][rng.integers(4)]
    shapes = (hidden, 2, cells, cells), (hidden,), (hidden, hidden), (hidden,), (hidden,), (1,), (2,)
    return Scoring(radius, reach, *(numbers(rng, *shape) for shape in shapes))


def grids(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(size) for size in rng.integers(1, 10, 4))


def fuzz_matching(rng: np.random.Generator) -> None:
    """Match features of odd sizes, whole and from coarse to fine, and decode what was found."""
    hs, ws, ht, wt = grids(rng)
    channels = int(rng.integers(1, 40))
    source, target = numbers(rng, channels, hs, ws), numbers(rng, channels, ht, wt)
    options = SearchOptions(*(int(n) for n in rng.integers(0, 9, 2)), largest=int(rng.choice([2, 64])))
    match = PatchMatcher(scoring(rng), int(rng.integers(1, 10)), options, float(rng.choice([0, 1.5])))
    scored = match(source, target, int(rng.integers(1, 3)))
    assert scored.grid == (hs, ws, ht, wt)
    assert len(np.unique(scored.pairs)) == len(scored.pairs) == len(scored.scores)
    assert not len(scored.pairs) or 0 <= scored.pairs.min() <= scored.pairs.max() < hs * ws * ht * wt
    for matches, here in zip(decode.decode(scored, int(rng.integers(0, 4))), ((hs, ws), (ht, wt)), strict=True):
        assert matches.cells.shape == (*here, 2)


def fuzz_points(rng: np.random.Generator) -> None:
    """Blend, correct and decode at places that are no places."""
    rows, columns, height, width = grids(rng)
    count, length = int(rng.integers(0, 50)), int(rng.integers(0, 40))
    how = points.Blending(
        numbers(rng, rows, columns, 2), numbers(rng, rows, columns), (3.0, 2.0), (9.0, 8.0), 1e-3, 3.0
    )
    moved, mean, share = points.blend(10 * numbers(rng, count, 2), how)
    assert moved.shape == (count, 2)
    assert ((moved >= 0) & (moved <= [9, 8])).all()  # also of NaN
    assert mean.shape == share.shape == (count,)
    descriptors, target = numbers(rng, count, length), numbers(rng, height, width, length)
    found = points.correct(descriptors, target, 10 * numbers(rng, count, 2), int(rng.integers(0, 4)), 9.0, 0.5)
    assert found.shape == (count, 2)
    cell, other = rng.integers(0, rows, count), rng.integers(0, height * width, count)
    places, _ = points.soft_argmax(cell, other, numbers(rng, count), (rows, (height, width)), 2)
    assert places.shape == (rows, 2)


def refused(error: type[Exception], function: Callable[..., Any], *arguments: Any) -> None:
    """Assert that a call ends with that error."""
    try:
        function(*arguments)
    except error:
        return
    raise AssertionError(f"{function.__name__} took {[getattr(a, 'shape', a) for a in arguments]}")


def fuzz_products(rng: np.random.Generator) -> None:
    """Multiply matrices of odd sizes, also empty ones; compare with NumPy where the numbers are ordinary."""
    count, inner, width = (int(size) for size in rng.integers(0, 40, 3))
    rows, columns = numbers(rng, count, inner), numbers(rng, inner, width)
    product = functions.multiply(rows, columns, int(rng.integers(1, 4)))
    assert product.shape == (count, width)
    if np.abs(rows).max(initial=0) < 100 and np.abs(columns).max(initial=0) < 100:
        assert np.abs(product - rows.astype(np.float64) @ columns).max(initial=0) < 1e-3
    refused(ValueError, functions.multiply, rows, np.zeros((inner + 1, width), np.float32))


def fuzz_refusals(rng: np.random.Generator) -> None:
    """Give arguments that do not fit each other, and indices outside."""
    grid = grids(rng)
    sources, targets = grid[0] * grid[1], grid[2] * grid[3]
    outside = int(rng.choice([-1, -(2**62), sources * targets, 2**62]))
    pairs, scores = np.array([0, outside]), np.zeros(2, np.float32)
    best, highest = np.full(sources + targets, -1), np.full(sources + targets, -np.inf, np.float32)
    refused(IndexError, functions.update_best, pairs, scores, best, highest, (sources, targets))
    refused(ValueError, functions.update_best, pairs, scores[:1], best, highest, (sources, targets))
    refused(ValueError, functions.update_best, pairs, scores, best[1:], highest, (sources, targets))
    refused(ValueError, functions.update_best, pairs.astype(np.int32), scores, best, highest, (sources, targets))
    refused(ValueError, functions.update_best, pairs, scores.astype(np.float64), best, highest, (sources, targets))
    refused(ValueError, functions.update_best, np.repeat(pairs, 2)[::2], scores, best, highest, (sources, targets))
    tried, steps = np.zeros(sources * targets, np.bool_), np.array([[0, 1]])
    best[0] = int(rng.choice([-2, -(2**62), max(sources, targets), 2**62]))
    refused(IndexError, functions.next_candidates, best, np.full_like(best, -1), steps, grid, tried)
    refused(ValueError, functions.next_candidates, best, np.full_like(best, -1), steps, grid, tried[1:])
    refused(IndexError, functions.by_phase, pairs, grid, 1)
    refused(IndexError, functions.from_phase, pairs, grid, 1)
    refused(ValueError, functions.by_phase, pairs, grid, 0)
    refused(ValueError, functions.by_phase, pairs, grid, 11)
    refused(ValueError, functions.by_phase, pairs, (0, *grid[1:]), 1)
    refused(IndexError, points.soft_argmax, pairs, np.zeros(2, np.int64), scores, (sources, (1, 1)), 1)
    refused(IndexError, points.soft_argmax, np.zeros(2, np.int64), pairs, scores, (1, (1, targets * sources)), 1)
    refused(ValueError, points.soft_argmax, pairs, pairs, scores, (1, (0, 3)), 1)
    nothing = points.Blending(np.zeros((0, 3, 2), np.float32), np.zeros((0, 3), np.float32), (1, 1), (1, 1), 0.1, 3)
    refused(ValueError, points.blend, np.zeros((4, 2), np.float32), nothing)
    fixed = np.zeros((sources, targets), np.float32)
    fixed.flags.writeable = False
    ones = np.ones(sources, np.float32), np.ones(targets, np.float32)
    refused(ValueError, functions.count_votes, fixed, *ones, grid, 0.75)
    match = PatchMatcher(scoring(rng))
    refused(ValueError, match, np.zeros((3, 0, 4), np.float32), np.zeros((3, 4, 4), np.float32))
    refused(ValueError, match, np.zeros((3, 4, 4), np.float32), np.zeros((2, 4, 4), np.float32))


def fuzz_layouts(rng: np.random.Generator) -> None:
    """Give maps and layers whose windows would be read beyond the memory."""
    maps = Maps(
        *(np.zeros(size, np.float32) for size in (25 + 16, 1, 25 + 16)), *np.array([[0], [12]]), 5, 1, (1, 1, 1, 1)
    )
    order = [np.zeros(shape, np.float32) for shape in ((18, 32), 32, (16, 16), 16, 16, 3)]
    boxes = np.tile([1, 1, 1, 1], (9, 1))
    layers = Layers(order[0], boxes, *order[1:], 1)
    pairs, scores = np.zeros(1, np.int64), np.zeros(1, np.float32)
    functions.scorer(maps, layers)(pairs, scores)
    refused(IndexError, functions.scorer(maps, layers), np.array([int(rng.choice([-1, 1, 2**62]))]), scores)
    refused(ValueError, functions.scorer(maps, layers), pairs, scores[:0])
    for name, value in {
        "begins": np.array([int(rng.choice([-1, 13, 2**40]))]),
        "centres": np.array([int(rng.choice([-1, 25, 2**40]))]),
        "correlation": maps.correlation[:-1].astype(np.float64),
        "of_target": maps.of_target[1:],
        "of_source": np.zeros(0, np.float32),
        "step": int(rng.choice([-1, 0, 2, 12])),
        "grid": (1, 1, 1, 2),
    }.items():
        refused(ValueError, functions.scorer, maps._replace(**{name: value}), layers)
    for name, value in {
        "boxes": np.tile([2, 1, 2, 1], (9, 1)),
        "window": order[0][1:],
        "out": np.zeros(15, np.float32),
        "rest": np.zeros(2, np.float32),
        "radius": int(rng.choice([-1, 0, 2])),
    }.items():
        refused(ValueError, functions.scorer, maps, layers._replace(**{name: value}))


def main(rounds: int = 20, seed: int = 0) -> None:
    """Run every fuzz so many times."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of sums of infinities
        for _ in range(rounds):
            for fuzz in (fuzz_matching, fuzz_points, fuzz_products, fuzz_refusals, fuzz_layouts):
                fuzz(rng)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    print("every call was answered or refused")
