"""The search on CUDA is the plain one: in Triton's interpreter, in a process of its own, and on a device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from semcorr.consensus.scoring import ScoringFunction
from semcorr.correlation import correlation_channels, cosine_correlation
from semcorr.patchmatch import SearchOptions, search

pytest.importorskip("triton", reason="Triton is not installed")


def compare(source, target, radius, hidden, dilation, device="cpu", **options):
    torch.manual_seed(0)
    function = ScoringFunction(radius, hidden).requires_grad_(False)
    torch.nn.init.normal_(function.window, std=0.5)
    torch.nn.init.normal_(function.bias)
    features = (F.normalize(torch.randn(2, 8, *grid) + 0.5, dim=1) for grid in (source, target))
    maps = correlation_channels(cosine_correlation(*features))
    for votes in (None, torch.randn_like(maps[:, 0])):
        assert_same(maps, function, SearchOptions(**options), dilation, votes, device)


def assert_same(maps, function, options, dilation, votes, device):
    from semcorr.patchmatch.triton_search import search_triton

    plain = search(maps, function.cpu(), options, dilation, votes=votes)
    there = None if votes is None else votes.to(device)
    fast = search_triton(maps.to(device), function.to(device), options, dilation, votes=there).cpu()
    both = plain.isfinite() & fast.isfinite()
    assert (plain.isfinite() != fast.isfinite()).sum() <= 1e-2 * both.sum()
    torch.testing.assert_close(fast[both], plain[both], atol=2e-4, rtol=2e-4)


CASES = [
    ((4, 5), (5, 3), 2, 16, 1, {"candidates": 2}),
    ((5, 4), (4, 6), 1, 20, 2, {"candidates": 1, "iterations": 2}),
    ((3, 3), (4, 4), 0, 5, 1, {"candidates": 1, "iterations": 1, "offsets": ((1, 2),)}),
]
ALL = "import test_triton_search as t\nfor *case, options in t.CASES: t.compare(*case, **options)\nprint('same')"


def test_in_the_interpreter():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    run = subprocess.run(
        [sys.executable, "-c", ALL],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=Path(__file__).parent,
    )
    assert run.stdout.strip() == "same", run.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_on_a_device(case):
    *shapes, options = case
    compare(*shapes, device="cuda", **options)
