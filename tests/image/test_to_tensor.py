"""`to_tensor`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semcorr.errors import ImageError
from semcorr.image import load_image, to_tensor

pytestmark = pytest.mark.filterwarnings("error")  # ResourceWarning too: a file left open fails the test


def test_same_size_is_division_by_255(cat: np.ndarray):
    before = cat.copy()
    tensor = to_tensor(cat, (300, 451))
    assert tensor.shape == (3, 300, 451)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert torch.equal(tensor, torch.from_numpy(cat.astype(np.float32) / 255).permute(2, 0, 1))
    tensor.zero_()
    assert np.array_equal(cat, before)


@pytest.mark.parametrize("size", [(313, 471), (471, 313), (1, 1), (7, 900)])
def test_any_size_keeps_range_and_colour(size: tuple[int, int], cat: np.ndarray):
    tensor = to_tensor(cat, size)
    assert tensor.shape == (3, *size)
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    assert torch.allclose(
        tensor.mean((1, 2)) * 255, torch.tensor(cat.mean((0, 1))).float(), atol=4 if size != (1, 1) else 30
    )
    assert torch.equal(tensor, to_tensor(cat.copy(), size))


def test_size_is_height_then_width_and_channels_are_rgb():
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:10] = [255, 0, 0]
    picture[10:] = [0, 0, 255]
    tensor = to_tensor(picture, (4, 2))
    assert tensor[:, 0].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert tensor[:, 3].tolist() == [[0, 0], [0, 0], [1, 1]]


def test_resize_is_bilinear():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255
    ramp = (to_tensor(picture, (8, 16))[0, 0] * 255).round()  # weights of 1/4 and 3/4, and no overshoot
    assert ramp.tolist() == [0] * 7 + [64, 191] + [255] * 7


def test_resize_is_antialiased():
    # Sampled between the two middle columns of each four, stripes of 255, 0, 0, 255 would come out black.
    picture = np.zeros((16, 64, 3), np.uint8)
    picture[:, 0::4] = picture[:, 3::4] = 255
    assert torch.allclose(to_tensor(picture, (4, 16))[:, :, 1:-1], torch.tensor(0.5), atol=0.01)


def test_round_trip_with_load_image(cat: np.ndarray):
    assert np.array_equal(load_image(to_tensor(cat, (300, 451))), cat)


@pytest.mark.parametrize(
    "image", [None, "cat.jpg", np.zeros((9, 9, 3)), np.zeros((3, 9, 9), np.uint8), torch.zeros(3, 9, 9)]
)
def test_to_tensor_refuses_other_pictures(image: object):
    with pytest.raises(ImageError, match="expected"):
        to_tensor(image, (9, 9))


@pytest.mark.parametrize(
    "size", [(0, 9), (9, -1), (9,), (9, 9, 9), [9, 9], (9.0, 9), (True, 9), 9, None, (10**6, 10**6)]
)
def test_to_tensor_refuses_odd_sizes(size: object):
    with pytest.raises(ImageError, match=r"cannot resize to .* expected \(height, width\)"):
        to_tensor(np.zeros((9, 9, 3), np.uint8), size)
