"""The proxy, the exhaustive search and the PatchMatch search compute the same scores."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_search import score_everything

from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc import windows
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.search import exhaustive_search
from semcorr.matchers.pmnc.gpu.windows import cut_windows, pad_maps, sample_rows, window_offsets


def maps_of(batch: int = 1, source: tuple[int, int] = (7, 9), target: tuple[int, int] = (8, 6)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    a = F.normalize(torch.randn(batch, 16, *source, generator=generator), dim=1)
    b = F.normalize(torch.randn(batch, 16, *target, generator=generator), dim=1)
    return correlation_channels(cosine_correlation(a, b))


def scoring(radius: int, hidden: int = 6, reach: int | None = None) -> ScoringFunction:
    torch.manual_seed(radius)
    function = ScoringFunction(radius, hidden, reach=reach)
    torch.nn.init.normal_(function.window, std=0.5)  # large, so that a misplaced value shows
    torch.nn.init.normal_(function.bias)
    return function.requires_grad_(False)


def by_definition(function: ScoringFunction, maps: torch.Tensor, p: tuple[int, int], q: tuple[int, int], dilation: int):
    """Read the window value by value, following the formula in `semcorr.matchers.pmnc.scoring`."""
    r = function.radius
    steps = range(-r, r + 1)
    window = torch.zeros(1, function.channels, (2 * r + 1) ** 2, (2 * r + 1) ** 2)
    for (s, (dy, dx)), (t, (ey, ex)) in itertools.product(
        enumerate(itertools.product(steps, steps)), enumerate(itertools.product(steps, steps))
    ):
        i, j, k, n = p[0] + dy * dilation, p[1] + dx * dilation, q[0] + ey * dilation, q[1] + ex * dilation
        if function.reach is not None and max(abs(dy - ey), abs(dx - ex)) > function.reach:
            continue
        if 0 <= i < maps.shape[1] and 0 <= j < maps.shape[2] and 0 <= k < maps.shape[3] and 0 <= n < maps.shape[4]:
            window[0, :, s, t] = maps[:, i, j, k, n]
    x, xt = window.flatten(1), window.transpose(2, 3).flatten(1)
    g = [function.out(F.relu(function.mix(F.relu(v @ function.window.flatten(1).T + function.bias)))) for v in (x, xt)]
    return (g[0] + g[1])[0, 0] + maps[:, p[0], p[1], q[0], q[1]] @ function.centre


@pytest.mark.parametrize("radius", [0, 1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("reach", [None, 0, 1])
def test_search_equals_the_definition_including_borders(radius, dilation, reach):
    function, maps = scoring(radius, reach=reach), maps_of()
    table = score_everything(maps, function, dilation)
    for p, q in itertools.product([(0, 0), (0, 4), (3, 4), (6, 8), (6, 0)], [(0, 0), (7, 5), (3, 3), (0, 2)]):
        expected = by_definition(function, maps[0], p, q, dilation)
        torch.testing.assert_close(table[0, p[0], p[1], q[0], q[1]], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_proxy_equals_search_for_all_pairs(radius, dilation):
    function, maps = scoring(radius), maps_of()
    table = score_everything(maps, function, dilation)
    cells = torch.cartesian_prod(torch.arange(7), torch.arange(9)).flip(1).float()
    proxy = function.score_points(maps[0], cells, dilation).view(7, 9, 8, 6)
    torch.testing.assert_close(proxy, table[0], atol=1e-4, rtol=1e-4)


def test_exhaustive_equals_search_in_a_batch():
    function, maps = scoring(2), maps_of(batch=3)
    table = score_everything(maps, function)
    torch.testing.assert_close(exhaustive_search(maps, function), table, atol=1e-4, rtol=1e-4)


def test_score_does_not_depend_on_the_direction():
    function, maps = scoring(2), maps_of()
    there = exhaustive_search(maps, function)
    back = exhaustive_search(maps.permute(0, 1, 4, 5, 2, 3).contiguous(), function)
    torch.testing.assert_close(there, back.permute(0, 3, 4, 1, 2), atol=1e-4, rtol=1e-4)


def test_rows_between_cells_are_interpolated():
    maps = maps_of()[0]
    rows = sample_rows(maps, torch.tensor([[2.25, 3.0]]), radius=0)
    torch.testing.assert_close(rows[0, :, 0], 0.75 * maps[:, 3, 2] + 0.25 * maps[:, 3, 3], atol=1e-5, rtol=1e-5)


def test_windows_have_source_before_target_offsets():
    maps = maps_of()
    window = cut_windows(pad_maps(maps, 1), torch.tensor([[0, 3, 4, 5, 2]]), radius=1, dilation=1)
    offsets = window_offsets(1).tolist()
    s, t = offsets.index([-1, 1]), offsets.index([1, 0])
    torch.testing.assert_close(window[0, s, t], maps[0, :, 2, 5, 6, 2])
    pair = np.ravel_multi_index((3, 4, 5, 2), maps.shape[2:])
    plain = windows.cut_windows(windows.windows_of(maps[0].numpy(), 1, 1), np.array([pair]))
    assert torch.equal(torch.from_numpy(plain).permute(0, 2, 3, 1), window)


def test_gradients_reach_every_parameter():
    function = ScoringFunction(1, 4)
    function.score_points(maps_of()[0], torch.tensor([[1.5, 2.0]])).logsumexp((0, 1, 2)).backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in function.parameters() if p is not function.out.bias
    )


def test_gradient_values():
    function = scoring(1, 2).double().requires_grad_(True)
    maps = maps_of(source=(3, 3), target=(3, 2))[0].double().requires_grad_()
    cells = torch.tensor([[0.3, 1.2]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda m: function.score_points(m, cells), maps)


@pytest.mark.parametrize("arguments", [(-1, 4), (2, 0), (2, 4, 0)])
def test_invalid_sizes_are_refused(arguments):
    with pytest.raises(ValueError, match="radius must be 0 or more"):
        ScoringFunction(*arguments)
