"""The commands as a user runs them: exit codes, stdout, stderr, and what is on disk afterwards."""

import functools
import html
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import layouts
import pytest
from PIL import Image

import semcorr
from semcorr.evaluation.run import FILE
from semcorr.profiling.machine import processor
from semcorr.threads import thread_count
from semcorr.weights import BACKBONES, FOLDER, MODELS, Embedded

NEAREST = ("--model", "nearest", "--grid", 6, "--no-cost")
PMNC = ("--grid", 6, "--no-cost")


def test_evaluate_and_a_second_scoring_with_no_matching(run, folder):
    arguments = ("evaluate", "keypoints", "--root", folder, *NEAREST)
    code, first, err = run(*arguments)
    assert code == 0, err
    assert "| nearest | mean over pairs |" in first
    assert "12/12" in err
    home = Path("runs/evaluate/keypoints-test")
    assert str(home / "report.html") in err.splitlines()[-1]
    assert sorted(path.name for path in home.iterdir()) == ["nearest", "report.html", "report.json", "report.md"]
    assert first == (home / "report.md").read_text()
    pages = {kind: (home / f"report.{kind}").read_bytes() for kind in ("md", "json", "html")}
    predictions = (home / "nearest" / FILE).read_bytes()
    code, second, err = run(*arguments)
    assert (code, second) == (0, first)
    assert "matching" not in err
    assert {kind: (home / f"report.{kind}").read_bytes() for kind in pages} == pages
    # and by another protocol
    by_extent = ("--threshold", "keypoints", "--space", "square", "--alpha", 0.02, "--alpha", 0.2, "--alpha", 0.02)
    code, other, err = run(*arguments, *by_extent)
    assert code == 0, err
    assert "matching" not in err
    assert "extent of the target's keypoints, in pixels after squashing" in other
    assert "| α = 0.2 | α = 0.02 | area |" in other
    assert (home / "nearest" / FILE).read_bytes() == predictions


