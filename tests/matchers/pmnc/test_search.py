"""The NumPy search follows the steps of the paper."""

import numpy as np
import torch
import torch.nn.functional as F
from plain_search import search_plainly

from semcorr.matchers import correlation
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.search import exhaustive_search
from semcorr.matchers.pmnc.search import PROTOTYPE, SearchOptions, best_pairs, initial_pairs, propagate, refine


def smooth_features(grid: tuple[int, int], seed: int, channels: int = 32) -> torch.Tensor:
    coarse = torch.randn(1, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.normalize(F.interpolate(coarse, grid, mode="bicubic", align_corners=False), dim=1)


def maps_of(shift: int = 3) -> torch.Tensor:
    big = smooth_features((16, 16 + shift), 0)
    return correlation_channels(cosine_correlation(big[..., :16], big[..., shift:]))


def test_correlation_and_filter_equal_torch():
    a, b = smooth_features((5, 6), 1), smooth_features((4, 7), 2)
    expected = correlation_channels(cosine_correlation(a, b))[0]
    found = correlation.correlation_channels(correlation.cosine_correlation(a[0].numpy(), b[0].numpy()))
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-6, rtol=1e-5)


def test_initial_pairs_are_the_best_of_both_directions():
    m = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.0]], np.float32).reshape(2, 1, 1, 3)
    # the best of each row, and the best of each column, as p · 3 + q
    assert initial_pairs(m, 1).tolist() == [0, 3, 0, 4, 2]


def test_best_pairs_of_both_directions():
    scores = np.array([[5.0, 1.0], [4.0, 3.0]], np.float32).reshape(2, 1, 1, 2)
    pairs = best_pairs(scores)[:, [0, 3]].tolist()
    assert pairs == [[0, 0], [1, 0], [0, 0], [1, 1]]


def test_propagation_compensates_for_the_offset():
    proposed = propagate(np.array([[4, 4, 5, 3]]), PROTOTYPE, (8, 8, 8, 8))
    moved = np.stack(np.unravel_index(proposed, (8, 8, 8, 8)), 1) - [4, 4, 5, 3]
    assert {tuple(step) for step in moved[:, :2].tolist()} <= set(PROTOTYPE)
    assert (moved[:, :2] == moved[:, 2:]).all()  # source and target moved by the same way
    # those that leave a picture are left out: +5 rows, and the like
    assert len(moved) == sum(
        0 <= 4 + y < 8 and 0 <= 4 + x < 8 and 0 <= 5 + y < 8 and 0 <= 3 + x < 8 for y, x in PROTOTYPE
    )


def test_refinement_proposes_both_neighbourhoods():
    mask = np.zeros((5, 5, 5, 5), bool)
    mask.ravel()[refine(np.array([[0, 2, 3, 3]]), mask.shape)] = True
    assert mask[0, 2, 2:5, 2:5].all()
    assert mask[0:2, 1:4, 3, 3].all()
    assert mask.sum() == 9 + 6 - 1


def test_search_finds_a_shift():
    function = ScoringFunction(1, 4).requires_grad_(False)
    torch.nn.init.zeros_(function.out.weight)  # the centre alone: the best score is the true cell
    scores = search_plainly(maps_of(3), function, SearchOptions(candidates=4))
    match = scores[0].flatten(2).argmax(2)
    column = match[:, 4:] % 16
    assert torch.equal(column, torch.arange(1, 13).expand(16, -1))


def test_search_scores_equal_exhaustive_scores():
    torch.manual_seed(1)
    function = ScoringFunction(2, 8).requires_grad_(False)
    maps = maps_of()
    table, oracle = search_plainly(maps, function), exhaustive_search(maps, function)
    tried = table.isfinite()
    torch.testing.assert_close(table[tried], oracle[tried], atol=1e-4, rtol=1e-4)
    assert 0 < tried.float().mean() < 0.6
    reached = (oracle.flatten(3).amax(3) - table.flatten(3).amax(3)) <= 1e-3
    assert reached.float().mean() > 0.9


def test_the_neighbours_of_every_match_are_scored():
    function = ScoringFunction(1, 4).requires_grad_(False)
    table = search_plainly(maps_of(), function, SearchOptions(candidates=1))[0]
    for best in torch.stack([table.flatten(2).argmax(2).flatten(), torch.arange(256)], 1):
        (i, j), (y, x) = divmod(int(best[0]), 16), divmod(int(best[1]), 16)
        assert table[y, x, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].isfinite().all()
