"""Correction of matches by fine descriptors: NumPy against the differentiable definition used in training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semcorr.features.fine import FineDescriptors
from semcorr.geometry import cells_to_pixels, pixels_to_cells
from semcorr.match.blend import blend
from semcorr.match.correct import POWER, Correction, correct_cells, correct_cells_plain, correct_match
from semcorr.match.result import Match
from semcorr.match.types import Field
from semcorr.training.objectives.fine import score_around

SIZES = (90, 120), (100, 70)
COARSE = (6, 8), (7, 5)
FINE = (12, 16), (14, 10)


def random_match(seed):
    rng = np.random.default_rng(seed)
    pictures = [np.zeros((*size, 3), np.uint8) for size in SIZES]
    fields = [
        Field(
            rng.uniform(0, 1, (*grid, 2)).astype(np.float32) * np.float32(other[::-1]),
            rng.uniform(0, 1, grid).astype(np.float32),
        )
        for grid, other in zip(COARSE, SIZES[::-1], strict=True)
    ]
    return Match(*pictures, *fields, "random")


def random_descriptors(seed, width=8):
    generator = torch.Generator().manual_seed(seed)
    return [F.normalize(torch.randn(width, *grid, generator=generator), dim=0) for grid in FINE]


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_differentiable_definition(seed):
    match, descriptors = random_match(seed), random_descriptors(seed)
    fine = FineDescriptors(3, 5, 8)
    corrected = correct_match(match, *(image.numpy() for image in descriptors), Correction(*fine.comparison()))
    for coarse, fine_match, (source, target) in (
        (match, corrected, descriptors),
        (match.inverse(), corrected.inverse(), descriptors[::-1]),
    ):
        grid, target_grid = source.shape[1:], target.shape[1:]
        y, x = np.indices(grid)
        centres = cells_to_pixels(np.stack([x, y], 2).reshape(-1, 2), coarse.source_size, grid)
        start, _ = blend(coarse.direction, centres.astype(np.float32))
        points = pixels_to_cells(torch.tensor(centres, dtype=torch.float32), coarse.source_size, grid)
        matches = pixels_to_cells(torch.tensor(start.points), coarse.target_size, target_grid)
        logits, cells = score_around(fine, source, target, points, matches)
        expected = ((POWER * logits).softmax(1)[..., None] * cells).sum(1).detach().numpy()
        expected = np.clip(cells_to_pixels(expected, coarse.target_size, target_grid), 0, coarse.target_size[::-1])
        assert fine_match.forward.points.reshape(-1, 2) == pytest.approx(expected, abs=1e-2)
        assert fine_match.forward.confidence.reshape(-1) == pytest.approx(start.confidence, abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(12, 9), (3, 2), (1, 30)])
def test_native_equals_numpy(height, width, level):
    rng = np.random.default_rng(height)
    descriptors, target = (
        rng.standard_normal((*shape, 8)).astype(np.float32) / 3 for shape in ((70,), (height, width))
    )
    start = rng.uniform(-0.5, [width - 0.5, height - 0.5], (70, 2)).astype(np.float32)
    start[:5] = np.floor(start[:5]) + np.float32(0.5)  # halfway between cells
    correction = Correction(9.0, 1.4)
    expected = correct_cells_plain(descriptors, target, start, correction)
    assert correct_cells(descriptors, target, start, correction) == pytest.approx(expected, abs=1e-4)


def test_matches_move_to_where_the_descriptors_agree():
    rows, columns = FINE[0]
    descriptors = torch.eye(rows * columns).reshape(-1, rows, columns).numpy()  # every cell resembles only itself
    picture = np.zeros((96, 128, 3), np.uint8)
    y, x = np.indices(COARSE[0])
    off = cells_to_pixels(np.stack([x, y], 2).astype(np.float32), (96, 128), COARSE[0]) + np.float32([9, -7])
    field = Field(np.clip(off, 0, [128, 96]).astype(np.float32), np.ones(COARSE[0], np.float32))
    corrected = correct_match(Match(picture, picture, field, field), descriptors, descriptors, Correction(50.0, 3.0))
    y, x = np.indices(FINE[0])
    centres_of_cells = cells_to_pixels(np.stack([x, y], 2), (96, 128), FINE[0])
    assert corrected.forward.points == pytest.approx(centres_of_cells, abs=0.1)


def test_descriptors_have_unit_norm_and_depend_on_both_inputs():
    generator = torch.Generator().manual_seed(0)
    early, deep = torch.randn(2, 6, 11, 14, generator=generator), torch.randn(2, 9, 5, 7, generator=generator)
    fine = FineDescriptors(6, 9, 8)
    described = fine(early, F.normalize(deep, dim=1))
    assert described.shape == (2, 8, 11, 14)
    assert described.detach().norm(dim=1).numpy() == pytest.approx(np.ones((2, 11, 14)), abs=1e-5)
    assert not torch.allclose(described, fine(early.flip(3), F.normalize(deep, dim=1)))
    assert not torch.allclose(described, fine(early, F.normalize(deep.flip(3), dim=1)))