def test_a_killed_run_goes_on_and_gives_the_same_report(run, folder):
    arguments = ("evaluate", "keypoints", "--root", folder, "--grid", 10, "--batch", 1, "--no-cost", "--out")
    line = [Path(sys.executable).with_name("semcorr"), *map(str, arguments), "killed"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    file = Path("killed/pmnc", FILE)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= 4:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    survived = file.read_bytes().splitlines()[1:4]
    assert file.read_bytes().count(b"\n") < 13
    assert not Path("killed/report.json").exists()
    code, out, err = run(*arguments, "killed")
    assert code == 0, err
    code, straight, err = run(*arguments, "straight")
    assert code == 0, err
    assert out == straight
    for report in ("report.md", "report.json", "report.html", "pmnc/" + FILE):
        assert Path("killed", report).read_bytes() == Path("straight", report).read_bytes(), report
    assert file.read_bytes().splitlines()[1:4] == survived


def test_compare_takes_up_what_evaluate_left(run, folder):
    code, _, err = run("evaluate", folder, *NEAREST, "--out", "out")
    assert code == 0, err
    code, out, err = run("compare", folder, "--models", "nearest,pmnc", *PMNC, "--out", "out")
    assert code == 0, err
    assert "matching with pmnc" in err
    assert "matching with nearest" not in err
    assert "| pmnc − nearest | 0.1 |" in out
    with Image.open("out/figure.png") as figure:
        assert figure.width == 1430
    assert str(Path("out/figure.png")) in err
    report = json.loads(Path("out/report.json").read_text())
    assert [method["model"] for method in report["methods"]] == ["nearest", "pmnc"]
    gain = report["differences"][0]
    values = [method["per_image"]["0.1"] for method in report["methods"]]
    assert gain["mean"] == pytest.approx(values[1] - values[0], abs=2e-3)
    assert gain["low"] <= gain["mean"] <= gain["high"]


def test_decoding_is_part_of_a_run(run, folder):
    arguments = ("compare", folder, "--models", "pmnc,pmnc-universal", *PMNC, "--limit", 3)
    code, _, err = run(*arguments, "--decoding", "argmax", "--out", "out")
    assert code == 0, err
    code, _, err = run(*arguments, "--out", "out")
    assert (code, "other settings or pairs" in err) == (2, True)
    assert run(*arguments, "--out", "soft")[0] == 0
    rounded, soft = (json.loads(Path(name, "report.json").read_text()) for name in ("out", "soft"))
    for one, other in zip(rounded["methods"], soft["methods"], strict=True):
        assert (one["settings"]["decoding"], other["settings"]["decoding"]) == ("argmax", "soft-argmax")
        assert one["curve"] != other["curve"]


def test_time_and_memory_in_a_process_of_its_own(run, folder):
    arguments = ("evaluate", folder, "--model", "nearest", "--grid", 6, "--limit", 2, "--out", "out")
    code, first, err = run(*arguments)
    assert code == 0, err
    cost = json.loads(Path("out/report.json").read_text())["methods"][0]["cost"]
    assert 0 < cost["matching"] < cost["total"]
    assert (
        cost["megabytes"] is None or 0 <= cost["megabytes"] < 200
    )  # of the matching stage alone: no library, no model
    assert re.search(rf"\| nearest \| mean over pairs \|.*\| {cost['matching']:.3f} \| {cost['total']:.3f} \|", first)
    assert run(*arguments)[:2] == (0, first)  # measured once
    assert json.loads(Path("out/nearest/cost.json").read_text())["matching"] == cost["matching"]
    Path("out/nearest/cost.json").write_text('{"fingerprint": "of another run", "matching": 1}')
    assert run(*arguments)[0] == 0
    assert json.loads(Path("out/report.json").read_text())["methods"][0]["cost"]["matching"] < 1
    stored = json.loads(Path("out/nearest/cost.json").read_text())
    Path("out/nearest/cost.json").write_text(json.dumps({**stored, "matching": 7.5}))  # measured on a busy machine
    assert "| 7.500 |" in run(*arguments)[1]
    assert "| 7.500 |" not in run(*arguments, "--fresh")[1]


def test_a_report_says_where_its_figures_come_from(run, folder):
    """A copied table can be traced: version, command, machine, threads and weights are in every report."""
    arguments = ("--models", "nearest,pmnc", *PMNC, "--limit", 2, "--alpha", 0.1, "--batch", 3)
    code, out, err = run("compare", folder, *arguments, "--out", "out")
    assert code == 0, err
    command = f"semcorr compare {folder} --models nearest,pmnc --limit 2 --alpha 0.1 --grid 6 --batch 3 --no-cost"
    page = html.unescape(Path("out/report.html").read_text())
    origin = json.loads(Path("out/report.json").read_text())["origin"]
    assert origin["command"] == command
    assert origin["semcorr"] == semcorr.__version__
    assert origin["threads"] == str(thread_count())
    for text in (out, page):
        text = text.replace("\\", "")
        for part in (command, f"semcorr {semcorr.__version__}, ONNX Runtime", processor(), MODELS["pmnc"].sha256[:12]):
            assert part in text, part
    # and the command gives the very same report
    assert run(*command.split()[1:], "--out", "again")[1] == out


def test_weights_of_ones_own(run, folder):
    shutil.copy(FOLDER / "pmnc.safetensors", "mine.safetensors")
    arguments = ("evaluate", folder, *PMNC, "--limit", 2, "--out")
    assert run(*arguments, "shipped")[0] == 0
    code, _, err = run(*arguments, "mine", "--weights", "mine.safetensors")
    assert code == 0, err
    mine, shipped = (json.loads(Path(name, "report.json").read_text()) for name in ("mine", "shipped"))
    assert mine["methods"][0]["per_image"] == shipped["methods"][0]["per_image"]
    # the same numbers, and yet another run: its predictions are not taken for the others
    code, _, err = run(*arguments, "shipped", "--weights", "mine.safetensors")
    assert (code, "other settings or pairs" in err) == (2, True)


def test_any_coco_file(run, built):
    root = built["ap-10k"]
    files = ("--annotations", root / "annotations" / "ap10k-test-split1.json", "--images", root / "data")
    code, out, err = run("evaluate", "coco", *files, *NEAREST, "--limit", 4)
    assert code == 0, err
    assert "4 pairs, 12 points" in out
    assert "the target's bounding box" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["keypoint", "--root", "FOLDER"], "did you mean keypoints"),
        (["keypoints"], "--root is missing"),
        (["no/such/folder"], "no/such/folder is not a folder"),
        (["keypoints", "--root", "FOLDER", "--split", "tset"], "tset"),
        (["FOLDER", "--threshold", "box"], "threshold must be image or bbox or keypoints; got 'box'"),
        (["FOLDER", "--threshold", "bbox"], "has no box: choose the threshold"),
        (["FOLDER", "--space", "pixels"], "space must be native or square; got 'pixels'"),
        (["FOLDER", "--alpha", "10"], "alpha must be above 0 and at most 1; got 10"),
        (["FOLDER", "--alpha", "nan"], "alpha must be above 0 and at most 1; got nan"),
        (["FOLDER", "--model", "pmcn"], "did you mean pmnc"),
        (["FOLDER", "--model", "nearest", "--weights", "x.safetensors"], "nearest has no weights of its own"),
        (["FOLDER", "--weights", "x.safetensors"], "x.safetensors is not a file"),
        (["FOLDER", "--weights", "FOLDER/test.json"], "not a readable safetensors file"),
        (["FOLDER", "--decoding", "argmin"], "decoding must be soft-argmax or argmax; got 'argmin'"),
        (["FOLDER", "--device", "abacus"], "device 'abacus' is not available"),
        (["FOLDER", "--images", "somewhere"], "--images is for the data set coco"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(run, folder, arguments, says):
    code, out, err = run("evaluate", *(text.replace("FOLDER", str(folder)) for text in arguments), "--out", "out")
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert says in err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("models", "says"),
    [("pmnc", "at least two names"), ("pmnc,,pmnc", "at least two names"), ("nearest,pmcn", "did you mean pmnc")],
)
def test_compare_needs_models_that_there_are(run, folder, models, says):
    code, _, err = run("compare", folder, "--models", models, "--out", "out")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert says in err
    assert not Path("out").exists()  # not even the first one was matched


