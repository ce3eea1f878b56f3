"""The command line as a whole: version, help, and output in any encoding."""

import os
import re
import subprocess
import sys

import pytest

import semcorr
from semcorr.cli.app import COMMANDS
from semcorr.weights import MODELS


def test_models(run):
    listed = run("models")[1]
    for name, embedded in MODELS.items():
        line = rf"^{name} .*\n +trained: .*seed \d.*; validation PCK@0.1 \d\d\.\d$"
        assert re.search(line, listed, re.MULTILINE), name
        assert embedded.load().trained() in listed


def test_version_and_help(run):
    assert run("--version")[1].strip() == semcorr.__version__
    for command in ([], *([name] for name in COMMANDS), ["data", "download"], ["data", "check"]):
        code, out, _ = run(*command, "--help")
        assert (code, "Usage" in out) == (0, True)


def test_a_module_that_runs():
    done = subprocess.run([sys.executable, "-m", "semcorr", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == semcorr.__version__


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_no_run_is_lost_for_a_letter(folder, tmp_path, encoding):
    command = [sys.executable, "-m", "semcorr", "evaluate", folder, "--model", "nearest", "--grid", "6", "--no-cost"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [*command, "--limit", "2", "--out", "out"], capture_output=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| \\u03b1 = 0.1 |" in done.stdout.decode(encoding)
    assert "| α = 0.1 |" in (tmp_path / "out" / "report.md").read_text("utf-8")
