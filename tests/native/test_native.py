"""The native core: which level runs, what it refuses, and that it is compiled from these sources."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import fuzz
import numpy as np
import pytest

import semcorr.native
from semcorr.native import core, functions, levels, loader, structures
from semcorr.native.loader import LEVELS

pytestmark = pytest.mark.skipif(core() is None, reason="the native core is not compiled")
SOURCES = Path(semcorr.native.__file__).parent


def test_every_call_is_answered_or_refused(level):
    fuzz.main(10, seed=LEVELS.index(level))


def test_the_best_level_runs_and_a_lower_one_on_demand(monkeypatch):
    monkeypatch.delenv("SEMCORR_NATIVE", raising=False)
    core.cache_clear()
    assert core().level == levels()[-1]
    for wanted in levels():
        monkeypatch.setenv("SEMCORR_NATIVE", wanted.upper())
        core.cache_clear()
        assert core().level == wanted
    monkeypatch.setenv("SEMCORR_NATIVE", "off")
    core.cache_clear()
    assert core() is None
    with pytest.raises(RuntimeError, match="turned off or missing"):
        functions.pack(np.zeros((1, 1), np.float32))
    monkeypatch.setenv("SEMCORR_NATIVE", "avx9000")
    core.cache_clear()
    with pytest.raises(ValueError, match=r"off or one of plain.*'avx9000'"):
        core()
    core.cache_clear()


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="needs Linux")
def test_the_level_is_what_the_system_says_of_the_processor():
    if "x86" not in os.uname().machine:
        pytest.skip("another processor")
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n")[0].split())
    expected = "avx2" if {"avx2", "fma"} <= flags else "plain"
    expected = "avx512" if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags else expected
    assert levels()[-1] == expected


def test_structures_are_as_long_as_those_of_c(tmp_path):
    names = {"maps": "MapsStructure", "layers": "LayersStructure", "bands": "BandsStructure", "field": "FieldStructure"}
    compiler = os.environ.get("CC", "cc")
    sizes = ", ".join(f"(int)sizeof(struct {name})" for name in names)
    program = tmp_path / "sizes.c"
    printed = " ".join(["%d"] * len(names))
    program.write_text(f'#include <stdio.h>\n#include "native.c"\nint main(void) {{ printf("{printed}", {sizes}); }}\n')
    command = [compiler, "-std=gnu11", "-Wno-psabi", f"-I{SOURCES}", str(program), "-lm", "-o", str(tmp_path / "sizes")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except OSError:
        pytest.skip("there is no C compiler")
    found = subprocess.run([tmp_path / "sizes"], check=True, capture_output=True, text=True).stdout.split()
    assert [int(size) for size in found] == [ctypes.sizeof(getattr(structures, s)) for s in names.values()]


def test_other_sources_are_noticed(monkeypatch, caplog):
    monkeypatch.setattr(loader, "_sources", lambda _: "others")
    assert loader._open.__wrapped__() is None
    assert "compiled from other sources" in caplog.text


def test_matches_at_once_are_those_one_after_the_other():
    code = (
        "import os, threading, numpy as np\n"
        "from semcorr.matchers.pmnc.matcher import PatchMatcher\n"
        "import fuzz\n"
        "rng = np.random.default_rng(0)\n"
        "a, b = (rng.standard_normal((16, 20, 20)).astype(np.float32) for _ in 'ab')\n"
        "match = PatchMatcher(fuzz.scoring(np.random.default_rng(2)), 10)\n"
        "alone = match(a, b, 1)\n"
        "def run(): found.append(match(a, b))\n"
        "found, threads = [], [threading.Thread(target=run) for _ in range(8)]\n"
        "[t.start() for t in threads], [t.join() for t in threads]\n"
        "same = [np.array_equal(one.table(), alone.table(), equal_nan=True) for one in found]\n"
        "child = os.fork() if hasattr(os, 'fork') else 0\n"
        "again = match(a, b, 2)\n"  # the helpers' threads are not there in the child
        "assert np.array_equal(again.table(), alone.table(), equal_nan=True)\n"
        "if not child and hasattr(os, 'fork'): os._exit(0)\n"
        "print(sum(same), os.waitpid(child, 0)[1] if child else 0)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(fuzz.__file__).parent), *sys.path])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.split() == ["8", "0"]
