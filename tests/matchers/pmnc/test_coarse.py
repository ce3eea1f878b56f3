"""Coarse-to-fine search: native code equals NumPy, and the matches agree with those of the direct search."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import semcorr
from semcorr.features import FeatureMap
from semcorr.matchers.dense.correlation import cosine_correlation
from semcorr.matchers.dense.decode import decode
from semcorr.matchers.dense.scores import ScoredPairs, list_scored
from semcorr.matchers.pmnc import coarse
from semcorr.matchers.pmnc.gpu import coarse as in_torch
from semcorr.matchers.pmnc.gpu import search as device_search
from semcorr.matchers.pmnc.gpu.matcher import PMNC
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.matchers.scored import Scored


def features(grid: tuple[int, int], seed: int, batch: int = 1) -> FeatureMap:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 24, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, grid, mode="bicubic", align_corners=False)
    noise = 0.1 * torch.randn(batch, 24, *grid, generator=generator)
    return FeatureMap(F.normalize(smooth + noise + 1.5, dim=1), ((100, 100),) * batch)


def scoring(radius: int, hidden: int = 16, reach: int | None = None) -> ScoringFunction:
    torch.manual_seed(0)
    function = ScoringFunction(radius, hidden, reach=reach)
    torch.nn.init.normal_(function.window, std=0.5)  # large, so that a misplaced value shows
    return function.requires_grad_(False)


def matcher(factor: int, grid: float, function: ScoringFunction | None = None, **how) -> PMNC:
    return PMNC(function or scoring(2), grid / factor, SearchOptions(largest=4), **how)


def diagonal(rows: int, columns: int) -> Scored:
    """Every tile matches the one at the same position."""
    cells = rows * columns
    pairs = np.arange(cells) * (cells + 1)
    return Scored(pairs, np.ones(cells, np.float32), (rows, columns, rows, columns))


def test_whole_tiles_repeat_the_last_cells():
    cells = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert coarse.whole_tiles(cells, 2)[0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5]]
    assert coarse.whole_tiles(cells, 1) is cells


def test_the_plan_starts_from_the_matches_of_the_tiles(native):
    plan = coarse.make_plan(diagonal(2, 3), factor=2)
    initial = np.unique(plan.initial)
    assert len(initial) == 24
    assert (initial // 24 == initial % 24).all()  # every cell to the same cell
    assert plan.certainty[0].shape == (4, 6)
    plan = coarse.make_plan(diagonal(1, 12), factor=2)
    assert plan.near[0, 0, 0].tolist() == [True] * 3 + [False] * 9


def test_the_band_has_correlations_of_cells_and_the_rest_means_of_tiles():
    a, b = features((4, 6), 1).tensor, features((4, 4), 2).tensor
    near = torch.zeros(1, 2, 3, 2, 2, dtype=torch.bool)
    near[0, 1, 2, 0, 1] = True
    whole, banded = cosine_correlation(a, b), in_torch.banded_correlation(a, b, near, 2)
    torch.testing.assert_close(banded[0, 2:4, 4:6, 0:2, 2:4], whole[0, 2:4, 4:6, 0:2, 2:4])
    tile = whole[0, 0:2, 2:4, 2:4, 0:2]
    torch.testing.assert_close(banded[0, 0:2, 2:4, 2:4, 0:2], tile.mean().expand(2, 2, 2, 2))
    plain = coarse.banded_correlation(a[0].numpy(), b[0].numpy(), near[0].numpy(), 2)
    torch.testing.assert_close(torch.from_numpy(plain), banded[0], atol=1e-6, rtol=1e-5)


def test_torch_and_numpy_plan_the_same():
    a, b = features((7, 5), 3), features((6, 8), 4)
    found = PMNC(scoring(1, 4), 6)(a, b)
    plan, plain = (
        in_torch.make_plan(found, 3),
        coarse.make_plan(Scored(found.pairs[0].numpy(), found.scores[0].numpy(), found.shape), 3),
    )
    assert np.array_equal(plan.near[0].numpy(), plain.near)
    assert np.array_equal(plan.initial[0].unique().numpy(), np.unique(plain.initial))
    for one, other in zip(plan.certainty, plain.certainty, strict=True):
        assert other == pytest.approx(one[0].numpy(), abs=1e-5)


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [((20, 22), (24, 18), 2), ((17, 20), (19, 23), 3), ((24, 20), (20, 24), 4), ((11, 26), (25, 13), 5)],
)
def test_native_equals_numpy(source, target, factor, radius, level):
    a, b = features(source, 1, 2), features(target, 2, 2)
    side = (source[0] * source[1] * target[0] * target[1]) ** 0.25
    fast, plain = (matcher(factor, side, scoring(radius), compiled=which)(a, b) for which in (True, False))
    one, other = fast.table(), plain.table()
    assert one.shape == (2, *source, *target)
    tried = other.isfinite()
    # the tiles' matches differ by rounding, and two that differ by that alone may change places
    assert (one.isfinite() != tried).sum() <= 1e-2 * tried.sum()
    both = tried & one.isfinite()
    torch.testing.assert_close(one[both], other[both], atol=2e-4, rtol=2e-4)
    for x, y in zip(decode(fast), decode(plain), strict=True):
        assert ((x.cells - y.cells).abs() <= 1e-2).float().mean() > 0.99
        assert ((x.confidence - y.confidence).abs() <= 1e-2).float().mean() > 0.99


def test_torch_equals_numpy(monkeypatch):
    monkeypatch.setattr(device_search, "NEW", 1000)  # all that is proposed
    a, b = features((12, 11), 1), features((10, 13), 2)
    score = matcher(2, 11, scoring(1, 4))
    expected = score(a, b).table()
    monkeypatch.setattr(score, "_on_arrays", lambda _: False)
    found = score(a, b).table()
    assert (found.isfinite() != expected.isfinite()).sum() <= 1e-2 * expected.isfinite().sum()
    both = found.isfinite() & expected.isfinite()
    torch.testing.assert_close(found[both], expected[both], atol=2e-4, rtol=2e-4)


def test_threads_change_nothing():
    a, b = (features((24, 24), seed).tensor[0].numpy() for seed in (1, 2))
    match = matcher(3, 24).on_arrays()
    tables = [match(a, b, threads).table() for threads in (1, 3)]
    assert np.array_equal(*tables)


def test_small_grids_are_searched_directly():
    a = features((12, 12), 1)
    matched = PMNC(scoring(1, 4), 4, SearchOptions(largest=12))(a, a)
    assert not isinstance(matched, ScoredPairs) or matched.certainty is None


def test_it_finds_a_shift():
    big = features((24, 28), 0)
    a, b = (FeatureMap(big.tensor[..., cut], big.image_sizes) for cut in (slice(0, 24), slice(4, 28)))
    function = scoring(1, 4)
    torch.nn.init.zeros_(function.out.weight)  # the centre alone: the best score is the true cell
    forward, _ = decode(matcher(2, 24, function)(a, b), 0)
    found = forward.cells[0, :, 6:, 0] - torch.arange(6, 24)
    assert (found == -4).float().mean() > 0.95


def test_listing_a_table_keeps_its_scores():
    table = torch.tensor([1.0, -torch.inf, 2.0, 3.0]).view(1, 1, 2, 1, 2)
    assert torch.equal(list_scored(table).table(), table)


@pytest.mark.slow
def test_the_model_in_the_package_agrees_with_the_direct_search(cat):
    model = semcorr.load("pmnc", grid=72)
    model.method = replace(
        model.method, votes=0.0
    )  # tiles have votes and cells have none: with votes the two searches differ by design
    pictures = [model.encode(picture) for picture in (cat, cat[:, ::-1].copy())]
    forward = model.match(*pictures).forward.points
    model.method = replace(model.method, options=SearchOptions(largest=1000))
    whole = model.match(*pictures).forward.points
    tile = cat.shape[1] * 3 / 72
    near = ((forward - whole) ** 2).sum(2) ** 0.5 <= tile
    assert near.mean() > 0.9
