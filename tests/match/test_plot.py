import os
import resource
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from packaging.version import Version
from PIL import Image

from semcorr.match import plot as plotting
from semcorr.match.result import Match
from semcorr.match.types import Field

ONE_POINT = [(225.0, 150.0)]


def identity_match(source: np.ndarray, target: np.ndarray, confidence: float = 0.9) -> Match:
    """Match two pictures by their unit squares."""

    def field(grid, other):
        x = (np.arange(grid[1]) + 0.5) * other[1] / grid[1]
        y = (np.arange(grid[0]) + 0.5) * other[0] / grid[0]
        points = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)
        return Field(points, np.full(grid, confidence, np.float32))

    return Match(source, target, field((20, 30), target.shape), field((24, 25), source.shape), "pmnc")


@pytest.fixture
def small(monkeypatch):
    """Draw small, where the size does not matter: it is quicker."""
    monkeypatch.setattr(plotting, "_MAX_WIDTH", 650)
    monkeypatch.setattr(plotting, "_MAX_HEIGHT", 500)


@pytest.fixture
def match(cat, small):
    return identity_match(cat, np.ascontiguousarray(cat[:, 100:350]))


def crop(cat, height, width):
    return np.asarray(Image.fromarray(cat).resize((width, height)))


@pytest.mark.skipif(
    Version(matplotlib.__version__) < Version("3.11"), reason="before 3.11, matplotlib stretches an image by a row"
)
def test_panels_show_the_images_in_their_pixels(match, tmp_path):
    figure = match.plot(tmp_path / "m.png")
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
    figure = match.plot(points=point)
    moved = match.transfer(point).points[0]
    sheet = figure.axes[-1]
    drawn = [collection.get_offsets()[0] for collection in sheet.collections]
    for (x, y), axes in zip((point[0], moved), figure.axes[:2], strict=True):
        there = sheet.transData.inverted().transform(axes.transData.transform((x, y)))
        assert min(np.linalg.norm(np.asarray(d) - there) for d in drawn) < 1.5


def test_the_dot_of_a_point_covers_it_in_both_images(match, tmp_path):
    figure = match.plot(tmp_path / "m.png", points=[(265.0, 243.0)])
    drawn = np.asarray(Image.open(tmp_path / "m.png"))
    for axes, point in zip(figure.axes, ((265.0, 243.0), match.transfer([(265.0, 243.0)]).points[0]), strict=False):
        x, y = axes.transData.transform(point)
        column, row = round(x), drawn.shape[0] - round(y)
        around = drawn[row - 8 : row + 9, column - 8 : column + 9].reshape(-1, 3)
        yellow = (np.abs(around - np.array([0.99, 0.85, 0.10]) * 255) < 4).all(axis=1)
        assert yellow.mean() > 0.5  # the number covers the rest


def test_points_are_numbered_in_their_order(match):
    points = np.array([[400.0, 20.0], [30.0, 280.0], [225.0, 150.0]])
    figure = match.plot(points=points)
    sheet = figure.axes[-1]
    numbers = [text for text in sheet.texts if text.get_text().isdigit()]
    assert [text.get_text() for text in numbers] == ["1", "1", "2", "2", "3", "3"]
    places = sheet.transData.transform([text.get_position() for text in numbers[::2]])
    assert np.allclose(figure.axes[0].transData.inverted().transform(places), points, atol=0.1)
    starts = [line.get_xydata()[0] for line in sheet.lines]
    assert np.allclose(starts, [text.get_position() for text in numbers[::2]])


def test_no_mutual_match_is_noted(match):
    size = np.array(match.source_size[::-1])
    elsewhere = (match.backward.points + size / 2) % size
    lost = replace(match, backward=match.backward._replace(points=elsewhere.astype(np.float32)))
    assert len(lost.keypoints(20).source) == 0
    notes = [text.get_text() for text in lost.plot().axes[-1].texts]
    assert notes.count("no mutual\nmatches found") == 2


def test_confidence_is_coloured_from_0_to_1(cat, small):
    unsure, sure = (identity_match(cat, cat, c).plot(points=ONE_POINT) for c in (0.0, 1.0))
    purple, yellow = (figure.axes[3].images[0].get_array().mean(axis=(0, 1)) for figure in (unsure, sure))
    assert purple[2] > purple[1]
    assert yellow[1] > yellow[2]
    texts = [text.get_text() for text in sure.axes[-1].texts]
    assert {"source", "target", "target warped to source", "confidence", "0 unsure", "0.5", "1 sure"} <= set(texts)
    assert "semcorr · pmnc" in texts


