"""The judge in torch is the one in NumPy."""

import numpy as np
import pytest
import torch

from semcorr.matchers.dense.judge import TensorJudge
from semcorr.matchers.dense.scores import CellMatches
from semcorr.matchers.evidence import Decoded, Judge
from semcorr.models.loading import load


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load("pmnc").judge


def random_pair(tuned: int, untouched: int, grids: tuple[tuple[int, int], tuple[int, int]]):
    """Return features of two pictures and matches of their cells, some of them beyond the border."""
    rng = np.random.default_rng(7)
    features = [rng.standard_normal((tuned + untouched, *grid)).astype(np.float32) for grid in grids]
    ways = []
    for own, other in (grids, grids[::-1]):
        cells = rng.uniform(-0.4, np.array(other[::-1]) - 0.6, (*own, 2)).astype(np.float32)
        ways.append(Decoded(cells, rng.uniform(0, 1, own).astype(np.float32)))
    return features, ways


@pytest.mark.parametrize("grids", [((5, 7), (6, 4)), ((1, 9), (9, 1)), ((2, 2), (11, 3))])
def test_both_judge_alike(judge: Judge, grids):
    tuned, untouched = judge.enter_cell.shape[0], judge.kind.shape[0]
    (source, target), ways = random_pair(tuned, untouched, grids)
    expected = judge.of(source, target, tuned, *ways)
    matches = [CellMatches(*(torch.from_numpy(part)[None] for part in (way.cells, way.peak, way.peak))) for way in ways]
    found = TensorJudge(judge, tuned)(torch.from_numpy(source), torch.from_numpy(target), *matches)
    for name in ("confidence", "visibility"):
        for own, other in zip(getattr(found, name), getattr(expected, name), strict=True):
            np.testing.assert_allclose(own.numpy(), other, atol=2e-5)
    assert float(found.similarity) == pytest.approx(expected.similarity, abs=2e-5)
