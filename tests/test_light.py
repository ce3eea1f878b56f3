"""What `pip install semcorr` brings, in an environment of its own that has no torch: it matches as recorded."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from golden_answers import CASES, FILE, photographs
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
LIGHT = ["pmnc", "pmnc-universal", "nearest", "pmnc grid 50"]
PIXELS, SURE = 0.05, 0.002

pytestmark = pytest.mark.slow

MATCH = """
import json, sys
import semcorr
asked, answers = json.load(open(sys.argv[1])), {}
for case, arguments in asked["cases"].items():
    model = semcorr.load(**arguments)
    for name, (source, target, points) in asked["pairs"][case].items():
        moved, confidence = model.match(source, target).transfer(points)
        answers[f"{case}: {name}"] = [moved.tolist(), confidence.tolist()]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Return the folder of a virtual environment with the package and its dependencies alone, and what it runs in."""
    pytest.importorskip("hatchling", reason="hatchling, of the extra dev, is not installed")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout to install")
    folder = tmp_path_factory.mktemp("light")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    venv.create(folder / "venv", with_pip=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", *folder.glob("*.whl")],
        env=variables,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0 and "No matching distribution" in done.stderr + done.stdout:
        pytest.skip("there is no package index")
    assert done.returncode == 0, done.stderr
    return folder, variables


@pytest.fixture(scope="module")
def pairs(environment, cat, cheetah_path):
    """Return the pairs of photographs as files."""
    folder, _ = environment
    files = {}
    for name, both in photographs().items():
        files[name] = [str(folder / f"{name}-{side}.png") for side in ("source", "target")]
        for path, picture in zip(files[name], both, strict=True):
            Image.fromarray(picture).save(path)
    return files


def run(environment, *command):
    folder, variables = environment
    done = subprocess.run([*map(str, command)], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def recorded(case, name):
    return np.split(np.array(json.loads(FILE.read_text())[case][name]), [2, 4], axis=1)


def test_there_is_no_torch(environment):
    code = "from importlib.util import find_spec; print([m for m in ('torch', 'timm', 'scipy') if find_spec(m)])"
    assert run(environment, environment[0] / "venv/bin/python", "-c", code).strip() == "[]"


def test_answers_are_as_recorded(environment, pairs):
    asked = {case: {name: [*pairs[name], recorded(case, name)[0].tolist()] for name in pairs} for case in LIGHT}
    (environment[0] / "asked.json").write_text(json.dumps({"cases": {c: CASES[c] for c in LIGHT}, "pairs": asked}))
    answers = json.loads(run(environment, environment[0] / "venv/bin/python", "-c", MATCH, "asked.json"))
    for case in LIGHT:
        for name in pairs:
            _, points, sure = recorded(case, name)
            moved, confidence = answers[f"{case}: {name}"]
            np.testing.assert_allclose(moved, points, atol=PIXELS, err_msg=f"{case}: {name}")
            np.testing.assert_allclose(confidence, sure[:, 0], atol=SURE, err_msg=f"{case}: {name}")


def test_the_command_answers_alike(environment, pairs):
    name = "cat, cheetah"
    asked, points, sure = recorded("pmnc", name)
    command = environment[0] / "venv/bin/semcorr"
    options = [f"--point={x},{y}" for x, y in asked]
    found = json.loads(run(environment, command, "match", *pairs[name], *options, "--json"))["points"]
    answered = [index for index, answer in enumerate(found) if answer["target"] is not None]
    assert len(answered) > len(found) / 2
    for index in answered:
        assert found[index]["target"] == pytest.approx(points[index], abs=PIXELS)
        assert found[index]["confidence"] == pytest.approx(sure[index, 0], abs=SURE)
    assert "pmnc" in run(environment, command, "models")


def test_what_needs_an_extra_names_it(environment, pairs):
    folder, variables = environment
    for options, said in (
        (["match", *pairs["cat, cheetah"], "--model", "ncnet"], "pip install 'semcorr[torch]'"),
        (["match", *pairs["cat, cheetah"], "--backbone", "resnet18"], "pip install 'semcorr[torch]'"),
        (["export"], "pip install 'semcorr[torch]'"),
        (["train", "pmnc"], "pip install 'semcorr[train]'"),
    ):
        done = subprocess.run(
            [folder / "venv/bin/semcorr", *options], cwd=folder, env=variables, capture_output=True, text=True
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert said in done.stderr