def test_the_plot_ignores_the_style_and_leaves_no_figure(match, tmp_path):
    match.plot(tmp_path / "a.png", ONE_POINT)
    odd = {"figure.autolayout": True, "savefig.bbox": "tight", "font.size": 30, "lines.marker": "x", "axes.grid": True}
    with plt.style.context(["dark_background", odd]), warnings.catch_warnings():
        warnings.simplefilter("error")
        match.plot(tmp_path / "b.png", ONE_POINT)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert plt.get_fignums() == []


def test_colours_of_twenty_points_are_distinct(match):
    sheet = match.plot().axes[-1]
    colours = np.array([collection.get_facecolors()[0][:3] for collection in sheet.collections])
    assert len(colours) == 40  # both ends of twenty matches
    ends = colours.reshape(20, 2, 3)
    assert np.array_equal(ends[:, 0], ends[:, 1])
    distances = np.abs(ends[:, None, 0] - ends[None, :, 0]).sum(axis=2) + 9 * np.eye(20)
    assert distances.min() > 0.02


def test_low_confidence_pales_the_warped_target(cat, small):
    sure, unsure = (
        np.asarray(identity_match(cat, cat, c).plot(points=ONE_POINT).axes[2].images[0].get_array()) for c in (0.9, 0.0)
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
def test_any_image_shape_gives_a_legible_plot(cat, tmp_path, source, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        identity_match(crop(cat, *source), crop(cat, *target)).plot(tmp_path / "m.png")
    picture = Image.open(tmp_path / "m.png")
    assert 300 <= picture.width <= 1350
    assert picture.height <= 1200
    assert (tmp_path / "m.png").stat().st_size < 2_000_000


def test_many_points_and_no_points(match):
    many = np.random.default_rng(0).random((500, 2)) * [451, 300]
    assert len(match.plot(points=many).axes[-1].collections) == 2
    sheet = match.plot(points=[]).axes[-1]
    assert any("no points" in text.get_text() for text in sheet.texts)


@pytest.mark.parametrize("ending", ["png", "jpg", "pdf", "svg", "webp"])
def test_formats_are_complete_and_reproducible(match, tmp_path, ending):
    first, second = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    match.plot(first, ONE_POINT)
    match.plot(second, ONE_POINT)
    if ending != "svg":  # matplotlib salts its identifiers
        assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]
    starts = {"png": b"\x89PNG", "jpg": b"\xff\xd8\xff", "pdf": b"%PDF", "svg": b"<?xml", "webp": b"RIFF"}
    assert first.read_bytes().startswith(starts[ending])


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("m.xyz", ValueError, "expected one of .png"),
        ("m", ValueError, "has no suffix"),
        ("none/m.png", FileNotFoundError, "create it first"),
        ("", IsADirectoryError, "is a folder"),
    ],
)
def test_bad_paths_are_refused_in_one_line(match, tmp_path, name, error, message):
    with pytest.raises(error, match=message) as caught:
        match.plot(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_points_write_nothing(match, tmp_path):
    for points, message in (([(1, 2, 3)], "must be"), ([(5, 5), (9999, 5)], "point 1 .* outside")):
        with pytest.raises(ValueError, match=message):
            match.plot(tmp_path / "m.png", points)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_failed_write_keeps_the_old_file(match, tmp_path, monkeypatch, step):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "m.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, step, refuse)
    with pytest.raises(
        PermissionError, match=r"m\.png' cannot be written \(Permission denied\); free disk space"
    ) as caught:
        match.plot(path, ONE_POINT)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.png"]  # noqa: PTH208


def test_a_full_disk_keeps_the_old_file(match, tmp_path):
    path = tmp_path / "m.png"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # no file may grow beyond this, as on a full disk
    try:
        with pytest.raises(OSError, match="free disk space"):
            match.plot(path, ONE_POINT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_its_file_is_replaced(match, tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    match.plot(tmp_path / "link.png", ONE_POINT)
    assert (tmp_path / "link.png").is_symlink()
    assert Image.open(tmp_path / "real.png").format == "PNG"


def test_a_picture_that_was_matched_is_never_written_over(match, cat, tmp_path):
    photograph, link = tmp_path / "cat.png", tmp_path / "link.png"
    Image.fromarray(cat).save(photograph)
    link.symlink_to(photograph)
    before = photograph.read_bytes()
    for path in (photograph, link, tmp_path / "folder" / ".." / "cat.png"):
        with pytest.raises(FileExistsError, match="one of the inputs"):
            replace(match, files=(photograph,)).plot(path)
    assert photograph.read_bytes() == before
