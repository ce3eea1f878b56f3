"""Votes equal their definition for all shapes, and are the same in every search."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semcorr.features import FeatureMap
from semcorr.geometry import cell_centres
from semcorr.matchers import correlation
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation, soft_mutual_filter
from semcorr.matchers.dense.scores import ScoredPairs
from semcorr.matchers.pmnc import voting
from semcorr.matchers.pmnc.cpu.maps import correlate
from semcorr.matchers.pmnc.cpu.votes import votes_of, votes_of_tiles
from semcorr.matchers.pmnc.gpu.matcher import PMNC, votes_of_cells
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.voting import vote, votes_of_points


def filtered(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) ** 4


def by_definition(values):
    """Loop over all pairs, neighbours and shifts, in float64."""
    powered, spread = values.double() ** 1.5, torch.zeros(values.shape, dtype=torch.float64)
    cells = list(itertools.product(*map(range, values.shape)))
    for cell in cells:
        for steps in itertools.product((-1, 0, 1), repeat=4):
            other = tuple(c + s for c, s in zip(cell, steps, strict=True))
            if all(0 <= o < n for o, n in zip(other, values.shape, strict=True)):
                spread[cell] += powered[other] * math.prod(2 - abs(s) for s in steps)
    votes = torch.zeros_like(spread)
    reach = max(values.shape)
    for y, x, v, u in cells:
        for dy, dx in itertools.product(range(-reach, reach + 1), repeat=2):
            other = (y + dy, x + dx, v + dy, u + dx)
            if all(0 <= o < n for o, n in zip(other, values.shape, strict=True)):
                votes[y, x, v, u] += 0.75 ** (abs(dy) + abs(dx)) * spread[other]
    best = (votes.amax((2, 3), keepdim=True) * votes.amax((0, 1), keepdim=True)).sqrt()
    return (votes / best + 0.02).log()


@pytest.mark.parametrize("shape", [(4, 3, 3, 5), (1, 4, 3, 1), (2, 2, 5, 4)])
def test_the_definition(shape):
    values = filtered(*shape)
    torch.testing.assert_close(vote(values).double(), by_definition(values), atol=1e-5, rtol=1e-5)


def test_exchanging_the_images_exchanges_the_axes():
    values = filtered(5, 6, 7, 4)
    torch.testing.assert_close(vote(values.permute(2, 3, 0, 1)), vote(values).permute(2, 3, 0, 1), atol=1e-5, rtol=1e-5)


def test_a_map_of_zeros_has_no_votes():
    votes = vote(torch.zeros(3, 4, 4, 3))
    assert votes.isfinite().all()
    assert votes.unique().numel() == 1


def test_a_common_displacement_beats_a_stray_peak():
    values = torch.full((8, 8, 8, 8), 1e-3)
    for y, x in itertools.product(range(8), range(6)):
        values[y, x, y, x + 2] = 0.5
    values[4, 3, 0, 0] = 1.0
    assert values[4, 3].argmax() == 0
    assert vote(values)[4, 3].argmax() == 4 * 8 + 5


def test_votes_at_cell_centres_are_those_of_the_cells():
    values = filtered(4, 5, 3, 6)
    cells = cell_centres((4, 5)).flatten(0, 1)
    torch.testing.assert_close(
        votes_of_points(vote(values), cells).view(4, 5, 3, 6), vote(values), atol=1e-5, rtol=1e-5
    )
    outside = votes_of_points(vote(values), torch.tensor([[-3.0, 9.0]]))
    torch.testing.assert_close(outside[0], vote(values)[3, 0], atol=1e-5, rtol=1e-5)


def maps_of(grid, seed):
    return FeatureMap(F.normalize(torch.randn(2, 8, *grid, generator=torch.Generator().manual_seed(seed)) + 0.7, dim=1),
                      ((100, 100),) * 2)  # fmt: skip


def table_of(scores):
    return scores.table() if isinstance(scores, ScoredPairs) else scores


@pytest.mark.parametrize("trained_grid", [8, 4])
def test_every_search_adds_the_same_votes(trained_grid):
    source, target = maps_of((8, 9), 1), maps_of((9, 7), 2)
    scoring = ScoringFunction(1, 4).requires_grad_(False)
    with_votes, without = (
        table_of(PMNC(scoring, trained_grid, votes=votes, exhaustive=True)(source, target)) for votes in (1.5, 0.0)
    )
    assert (with_votes - without).abs().max() > 1
    for compiled, (votes, expected) in itertools.product(
        (True, False), ((1.5, with_votes), (0.0, without), (0, without))
    ):
        table = table_of(PMNC(scoring, trained_grid, votes=votes, compiled=compiled)(source, target))
        tried = table.isfinite()
        assert tried.any()
        torch.testing.assert_close(table[tried], expected[tried], atol=1e-4, rtol=1e-4)


def test_votes_on_the_training_grid_are_added_directly():
    source, target = maps_of((8, 9), 1), maps_of((9, 7), 2)
    scoring = ScoringFunction(1, 4).requires_grad_(False)
    with_votes, without = (PMNC(scoring, 8, votes=v, exhaustive=True)(source, target) for v in (1.5, 0.0))
    votes = vote(soft_mutual_filter(cosine_correlation(source.tensor, target.tensor))[0])
    torch.testing.assert_close((with_votes - without)[0], 1.5 * votes, atol=1e-4, rtol=1e-4)


def test_training_adds_votes():
    from semcorr.training.objectives.proxy import score_points

    source, target = maps_of((6, 5), 1), maps_of((5, 6), 2)
    scoring = ScoringFunction(1, 4).requires_grad_(False)
    maps = correlation_channels(cosine_correlation(source.tensor, target.tensor))[0]
    cells = cell_centres((6, 5)).flatten(0, 1)
    table = PMNC(scoring, 5, votes=1.5, exhaustive=True)(source, target)[0]
    torch.testing.assert_close(score_points(scoring, maps, cells, 1.5).view(table.shape), table, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("grids", [((25, 19), (21, 30)), ((3, 8), (1, 5)), ((1, 1), (2, 3)), ((4, 1), (6, 1))])
def test_native_votes_equal_numpy(grids, level):
    source, target = (maps_of(grid, seed).tensor[:1] for seed, grid in enumerate(grids))
    expected = vote(soft_mutual_filter(cosine_correlation(source, target))[0])
    filtered = correlation.soft_mutual_filter(correlation.cosine_correlation(source[0].numpy(), target[0].numpy()))
    torch.testing.assert_close(torch.from_numpy(voting.vote(filtered)), expected, atol=1e-4, rtol=1e-4)
    maps = correlate(source[0].numpy(), target[0].numpy(), 0, 1, 1)
    found = votes_of(maps)(np.arange(expected.numel())).reshape(expected.shape)
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("grids", "factor"), [(((7, 9), (8, 5)), 2), (((3, 10), (1, 4)), 3)])
def test_votes_of_tiles_are_interpolated_the_same(grids, factor, level):
    cells = (*grids[0], *grids[1])
    tiles = [tuple(-(-size // factor) for size in grid) for grid in grids]
    source, target = (maps_of(grid, seed).tensor[0].numpy() for seed, grid in enumerate(tiles))
    votes = voting.vote(correlation.soft_mutual_filter(correlation.cosine_correlation(source, target)))
    expected = votes_of_cells(torch.from_numpy(votes)[None], factor, cells)[0]
    plain = voting.votes_of_cells(votes, factor, cells)
    torch.testing.assert_close(torch.from_numpy(plain), expected, atol=1e-5, rtol=1e-5)
    native = votes_of_tiles(correlate(source, target, 0, 1, 1), factor, cells)(np.arange(plain.size))
    assert native.reshape(plain.shape) == pytest.approx(plain, abs=1e-4)
