"""The native search scores the same pairs as the NumPy search, with the same scores."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_search import search_plainly

from semcorr.features import FeatureMap
from semcorr.matchers.dense.correlation import correlation_channels, cosine_correlation
from semcorr.matchers.pmnc import cpu
from semcorr.matchers.pmnc.cpu.layers import layers_of
from semcorr.matchers.pmnc.gpu.matcher import PMNC
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.search import PROTOTYPE, SearchOptions
from semcorr.models.torch_loading import load
from semcorr.native import core, levels

pytestmark = pytest.mark.skipif(core() is None, reason="the native core is not compiled")


def search_natively(source, target, function, options=None, dilation=1, threads=1):
    pairs = zip(source.float().contiguous().numpy(), target.float().contiguous().numpy(), strict=True)
    parameters = function.arrays()
    found = [cpu.search(*pair, parameters, options or SearchOptions(), dilation, 0.0, threads) for pair in pairs]
    return torch.stack([torch.from_numpy(one.table()) for one in found])


def features(grid: tuple[int, int], seed: int = 0, batch: int = 1, channels: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, channels, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, grid, mode="bicubic", align_corners=False)
    noise = 0.1 * torch.randn(batch, channels, *grid, generator=generator)
    # all correlations positive: among filtered ones that are zero alike, both searches may begin with any
    return F.normalize(smooth + noise + 1.5, dim=1)


def scoring(radius: int, hidden: int = 16, seed: int = 0, reach: int | None = None) -> ScoringFunction:
    torch.manual_seed(seed)
    function = ScoringFunction(radius, hidden, reach=reach)
    torch.nn.init.normal_(function.window, std=0.5)  # large, so that a misplaced value shows
    torch.nn.init.normal_(function.bias)
    return function.requires_grad_(False)


def assert_same(source, target, function, options=None, dilation=1):
    options = options or SearchOptions()
    maps = correlation_channels(cosine_correlation(source, target).float())
    plain = search_plainly(maps, function, options, dilation)
    fast = search_natively(source, target, function, options, dilation)
    assert fast.shape == plain.shape
    assert fast.dtype == torch.float32
    assert not fast.isposinf().any()
    assert not fast.isnan().any()
    tried = plain.isfinite()
    # two correlations that differ by rounding alone may change places at the end of a list of candidates
    assert (fast.isfinite() != tried).sum() <= 1e-3 * tried.sum()
    both = tried & fast.isfinite()
    torch.testing.assert_close(fast[both], plain[both], atol=2e-4, rtol=2e-4)
    for dims in ((3, 4), (1, 2)):
        same = (fast.amax(dims) - plain.amax(dims)).abs() <= 1e-3
        assert same.float().mean() > 0.999


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_every_window(radius, dilation, level):
    source, target = features((9, 11), 1), features((10, 8), 2)
    assert_same(source, target, scoring(radius), SearchOptions(candidates=6), dilation)


@pytest.mark.parametrize("radius", [1, 2, 3, 4])
@pytest.mark.parametrize("reach", [0, 1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_every_reach(radius, reach, dilation):
    function = scoring(radius, reach=reach)
    assert_same(features((9, 11), 1), features((10, 8), 2), function, SearchOptions(candidates=6), dilation)


def test_weights_beyond_reach_are_not_stored():
    # along one axis, 13 of the 25 pairs of offsets from -2 to 2 are at most 1 apart
    assert layers_of(scoring(2, reach=1).arrays()).window.shape == (2 * 13**2, 32)
    assert layers_of(scoring(2, reach=0).arrays()).boxes.tolist()[7] == [1, 2, 1, 1]


def test_a_window_of_several_runs(level):
    assert_same(features((7, 8), 1), features((8, 7), 2), scoring(4, 4), SearchOptions(candidates=4))


@pytest.mark.parametrize("source", [(12, 12), (5, 17), (1, 9), (2, 3)])
@pytest.mark.parametrize("target", [(12, 12), (16, 4), (7, 1)])
def test_every_shape_also_smaller_than_the_window(source, target, level):
    assert_same(features(source, 1), features(target, 2), scoring(2), SearchOptions(candidates=5))


@pytest.mark.parametrize("hidden", [1, 6, 16, 20, 32])
def test_widths_that_are_not_multiples_of_a_vector(hidden, level):
    assert_same(features((8, 8), 1), features((8, 8), 2), scoring(1, hidden))


@pytest.mark.parametrize("seed", range(4))
def test_seeds_and_batches(seed):
    assert_same(features((11, 10), seed, 3), features((9, 12), seed + 10, 3), scoring(2, 8, seed))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes_of_features(dtype):
    # exact in every dtype, so that only the search is compared
    source, target = (features((9, 9), seed, channels=8).mul(4).round().div(4).to(dtype) for seed in (1, 2))
    source, target = (x + 0.125 * torch.eye(9).to(dtype)[None, None] for x in (source, target))
    maps = (FeatureMap(x, ((90, 90),)) for x in (source, target))
    plain = search_plainly(correlation_channels(cosine_correlation(source.float(), target.float())), scoring(2))
    fast = PMNC(scoring(2), 9)(*maps).table()
    both = plain.isfinite() & fast.isfinite()
    assert both.sum() > 0.9 * plain.isfinite().sum()
    torch.testing.assert_close(fast[both], plain[both], atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(candidates=1, iterations=0),
        SearchOptions(candidates=1),
        SearchOptions(candidates=2, offsets=PROTOTYPE),
        SearchOptions(candidates=10_000),
        SearchOptions(offsets=()),
    ],
)
def test_every_option(options):
    assert_same(features((10, 10), 3), features((10, 10), 4), scoring(1), options)


def test_features_that_are_not_contiguous():
    source = features((9, 8), 1).to(memory_format=torch.channels_last)
    target = features((8, 18), 2)[..., ::2]
    maps = (FeatureMap(x, ((90, 80),)) for x in (source, target))
    plain = search_plainly(correlation_channels(cosine_correlation(source, target)), scoring(2))
    fast = PMNC(scoring(2), 9)(*maps).table()
    assert torch.equal(plain.isfinite(), fast.isfinite())
    both = plain.isfinite()
    torch.testing.assert_close(fast[both], plain[both], atol=2e-4, rtol=2e-4)


def test_threads_change_nothing():
    source, target, function = features((20, 20), 1), features((20, 20), 2), scoring(2)
    for dilation in (1, 2):
        tables = [search_natively(source, target, function, None, dilation, threads) for threads in (1, 3)]
        assert torch.equal(*tables)


def test_levels_with_fused_multiplication_agree_bitwise(monkeypatch):
    if levels()[-1] != "avx512":
        pytest.skip("this processor has but one such level")
    tables = []
    for level in ("avx2", "avx512"):
        monkeypatch.setenv("SEMCORR_NATIVE", level)
        core.cache_clear()
        tables.append(search_natively(features((12, 9), 1), features((9, 12), 2), scoring(2)))
    core.cache_clear()
    assert torch.equal(*tables)


def test_inputs_are_not_modified():
    source, target, function = features((6, 6), 1), features((6, 6), 2), scoring(1)
    copies = source.clone(), target.clone(), [p.clone() for p in function.parameters()]
    search_natively(source, target, function)
    assert torch.equal(source, copies[0])
    assert torch.equal(target, copies[1])
    assert all(torch.equal(a, b) for a, b in zip(function.parameters(), copies[2], strict=True))


def test_layers_are_padded_with_zeros():
    layers = layers_of(scoring(1, 5).arrays())
    assert layers.window.shape == (9 * 18, 32)
    assert layers.window.reshape(9, 18, 2, 16)[..., 5:].any() == False  # noqa: E712 - a numpy bool
    assert not layers.out[5:].any()


def test_the_model_in_the_package_on_photographs(cat, cheetah_path):
    model = load("pmnc")
    source, target = (model.encode(picture).features for picture in (cat, cheetah_path))
    fast = model.method(source, target).table()
    model.method.compiled = False
    plain = model.method(source, target).table()
    tried = plain.isfinite()
    assert (fast.isfinite() == tried).float().mean() > 0.9999
    both = fast.isfinite() & tried
    torch.testing.assert_close(fast[both], plain[both], atol=1e-3, rtol=1e-4)


MATCH = (
    "import numpy as np, semcorr\n"
    "picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)\n"
    "for _ in range(2): match = semcorr.load().match(picture, picture)\n"
    "print(match.forward.points.shape)\n"
)


def test_a_missing_core_is_reported_in_one_line(tmp_path):
    environment = os.environ | {"SEMCORR_LIBRARY": str(tmp_path / "none.so")}
    run = subprocess.run([sys.executable, "-c", MATCH], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout
    lines = [line for line in run.stderr.splitlines() if "semcorr" in line]
    assert len(lines) == 1
    assert "in NumPy" in lines[0]


def test_a_disabled_core_is_not_reported():
    environment = os.environ | {"SEMCORR_NATIVE": "off"}
    run = subprocess.run([sys.executable, "-c", MATCH], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout
    assert "NumPy" not in run.stderr


def test_a_search_does_not_change_the_random_state():
    source, target, function = features((5, 6), 1), features((6, 5), 2), scoring(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    search_natively(source, target, function)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
