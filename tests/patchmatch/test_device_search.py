"""The search on a device is the plain one, and asks for nothing that the host would have to wait for."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from semcorr.consensus.scoring import ScoringFunction
from semcorr.correlation import correlation_channels, cosine_correlation
from semcorr.patchmatch import SearchOptions, search
from semcorr.patchmatch.device_search import search_on_device


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
def test_same_pairs_and_scores_as_the_plain_search(radius, dilation, options, votes, given):
    maps, function = inputs(radius, 8)
    added = torch.randn_like(maps[:, 0]) if votes else None
    initial = torch.randint(maps[0, 0].numel(), (2, 7)) if given else None
    plain = search(maps, function, SearchOptions(**options), dilation, initial, added)
    table = search_on_device(maps, function, SearchOptions(**options), dilation, initial, added)
    assert torch.equal(plain.isfinite(), table.isfinite())
    torch.testing.assert_close(table, plain)


def test_nothing_depends_on_values():
    maps, function = inputs(2, 8)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # knows shapes alone: whatever needs a value raises
        there = mode.from_tensor(maps)
        assert search_on_device(there, function, SearchOptions(), 1, None, there[:, 0]).shape == maps[:, 0].shape
        with pytest.raises(DynamicOutputShapeException):
            search(there, function, SearchOptions())
