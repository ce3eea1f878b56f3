import json
import math
import sys

import numpy as np
import pytest
import torch

from semcorr.cli.app import main
from semcorr.errors import SemcorrError
from semcorr.matchers.pmnc.gpu.scoring import ScoringFunction
from semcorr.matchers.pmnc.gpu.search import exhaustive_search
from semcorr.profiling.case import Case, Settings, load_case, measure, synthetic_pair, with_radius, with_radius_on_torch
from semcorr.profiling.plan import plan
from semcorr.profiling.table import growth, plot, series, to_markdown


def maps(radius):
    torch.manual_seed(radius)
    return torch.rand(1, 2, 4, 5, 5, 4)


def test_a_window_grown_by_zeros_scores_as_before():
    scoring = ScoringFunction(1).requires_grad_(False)
    grown = with_radius_on_torch(scoring, 3)
    assert grown.window.shape == (16, 2, 49, 49)
    torch.testing.assert_close(exhaustive_search(maps(0), grown), exhaustive_search(maps(0), scoring))


def test_a_cut_window_keeps_its_centre():
    scoring = ScoringFunction(2).requires_grad_(False)
    cut = with_radius_on_torch(scoring, 0)
    torch.testing.assert_close(cut.window[:, :, 0, 0], scoring.window[:, :, 12, 12])
    torch.testing.assert_close(with_radius_on_torch(with_radius_on_torch(scoring, 4), 2).window, scoring.window)


@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_windows_change_alike_without_torch(radius):
    scoring = ScoringFunction(2).requires_grad_(False)
    own, other = with_radius(scoring.arrays(), radius), with_radius_on_torch(scoring, radius).arrays()
    assert own.radius == other.radius == radius
    assert np.array_equal(own.window, other.window)


def test_cases_rise_with_the_grid_and_only_pmnc_has_windows():
    assert plan(["nearest", "pmnc"], [32, 16], [1, 2]) == [
        Case("nearest", 16),
        Case("nearest", 32),
        Case("pmnc", 16, 1),
        Case("pmnc", 32, 1),
        Case("pmnc", 16, 2),
        Case("pmnc", 32, 2),
    ]


@pytest.mark.parametrize("case", [Case("nearest", 8), Case("pmnc", 8, 1), Case("ncnet", 6), Case("ancnet", 6)])
def test_every_method_loads_at_its_grid(case):
    model = load_case(case)
    match = model.match(*synthetic_pair())
    fields = (50, 50) if case.method == "pmnc" else (case.grid, case.grid)  # on the cells of its fine descriptors
    assert (match.model, match.forward.confidence.shape) == (case.method, fields)
    assert model.encode(synthetic_pair()[0]).features.grid == (case.grid, case.grid)
    if case.radius is not None:
        assert model.method.scoring.radius == case.radius


def test_the_part_that_was_enlarged_is_found():
    match = load_case(Case("pmnc", 25, 2)).match(*synthetic_pair())
    x, y = match.transfer([(210, 190)]).points[0]  # the middle of the part: box 60, 40 to 360, 340
    assert math.hypot(x - 200, y - 200) < 24


def test_failures_are_one_line():
    with pytest.raises(SemcorrError, match="took more than 0 s"):
        measure("cost", Case("nearest", 8), Settings(), 0.01)
    with pytest.raises(SemcorrError, match=r"unknown model 'pnmc' — did you mean pmnc"):
        measure("cost", Case("pnmc", 8), Settings(), 60)


def test_precision_of_photographs(shared_keypoints):
    found = measure("precision", Case("nearest", 16), Settings(str(shared_keypoints), pairs=2), 300)
    assert 0 <= found["pck"] <= 100


ROWS = {
    Case("pmnc", 16, 2): {"matching": 0.01, "total": 0.1, "megabytes": 2.0, "reached": 0.99, "scored": 0.05},
    Case("pmnc", 32, 2): {"matching": 0.04, "total": 0.2, "megabytes": None},
    Case("ncnet", 16): {"matching": 0.3, "total": 0.4, "megabytes": 60.0, "pck": 51.26},
    Case("ncnet", 32): {"left_out": {"cost": "would take about 90 s, the limit is 60 s"}},
}


def test_table():
    text = to_markdown(ROWS, "somewhere", Case("pmnc", 0, 2))
    assert "| `ncnet` |  | 16 | 300.0 ms | 30.0 | 400 ms | 60.0 MB |  |  | 51.3 |" in text
    assert "| `pmnc` | 2 | 16 | 10.0 ms | 1.0 | 100 ms | 2.0 MB | 99.0 % | 5.00 % |  |" in text
    assert "- pmnc, r = 2: time grows as cells^1.00 from grid 16 to 32" in text
    assert "- ncnet at grid 32, cost: would take about 90 s, the limit is 60 s" in text
    assert growth([16], [1.0]) is None
    assert series(ROWS, "megabytes") == {"ncnet": ([16], [60.0]), "pmnc, r = 2": ([16], [2.0])}


def test_plot_needs_no_figures(tmp_path):
    for name, rows in (("a.svg", ROWS), ("b.png", {Case("pmnc", 16, 2): {}})):
        plot(rows, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_command_goes_on_and_names_what_it_leaves_out(tmp_path, monkeypatch, capsys):
    command = ["semcorr", "benchmark", "--methods", "pmnc", "--grids", "8,200", "--radii", "2", "--runs", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path)])
    for again in (False, True):
        with pytest.raises(SystemExit):
            main()
        out, err = capsys.readouterr()
        assert "| `pmnc` | 2 | 8 |" in out
        assert "pmnc, r = 2 at grid 200, cost: would" in out
        assert ("pmnc, r = 2 at grid 8, cost:" in err) != again
    kept = json.loads((tmp_path / "benchmark.json").read_text())["cases"]
    small = next(case for case in kept if case["case"]["grid"] == 8)
    assert 0.5 < small["reached"] <= 1
    assert 0 < small["scored"] < 1
    assert 0 < small["matching"] < small["total"]
    assert (tmp_path / "benchmark.md").read_text() == out
    assert (tmp_path / "benchmark.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grids", "0"], "--grids must be integers from 2 to 512"),
        (["--methods", "pnmc"], "did you mean pmnc"),
        (["--radii", "two"], "--radii must be integers from 0 to 4"),
        (["--data", "nowhere"], "--data must be a folder"),
        (["--figures", "cost,time"], "--figures must be cost or optimum or precision; got 'time'"),
    ],
)
def test_mistakes_are_said(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["semcorr", "benchmark", *arguments, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert message in capsys.readouterr().err
