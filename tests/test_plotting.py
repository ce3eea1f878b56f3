import resource
import signal
import warnings

import numpy as np
import pytest
from PIL import Image

from semcorr.match import Field, Match
from semcorr.plotting import plot_match


def identity_match(source: np.ndarray, target: np.ndarray, confidence: float = 0.9) -> Match:
    """Match two pictures by their unit squares."""

    def field(grid, other):
        x = (np.arange(grid[1]) + 0.5) * other[1] / grid[1]
        y = (np.arange(grid[0]) + 0.5) * other[0] / grid[0]
        points = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)
        return Field(points, np.full(grid, confidence, np.float32))

    return Match(source, target, field((20, 30), target.shape), field((24, 25), source.shape), "pmnc")


@pytest.fixture
def match(cat):
    return identity_match(cat, np.ascontiguousarray(cat[:, 100:350]))


def crop(cat, height, width):
    return np.asarray(Image.fromarray(cat).resize((width, height)))


def test_panels_show_the_pictures_in_their_pixels(match, tmp_path):
    figure = plot_match(match, tmp_path / "m.png")
    sizes = [(axes.get_xlim()[1], axes.get_ylim()[0]) for axes in figure.axes[:4]]
    assert sizes == [(451, 300), (250, 300), (451, 300), (451, 300)]
    drawn = np.asarray(Image.open(tmp_path / "m.png"))
    box = figure.axes[0].get_position()
    height, width = drawn.shape[:2]
    left, right = round(box.x0 * width), round(box.x1 * width)
    top, bottom = round((1 - box.y1) * height), round((1 - box.y0) * height)
    expected = np.asarray(Image.fromarray(match.source).resize((right - left, bottom - top)))
    difference = np.abs(drawn[top:bottom, left:right, :3].astype(int) - expected)
    assert np.median(difference) <= 2  # all but the points and lines


def test_points_lie_where_they_were_transferred(match):
    point = np.array([[265.0, 243.0]])
    figure = plot_match(match, points=point)
    moved = match.transfer(point).points[0]
    sheet = figure.axes[-1]
    drawn = [collection.get_offsets()[0] for collection in sheet.collections]
    for (x, y), axes in zip((point[0], moved), figure.axes[:2], strict=True):
        there = sheet.transData.inverted().transform(axes.transData.transform((x, y)))
        assert min(np.linalg.norm(np.asarray(d) - there) for d in drawn) < 1.5


def test_colours_of_twenty_points_can_be_told_apart(match):
    sheet = plot_match(match).axes[-1]
    colours = np.array([collection.get_facecolors()[0][:3] for collection in sheet.collections])
    assert len(colours) == 40  # both ends of twenty
    ends = colours.reshape(20, 2, 3)
    assert np.array_equal(ends[:, 0], ends[:, 1])
    distances = np.abs(ends[:, None, 0] - ends[None, :, 0]).sum(axis=2) + 9 * np.eye(20)
    assert distances.min() > 0.02


def test_low_confidence_pales_the_warped_target(cat):
    sure, unsure = (
        np.asarray(plot_match(identity_match(cat, cat, c)).axes[2].images[0].get_array()) for c in (0.9, 0.0)
    )
    assert unsure.mean() > 225 > sure.mean()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((300, 200), (200, 300)),
        ((64, 512), (512, 64)),
        ((64, 64), (300, 451)),
        ((8, 2000), (9, 9)),
        ((3000, 4000), (50, 50)),
    ],
)
def test_any_shape_is_legible_and_small(cat, tmp_path, source, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_match(identity_match(crop(cat, *source), crop(cat, *target)), tmp_path / "m.png")
    picture = Image.open(tmp_path / "m.png")
    assert 300 <= picture.width <= 1350
    assert picture.height <= 1200
    assert (tmp_path / "m.png").stat().st_size < 2_500_000


def test_many_points_no_points(match):
    many = np.random.default_rng(0).random((500, 2)) * [451, 300]
    assert len(plot_match(match, points=many).axes[-1].collections) == 2
    sheet = plot_match(match, points=[]).axes[-1]
    assert any("no points" in text.get_text() for text in sheet.texts)


@pytest.mark.parametrize("ending", ["png", "jpg", "pdf", "svg", "webp"])
def test_formats_are_written_whole_and_alike(match, tmp_path, ending):
    first, second = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    plot_match(match, first)
    plot_match(match, second)
    if ending != "svg":  # matplotlib salts its identifiers
        assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("m.xyz", ValueError, "expected one of .png"),
        ("m", ValueError, "has no ending"),
        ("none/m.png", FileNotFoundError, "create it first"),
        ("", IsADirectoryError, "is a folder"),
    ],
)
def test_bad_places_are_refused_in_one_line(match, tmp_path, name, error, message):
    with pytest.raises(error, match=message) as caught:
        plot_match(match, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_old_picture(match, tmp_path):
    path = tmp_path / "m.png"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # no file may grow beyond this, as on a full disk
    try:
        with pytest.raises(OSError, match="make room"):
            plot_match(match, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_its_file_is_replaced(match, tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    plot_match(match, tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert Image.open(tmp_path / "real.png").format == "PNG"
