import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import semcorr
from semcorr.cli.app import main
from semcorr.errors import SemcorrError
from semcorr.models.memory import DENSE, bytes_per_pair, check_memory, memory_of

CPU = "cpu"


def test_memory_of_this_machine():
    assert 2**28 < memory_of(CPU) < 2**50


def test_only_what_does_not_fit_is_refused():
    most = int(memory_of(CPU) // DENSE)
    check_memory(most, CPU)
    with pytest.raises(SemcorrError, match=r"needs about \d+ GB, and cpu has \d+ GB: choose a smaller grid"):
        check_memory(most + most // 10, CPU)


def test_the_suggested_grid_fits():
    with pytest.raises(SemcorrError) as caught:
        check_memory(512**4, CPU)
    check_memory(int(str(caught.value).split("up to ")[1].split(")")[0]) ** 4, CPU)


def test_a_huge_grid_is_refused_up_front(cat):
    with pytest.raises(SemcorrError, match="choose a smaller grid"):
        semcorr.load("nearest", grid=512).match(cat, cat)


def test_a_batch_that_is_too_large_is_refused(cat):
    model = semcorr.load("ncnet")
    encoded = model.encode(cat)
    grid = encoded.features.grid
    count = int(memory_of(CPU) // bytes_per_pair(model.method, grid, grid, CPU) // np.prod(grid) ** 2) + 1
    with pytest.raises(SemcorrError, match="or match fewer pairs at once"):
        model.match_many([(encoded, encoded)] * count)


def test_pairs_that_are_matched_one_after_the_other_need_no_memory_together(cat, monkeypatch):
    model = semcorr.load("nearest")
    encoded = model.encode(cat)
    enough_for_one = int(DENSE * np.prod(encoded.features.grid) ** 2)
    monkeypatch.setattr(semcorr.models.memory, "memory_of", lambda device: enough_for_one)
    assert len(model.match_many([(encoded, encoded)] * 3)) == 3


def test_each_matcher_estimates_its_memory():
    small, large = (25, 25), (100, 100)
    nearest, pmnc, ncnet = (semcorr.load(name).method for name in ("nearest", "pmnc", "ncnet"))
    assert bytes_per_pair(nearest, small, small, CPU) == DENSE
    assert bytes_per_pair(ncnet, small, small, CPU) > 10 * bytes_per_pair(pmnc, small, small, CPU)
    assert bytes_per_pair(pmnc, large, large, CPU) < bytes_per_pair(pmnc, small, small, CPU)
    pmnc = replace(pmnc, compiled=False)
    assert bytes_per_pair(pmnc, small, small, CPU) == 60


RUNS_OUT = """
import resource, sys, numpy, semcorr
model = semcorr.load("nearest", grid=90)
noise = model.encode(numpy.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=numpy.uint8))
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 200_000_000,) * 2)
model.match(noise, noise)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process by what Linux says of it")
@pytest.mark.slow
def test_running_out_of_memory_is_reported():
    run = subprocess.run([sys.executable, "-c", RUNS_OUT], capture_output=True, text=True, check=False)
    assert "SemcorrError: out of memory on cpu: matching 6.6e+07 pairs of cells needs" in run.stderr.splitlines()[-1]


def test_the_command_line_reports_it_in_one_line(cheetah_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["semcorr", "match", str(cheetah_path), str(cheetah_path), "--grid", "512"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("semcorr: matching ")
