"""Properties that hold for any input, tried by Hypothesis; always the same examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import semcorr
from semcorr.errors import ImageError
from semcorr.geometry import (
    cells_to_pixels,
    cells_to_unit,
    grid_for,
    pixels_to_cells,
    regrid,
    unit_to_cells,
    unit_to_pixels,
)
from semcorr.image import MIN_SIDE, load_image
from semcorr.matchers.dense.decode import decode

hypothesis = pytest.importorskip("hypothesis", reason="Hypothesis is not installed")
given, st = hypothesis.given, hypothesis.strategies

SIDES = st.integers(1, 2000)
SIZES = st.tuples(SIDES, SIDES)
GRIDS = st.tuples(st.integers(1, 128), st.integers(1, 128))
FRACTIONS = st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32))


def examples(count: int):
    return hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


# ---- coordinates


@examples(200)
@given(SIZES, GRIDS, FRACTIONS)
def test_pixels_cells_and_unit_square_agree(size: tuple[int, int], grid: tuple[int, int], fraction):
    height, width = size
    unit = np.array(fraction, np.float32)
    pixels = unit_to_pixels(unit, size)
    assert (pixels >= 0).all()
    assert (pixels <= [width, height]).all()
    cells = pixels_to_cells(pixels, size, grid)
    np.testing.assert_allclose(cells, unit_to_cells(unit, grid), atol=1e-3)
    np.testing.assert_allclose(cells_to_pixels(cells, size, grid), pixels, atol=1e-3 * max(size) / min(grid))
    np.testing.assert_allclose(cells_to_unit(torch.from_numpy(cells), grid), unit, atol=1e-5)
    assert (cells >= -0.5 - 1e-4).all()
    assert (cells <= np.array([grid[1], grid[0]]) - 0.5 + 1e-3).all()


@examples(100)
@given(GRIDS, GRIDS, FRACTIONS)
def test_another_grid_and_back(grid: tuple[int, int], other: tuple[int, int], fraction):
    cells = unit_to_cells(np.array(fraction, np.float32), grid)
    np.testing.assert_allclose(regrid(regrid(cells, grid, other), other, grid), cells, atol=1e-3)


@examples(200)
@given(SIZES, st.integers(2, 100))
def test_a_grid_has_about_as_many_cells_as_wanted(size: tuple[int, int], cells: int):
    rows, columns = grid_for(size, cells)
    assert rows >= 1
    assert columns >= 1
    assert 0.5 * cells**2 <= rows * columns <= 1.6 * cells**2
    assert grid_for(size[::-1], cells) == (columns, rows)


# ---- decoding


@examples(40)
@given(st.integers(0, 10**6), *(st.integers(1, 6) for _ in range(4)), st.floats(0, 0.9))
def test_decoding_is_equivariant_under_swapping_the_images(
    seed: int, hs: int, ws: int, ht: int, wt: int, missing: float
):
    chance = np.random.default_rng(seed)
    table = chance.normal(0, 3, (1, hs, ws, ht, wt)).astype(np.float32)
    blanked = np.where(chance.random(table.shape) < missing, -np.inf, table)
    flat = blanked.reshape(hs * ws, ht * wt)  # every cell keeps a score
    flat[np.isneginf(flat).all(1)] = 0
    flat[:, np.isneginf(flat).all(0)] = 0
    scores = torch.from_numpy(flat.reshape(table.shape))
    forward, backward = decode(scores)
    there, back = decode(scores.permute(0, 3, 4, 1, 2))
    for one, other in ((forward, back), (backward, there)):
        np.testing.assert_allclose(one.cells, other.cells, atol=1e-4)
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-5)
        assert ((one.confidence >= 0) & (one.confidence <= 1 + 1e-5)).all()
    assert (forward.cells >= 0).all()
    assert (forward.cells <= torch.tensor([wt - 1, ht - 1])).all()


# ---- images


@pytest.fixture(scope="module")
def quick() -> semcorr.Matcher:
    return semcorr.load("pmnc", grid=10, image_size=160)


@examples(12)
@given(SIZES, SIZES)
@hypothesis.example((1, 1), (2000, 2000))
@hypothesis.example((8, 2000), (2000, 8))
def test_images_of_any_size_are_matched_or_refused(quick, cat, source: tuple[int, int], target: tuple[int, int]):
    pair = [np.asarray(Image.fromarray(cat).resize(size[::-1])) for size in (source, target)]
    if min(*source, *target) < MIN_SIDE:
        with pytest.raises(ImageError, match="enlarge it"):
            quick.match(*pair)
        return
    match = quick.match(*pair)
    height, width = source
    corners = [(0, 0), (width, 0), (0, height), (width, height), (width / 3, height / 7)]
    for moved, confidence, (high, wide) in (
        (*match.transfer(corners)[:2], target),
        (*match.inverse().transfer([(0, 0), target[::-1]])[:2], source),
    ):
        assert np.isfinite(moved).all()
        assert ((moved >= 0) & (moved <= [wide, high])).all()
        assert ((confidence >= 0) & (confidence <= 1)).all()
    assert match.source_size == source
    assert match.target_size == target


@pytest.fixture(scope="module")
def sharp() -> semcorr.Matcher:
    return semcorr.load("pmnc")


@pytest.fixture(scope="module")
def quarter(cat: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cat[40:280, 100:420])  # (240, 320), the face


@examples(4)
@given(st.integers(0, 80), st.integers(0, 60))
def test_what_is_shifted_is_found_where_it_went(sharp, cat, dx: int, dy: int):
    source = np.ascontiguousarray(cat[40:240, 60:360])
    target = np.ascontiguousarray(cat[40 + dy : 240 + dy, 60 + dx : 360 + dx])
    points = np.array([(x, y) for x in range(90, 290, 20) for y in range(70, 190, 20)], np.float32)
    moved, _ = sharp.match(source, target).transfer(points)
    far = np.linalg.norm(moved - (points - [dx, dy]), axis=1)
    assert np.median(far) < 6


@examples(4)
@given(st.floats(0.5, 3), st.floats(0.5, 3))
def test_a_scaled_image_is_matched_in_its_own_pixels(quick, quarter, across: float, down: float):
    height, width = quarter.shape[:2]
    size = round(width * across), round(height * down)
    target = np.asarray(Image.fromarray(quarter).resize(size))
    points = np.array([(x, y) for x in range(40, 300, 40) for y in range(40, 220, 40)], np.float32)
    moved, _ = quick.match(quarter, target).transfer(points)
    scale = np.array(size, np.float32) / [width, height]
    far = np.linalg.norm((moved - points * scale) / scale, axis=1)
    assert np.median(far) < 16  # pixels of the source; its cells have 27


@examples(4)
@given(st.integers(0, 3), st.booleans())
def test_an_image_matches_itself_and_swapping_swaps(quick, quarter, turns: int, mirrored: bool):
    picture = np.ascontiguousarray(np.rot90(quarter[:, ::-1] if mirrored else quarter, turns))
    other = np.ascontiguousarray(picture[:, ::-1])
    height, width = picture.shape[:2]
    points = np.random.default_rng(0).random((50, 2)) * [width, height]
    moved, _ = quick.match(picture, picture).transfer(points)
    assert np.median(np.linalg.norm(moved - points, axis=1)) < 5
    there, back = quick.match(picture, other), quick.match(other, picture)
    far = np.linalg.norm(there.inverse().forward.points - back.forward.points, axis=2)
    assert np.median(far) < 1


# ---- readers


@examples(150)
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"])
)
def test_arbitrary_bytes_are_an_image_or_an_error(content: bytes, start: bytes):
    try:
        found = load_image(start + content).shape
    except ImageError as error:
        found = str(error)
    assert found.isprintable() if isinstance(found, str) else found[2] == 3


@examples(100)
@given(st.text(max_size=60))
def test_arbitrary_text_is_a_path_that_is_not_there(text: str):
    with pytest.raises((ImageError, FileNotFoundError)) as caught:
        load_image(f"no such folder/{text}")
    assert str(caught.value).isprintable()