def test_a_run_goes_on_though_another_model_has_new_weights(run, folder, monkeypatch):
    arguments = ("evaluate", folder, *NEAREST, "--limit", 2, "--out", "out")
    code, first, _ = run(*arguments)
    monkeypatch.setitem(MODELS, "ncnet", Embedded("ncnet.safetensors", "0" * 64))
    assert (code, run(*arguments)[:2]) == (0, (0, first))
    monkeypatch.setitem(BACKBONES, "tf_efficientnet_lite0", Embedded("another.safetensors", "0" * 64))
    code, _, err = run(*arguments)
    assert (code, "other settings" in err) == (2, True)


def test_predictions_of_other_pairs_are_refused_until_fresh(run, folder):
    assert run("evaluate", folder, *NEAREST, "--limit", 2)[0] == 0
    home = Path("runs/evaluate/keypoints-test-2-pairs")  # a folder of its own: all pairs may come later
    code, _, err = run("evaluate", folder, *NEAREST, "--limit", 3, "--out", home)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "--fresh" in err
    code, out, _ = run("evaluate", folder, *NEAREST, "--limit", 3, "--out", home, "--fresh")
    assert (code, "3 pairs, 9 points" in out) == (0, True)


def test_a_missing_extra_is_said_before_anything_is_matched(run, folder, monkeypatch):
    for missing in ("jinja2", "requests"):
        monkeypatch.setitem(sys.modules, missing, None)  # what Python itself takes for not installed
    download = ["data", "download", "pf-willow", "--to", "x"]
    for arguments in (["evaluate", folder], ["compare", folder, "--models", "pmnc,nearest"], download):
        code, _, err = run(*arguments)
        assert (code, len(err.strip().splitlines())) == (2, 1)
        missing = "requests" if arguments is download else "jinja2"
        assert f"this needs {missing}, which is not installed: pip install 'semcorr[data]'" in err
    assert run("data", "check", folder)[0] == 0  # it needs neither


