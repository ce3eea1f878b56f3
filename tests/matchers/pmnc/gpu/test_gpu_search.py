"""The search on a device equals the NumPy search, and never makes the host wait for the device."""

import pytest
import torch
import torch.nn.functional as F
from plain_search import search_plainly
from torch.utils._python_dispatch import TorchDispatchMode

from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc.gpu import search as device_search
from semcorr.matchers.pmnc.gpu.matcher import PMNC
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.search import search_on_device
from semcorr.matchers.pmnc.search import SearchOptions


def inputs(radius, hidden, source=(5, 6), target=(6, 4)):
    torch.manual_seed(0)
    function = ScoringFunction(radius, hidden).requires_grad_(False)
    torch.nn.init.normal_(function.window, std=0.5)
    torch.nn.init.normal_(function.bias)
    features = (F.normalize(torch.randn(2, 8, *grid) + 0.5, dim=1) for grid in (source, target))
    return correlation_channels(cosine_correlation(*features)), function


@pytest.mark.parametrize("votes", [False, True])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("radius", "dilation", "options"),
    [
        (2, 1, {"candidates": 2}),
        (1, 2, {"candidates": 1, "iterations": 2}),
        (0, 1, {"candidates": 1, "iterations": 1, "offsets": ((1, 2),)}),
        (1, 1, {"candidates": 3, "iterations": 0}),
    ],
)
def test_same_pairs_and_scores_as_the_numpy_search(radius, dilation, options, votes, given, monkeypatch):
    monkeypatch.setattr(device_search, "NEW", 30)  # all that is proposed
    maps, function = inputs(radius, 8)
    added = torch.randn_like(maps[:, 0]) if votes else None
    initial = torch.randint(maps[0, 0].numel(), (2, 7)) if given else None
    plain = search_plainly(maps, function, SearchOptions(**options), dilation, initial, added)
    table = search_on_device(maps, function, SearchOptions(**options), dilation, initial, added)
    assert torch.equal(plain.isfinite(), table.isfinite())
    torch.testing.assert_close(table, plain, atol=1e-4, rtol=1e-5)


def test_pairs_beyond_the_limit_are_scored_in_the_next_round(monkeypatch):
    maps, function = inputs(1, 8)
    plain = search_plainly(maps, function, SearchOptions(candidates=1, iterations=50))
    monkeypatch.setattr(device_search, "NEW", 1)
    first = SearchOptions(candidates=1, iterations=1)
    few, all_of_it = search_on_device(maps, function, first), search_plainly(maps, function, first)
    assert few.isfinite().sum() < all_of_it.isfinite().sum()
    table = search_on_device(maps, function, SearchOptions(candidates=1, iterations=50))
    for first in (1, 3):
        best = (each.flatten(first, first + 1).amax(first) for each in (table, plain))
        torch.testing.assert_close(*best, atol=1e-4, rtol=1e-5)


def test_maps_may_have_any_memory_layout():
    maps, function = inputs(1, 8)
    turned = maps.permute(0, 1, 4, 5, 2, 3)
    for run in (search_plainly, search_on_device):
        tables = [run(one, function, SearchOptions(candidates=2)) for one in (turned, turned.contiguous())]
        torch.testing.assert_close(*tables)


class Waiting(TorchDispatchMode):
    """Counts calls that make the host wait for the device: reading a value, or copying to the device."""

    ASKING = ("nonzero", "_local_scalar_dense", "lift_fresh", "masked_select", "unique", "where.Scalar", "_to_copy")

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        by_mask = name.startswith("aten.index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for index in (args[1] if isinstance(args[1], (list, tuple)) else ())
        )
        if by_mask or any(f"aten.{asking}" in name for asking in self.ASKING):
            self.calls.append(name)
        return function(*args, **(kwargs or {}))


def test_the_host_never_waits():
    maps, function = inputs(2, 8)
    votes = torch.zeros_like(maps[:, 0])
    search_on_device(maps, function, SearchOptions(), votes=votes)  # moves are copied to the device once
    with Waiting() as on_device:
        search_on_device(maps, function, SearchOptions(), votes=votes)
    with Waiting() as asking:
        _ = maps.nonzero(), maps[maps > 0], maps[0, 0].amax().item()
    assert on_device.calls == []
    assert len(asking.calls) >= 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_confirms_that_the_host_never_waits():
    maps, function = inputs(2, 8)
    maps, function = maps.cuda(), function.cuda()
    search_on_device(maps, function, SearchOptions())
    torch.cuda.set_sync_debug_mode("error")
    try:
        search_on_device(maps, function, SearchOptions())
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_cpu_searches_arrays_and_other_devices_in_torch():
    score = PMNC(ScoringFunction(1, 4))
    assert score._on_arrays(torch.device("cpu"))
    assert not any(score._on_arrays(torch.device(kind)) for kind in ("mps", "cuda"))
    score.exhaustive = True
    assert not score._on_arrays(torch.device("cpu"))
