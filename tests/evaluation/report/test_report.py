"""The report's figures are the ones it was given; its page works in a real browser."""

import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from semcorr.data.pairs import Pair, Photo
from semcorr.errors import DataError
from semcorr.evaluation.report.figures import draw_calibration, draw_curves
from semcorr.evaluation.report.tables import main_table
from semcorr.evaluation.report.write import to_json, to_markdown, write_report
from semcorr.evaluation.results import Cost, Prediction
from semcorr.evaluation.score import differences, evaluate

NASTY = "<script>alert('x')</script>|cat"


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory, cat):
    root = tmp_path_factory.mktemp("photographs")
    pairs = []
    for index in range(8):
        photos = []
        for side in "ab":
            path = root / f"a rather long name of a photograph {index}{side}.jpg"
            width = 150 + 40 * index
            Image.fromarray(np.ascontiguousarray(cat[:, :width])).save(path)
            points = {"eye": (100.0, 80.0), "ear": (40.0, 20.0 + index)}
            photos.append(Photo(path, (300, width), points, None, NASTY if index % 2 else "dog"))
        pairs.append(Pair(*photos, {"viewpoint": "easy" if index < 4 else "hard"}))

    def evaluated(name, off):
        predictions = [
            Prediction([(x + off * i, y) for x, y in pair.points()[1].tolist()], [0.9, 0.4])
            for i, pair in enumerate(pairs)
        ]
        return evaluate(name, "made up test", pairs, predictions)

    return [evaluated("nearest", 12), evaluated("pmnc", 5), evaluated("ncnet", 8)]


@pytest.fixture(scope="module")
def report(evaluations, tmp_path_factory):
    found = differences(evaluations[1], evaluations[0])
    return write_report(evaluations, tmp_path_factory.mktemp("report"), found)


def test_json_holds_the_figures(evaluations, report):
    read = json.loads(report["json"].read_text())
    assert read == to_json(evaluations, differences(evaluations[1], evaluations[0]))
    for method, evaluation in zip(read["methods"], evaluations, strict=True):
        for alpha, value in evaluation.scores.per_point.items():
            assert method["per_point"][f"{alpha:g}"] == pytest.approx(value, abs=1e-3)
        assert method["groups"]["viewpoint"]["hard"]["pairs"] == 4


def test_markdown_holds_the_figures_and_their_definition(evaluations, report):
    text = report["md"].read_text()
    assert "8 pairs, 16 points" in text
    assert "longer side of the target picture, in native pixels" in text
    row = next(line for line in text.splitlines() if line.startswith("| pmnc | mean over pairs"))
    cells = [cell.strip(" *") for cell in row.strip("|").split("|")]
    assert cells[2:6] == [f"{value:.1f}" for value in evaluations[1].scores.per_image.values()]
    # a category's name cannot break the table
    widths = {
        len(re.split(r"(?<!\\)\|", line))
        for line in text.split("By category, mean over pairs:")[1].split("By ")[0].strip().splitlines()
    }
    assert len(widths) == 1


def test_the_best_figures_stand_out(evaluations, report):
    best = {
        e.model for e in evaluations if e.scores.per_image[0.05] == max(o.scores.per_image[0.05] for o in evaluations)
    }
    assert best == {"pmnc"}
    lines = report["md"].read_text().splitlines()
    for model in ("nearest", "pmnc", "ncnet"):
        row = next(line for line in lines if line.startswith(f"| {model} | mean over pairs"))
        assert row.split("|")[4].strip().startswith("**") == (model in best)
    table = main_table(evaluations)
    shown = {table.rows[row][0] for row, column in table.best if table.header[column] == "α = 0.05"}
    assert shown == best


def test_figures_of_other_pairs_or_names_do_not_stand_in_one_table(evaluations):
    with pytest.raises(DataError, match="same pairs and protocol"):
        to_markdown([evaluations[0], replace(evaluations[1], threshold="bbox")])
    with pytest.raises(DataError, match="two evaluations are named 'pmnc'"):
        to_markdown([evaluations[1], evaluations[1]])
    with pytest.raises(DataError, match="at least one evaluation"):
        to_markdown([])