@pytest.fixture
def mirror(built, tmp_path):
    """Serve PF-WILLOW's two files as the public locations do; yields the address."""
    served = tmp_path / "served"
    served.mkdir()
    shutil.copy(built["pf-willow"] / "test_pairs_pf.csv", served)
    shutil.make_archive(str(served / "PF-dataset"), "zip", built["pf-willow"], "PF-dataset")
    handler = functools.partial(Quiet, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_download_check_evaluate(run, mirror):
    code, out, err = run("data", "download", "pf-willow", "--to", "willow", "--mirror", mirror)
    assert (code, out) == (0, "willow\n"), err
    assert "test_pairs_pf.csv" in err  # the bar
    code, out, err = run("data", "check", "willow")
    assert code == 0, out + err
    assert "3 pairs, 4 photographs" in out
    assert "reading pictures" in err
    assert "4/4" in err
    code, out, err = run("evaluate", "willow", *NEAREST)
    assert code == 0, err
    assert "pf-willow test: 3 pairs, 30 points" in out
    assert "extent of the target's keypoints" in out


def test_check_says_what_is_misplaced_and_checks_any_coco_file(run, built):
    root = Path(shutil.copytree(built["ap-10k"], "ap"))
    files = ("--annotations", root / "annotations" / "ap10k-test-split1.json", "--images", root / "data")
    code, out, err = run("data", "check", *files)
    assert (code, "keypoints outside their picture: 0" in out) == (0, True), out + err
    content = json.loads(files[1].read_text())
    content["annotations"][0]["keypoints"][0] = -3
    content["annotations"].append({"id": 99, "image_id": 1, "category_id": 1, "iscrowd": 1})
    files[1].write_text(json.dumps(content))
    code, out, _ = run("data", "check", *files)
    assert (code, "keypoints outside their picture: 1" in out) == (1, True), out
    assert "left out: 1 objects that are crowds" in out
    for arguments in (files[:2], ()):
        code, _, err = run("data", "check", *arguments)
        assert (code, "--annotations and --images" in err, len(err.splitlines())) == (2, True, 1)


def test_check_looks_at_the_training_photographs_too(run, built):
    root = Path(shutil.copytree(built["keypoints"], "pairs"))
    entries = json.loads((root / "test.json").read_text())
    entries[0]["keypoints"]["nose"] = ["far", "away"]
    (root / "train.json").write_text(json.dumps(entries))
    code, out, _ = run("data", "check", root)
    assert (code, "malformed annotations: 1" in out, "train: 0 pairs, 3 photographs" in out) == (1, True, True), out


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA", "small"])
def test_check_refuses_what_evaluate_refuses(run, built, kind, monkeypatch):
    """One reader for both; and no program, such as Ghostscript, is ever run on a picture."""
    root = Path(shutil.copytree(built["keypoints"], "pairs"))
    with Image.open(root / "images" / "lion.jpg") as image:
        size = image.size
        if kind == "small":
            image.resize((7, 7)).save(root / "images" / "lion.jpg")
        else:
            image.save("lion", format=kind, **({"sizes": [(256, 256)]} if kind == "ICO" else {}))
            shutil.copy("lion", root / "images" / "lion.jpg")
    assert size == layouts.SIZES["lion"][::-1]
    monkeypatch.setattr(subprocess, "Popen", None)  # nothing is started
    monkeypatch.setattr(os, "system", None)
    code, out, err = run("data", "check", root)
    assert (code, "broken pictures: 1" in out, "lion.jpg" in out) == (1, True, True), out + err
    code, out, err = run("evaluate", root, *NEAREST)
    assert (code, out, "lion.jpg" in err) == (2, "", True)


def test_an_output_is_never_an_input(run, built):
    root = Path(shutil.copytree(built["ap-10k"], "ap"))
    annotations = shutil.move(root / "annotations" / "ap10k-test-split1.json", root / "report.json")
    before = Path(annotations).read_bytes()
    files = ("--annotations", annotations, "--images", root / "data")
    code, _, err = run("evaluate", "coco", *files, *NEAREST, "--limit", 4, "--out", root)
    assert (code, "is one of the inputs and would be lost" in err) == (2, True)
    assert Path(annotations).read_bytes() == before


def test_a_damaged_picture(run, built):
    root = Path(shutil.copytree(built["keypoints"], "pairs"))
    picture = root / "images" / "lion.jpg"  # in one of the three pairs
    picture.write_bytes(picture.read_bytes()[:5000])
    code, out, _ = run("data", "check", root)
    assert (code, "broken pictures: 1" in out, "lion.jpg" in out) == (1, True, True)
    code, out, err = run("evaluate", root, *NEAREST)
    assert (code, out) == (2, "")
    assert "lion.jpg" in err.splitlines()[-1]
    code, out, err = run("evaluate", root, *NEAREST, "--skip-broken")
    assert code == 0, err
    assert "2 pairs, 6 points; broken and left out: 1" in out
    report = json.loads(Path("runs/evaluate/keypoints-test/report.json").read_text())
    assert "lion.jpg" in report["methods"][0]["skipped"][0]
    assert layouts.PAIRS[1][0] == "lion"


def test_check_of_what_is_no_data_set(run, tmp_path):
    code, out, err = run("data", "check", tmp_path)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)


def test_download_of_what_cannot_be_downloaded(run):
    code, _, err = run("data", "download", "imagenet", "--to", "x")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "pf-willow" in err
    assert not Path("x").exists()
