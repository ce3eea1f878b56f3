import pytest
import torch
import torch.nn.functional as F

from semcorr.geometry import cell_centres, cells_to_pixels, cells_to_sampling, grid_for, pixels_to_cells


@pytest.mark.parametrize(
    ("image_size", "grid"), [((400, 400), (25, 25)), ((313, 471), (20, 31)), ((17, 900), (12, 50))]
)
def test_pixels_and_cells_are_inverse(image_size, grid):
    points = torch.rand(100, 2) * torch.tensor([image_size[1], image_size[0]])
    there = pixels_to_cells(points, image_size, grid)
    torch.testing.assert_close(cells_to_pixels(there, image_size, grid), points, atol=1e-3, rtol=1e-5)


def test_corners_and_centres_by_hand():
    # 2 rows × 4 columns over a picture 100 high and 200 wide: cells of 50 × 50
    centre = cells_to_pixels(torch.tensor([[0.0, 0.0], [3.0, 1.0]]), (100, 200), (2, 4))
    assert centre.tolist() == [[25.0, 25.0], [175.0, 75.0]]
    corner = pixels_to_cells(torch.tensor([[0.0, 0.0], [200.0, 100.0]]), (100, 200), (2, 4))
    assert corner.tolist() == [[-0.5, -0.5], [3.5, 1.5]]


def test_sampling_agrees_with_grid_sample_at_every_centre():
    grid = (5, 7)
    values = torch.arange(35.0).view(1, 1, *grid)
    places = cells_to_sampling(cell_centres(grid), grid)[None]
    sampled = F.grid_sample(values, places, align_corners=False, padding_mode="zeros")
    torch.testing.assert_close(sampled, values, atol=1e-4, rtol=0)


def test_cells_agree_with_interpolate():
    # a ramp over pixels, shrunk by averaging, must hold the pixel coordinate of each cell's centre
    ramp = (torch.arange(400.0) + 0.5).expand(400, 400)[None, None]
    cells = F.adaptive_avg_pool2d(ramp, (25, 25))[0, 0]
    torch.testing.assert_close(cells, cells_to_pixels(cell_centres((25, 25)), (400, 400), (25, 25))[..., 0])


@pytest.mark.parametrize("image_size", [(400, 400), (300, 400), (400, 300), (480, 640), (1000, 700)])
def test_grid_keeps_aspect_and_area(image_size):
    rows, columns = grid_for(image_size, 25)
    assert rows * columns == pytest.approx(625, rel=0.05)
    assert columns / rows == pytest.approx(image_size[1] / image_size[0], rel=0.07)


def test_elongated_pictures_keep_enough_cells():
    assert grid_for((10, 10_000), 25) == (12, 50)
    assert grid_for((10_000, 10), 25) == (50, 12)