def test_times_and_memory_stand_in_the_table(evaluations):
    costs = [Cost(0.5, 1.25, 90.0), Cost(0.25, 1.0, None), None]
    table = main_table([replace(e, cost=cost) for e, cost in zip(evaluations, costs, strict=True)])
    assert [row[-3:] for row in table.rows] == [["0.500", "1.250", "90"], ["0.250", "1.000", "–"], ["–", "–", "–"]]
    assert {(1, len(table.header) - 3), (1, len(table.header) - 2)} <= table.best  # less is better
    assert all(table.numeric[-3:])


def test_page_holds_the_figures_escaped_and_needs_nothing(evaluations, report):
    page = report["html"].read_text()
    assert NASTY not in page
    assert html.escape(NASTY, quote=False).replace("'", "&#39;") in page
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
    for evaluation in evaluations:
        assert f">{evaluation.scores.per_image[0.1]:.1f}<" in page
    assert len(page) < 5_000_000


def test_reports_are_the_same_every_time(evaluations, report, tmp_path):
    again = write_report(evaluations, tmp_path, differences(evaluations[1], evaluations[0]))
    for kind, path in report.items():
        assert again[kind].read_bytes() == path.read_bytes(), kind
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "report.html", "report.json", "report.md"]


def test_pictures_that_are_gone_are_left_out(evaluations, tmp_path):
    photo = Photo(tmp_path / "gone.jpg", (100, 100), {"nose": (5.0, 5.0)}, None, "cat")
    lost = evaluate("m", "d", [Pair(photo, photo)], [Prediction([(5.0, 5.0)], [1.0])])
    page = write_report([lost], tmp_path)["html"].read_text()
    assert "picture not found" in page
    assert "100.0" in to_markdown([lost])


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_page_in_a_browser(browser, report, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(report["html"].as_uri())
    assert browser.execute_script("return document.scrollingElement.scrollWidth <= window.innerWidth")
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.execute_script("return document.images.length") == 2 + 3 * 6 * 4
    assert browser.execute_script("return document.querySelectorAll('script').length") == 0
    assert browser.get_log("browser") == []
    # every table that is wider than the page scrolls in its own box
    assert browser.execute_script(
        "return [...document.querySelectorAll('table')].every(t => t.parentElement.clientWidth <= window.innerWidth)"
    )
    seen = browser.execute_script(
        """return [...document.querySelectorAll('table')].map(t => {
            const edge = t.parentElement.getBoundingClientRect().right;
            const cells = [...t.rows[1].cells].filter(c => getComputedStyle(c).display != 'none');
            return [cells.filter(c => c.getBoundingClientRect().right <= edge + 1).length, cells.length];
        })"""
    )
    hint = browser.execute_script("return getComputedStyle(document.querySelector('.narrow')).display")
    if width == 390:  # at least two columns of figures are seen at once, and the page says that the others can be
        assert all(shown >= 4 for shown, _ in seen), seen
        assert hint == "block"
    else:  # no column is cut, and a pair's four pictures stand in one line
        assert all(shown == columns for shown, columns in seen), seen
        assert hint == "none"
        lines = browser.execute_script(
            """return [...document.querySelectorAll('.row')].map(
                row => new Set([...row.children].map(figure => figure.offsetTop)).size)"""
        )
        assert set(lines) == {1}


def test_legends_hide_no_curve(evaluations):
    for figure in (draw_curves(evaluations), draw_calibration(evaluations)):
        FigureCanvasAgg(figure).draw()
        legend = figure.legends[0].get_window_extent()
        assert not legend.overlaps(figure.axes[0].get_window_extent())
        assert figure.bbox.contains(*legend.min)
        assert figure.bbox.contains(*legend.max)
