"""The command ``match`` as a user runs it: exit code, stdout, stderr and files."""

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures(tmp_path, cat):
    """Two pictures to match: the cat, and its left part upright."""
    Image.fromarray(cat).save(tmp_path / "a.jpg")
    Image.fromarray(np.ascontiguousarray(cat[:, 100:350])).save(tmp_path / "b.png")
    return tmp_path / "a.jpg", tmp_path / "b.png"


def test_installed_command_answers_a_point(pictures):
    command = [
        Path(sys.executable).with_name("semcorr"),
        "match",
        *pictures,
        "--point",
        "170,115",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["points"][0]["source"] == [170, 115]
    assert np.abs(np.subtract(answer["points"][0]["target"], [70, 115])).max() < 25
    assert 0 <= answer["points"][0]["confidence"] <= 1
    assert "matched in" in done.stderr


def test_picture_by_default(run, pictures, tmp_path):
    code, out, err = run("match", *pictures)
    assert (code, "mean confidence" in out, "wrote match.png" in err) == (0, True, True)
    assert Image.open(tmp_path / "match.png").width > 800


def test_points_from_files_and_options_in_order(run, pictures, tmp_path):
    (tmp_path / "p.csv").write_text("name,y,x\nnose,243,265\neye,115,170\n")
    (tmp_path / "p.json").write_text('[[265, 243], {"x": 170, "y": 115}]')
    (tmp_path / "bare.csv").write_text("265,243\n170,115\n")
    answers = []
    for name in ("p.csv", "p.json", "bare.csv"):
        code, out, _ = run("match", *pictures, "--point", "10,20", "--points", tmp_path / name, "--json")
        assert code == 0
        answers.append(json.loads(out)["points"])
        assert [p["source"] for p in answers[-1]] == [[10, 20], [265, 243], [170, 115]]
    assert [point.pop("name", None) for point in answers[0]] == [None, "nose", "eye"]
    assert answers[0] == answers[1] == answers[2]


def test_points_as_text(run, pictures):
    code, out, _ = run("match", *pictures, "--point", "265,243", "--point", "170.5,115")
    lines = out.strip().splitlines()
    assert code == 0
    assert [line.split(" -> ")[0] for line in lines] == ["265,243", "170.5,115"]


def test_points_that_the_target_lacks_get_no_answer(run, pictures):
    code, out, _ = run("match", *pictures, "--point", "265,243", "--min-visibility", "1", "--json")
    report = json.loads(out)
    (answer,) = report["points"]
    assert code == 0
    assert answer["target"] is None
    assert 0 < answer["visibility"] < 1
    assert 0 <= report["similarity"] <= 1
    code, out, _ = run("match", *pictures, "--point", "265,243", "--min-visibility", "1")
    assert (code, "265,243 -> not in the target  visibility" in out) == (0, True)


def test_a_source_that_lies_on_its_side(run, pictures, tmp_path):
    lying = tmp_path / "lying.png"
    Image.open(pictures[0]).transpose(Image.Transpose.ROTATE_90).save(lying)
    code, out, _ = run("match", lying, pictures[0], "--rotations", "4", "--point", "150,225")
    assert code == 0
    assert "the source was turned by 270° to match it" in out


def test_whole_match_as_json(run, pictures):
    code, out, _ = run("match", *pictures, "--json", "--model", "nearest", "--grid", "12")
    match = json.loads(out)
    assert (code, match["model"], match["source_size"]) == (0, "nearest", [300, 451])
    assert np.array(match["forward"]["points"]).shape == (*match["forward"]["grid"], 2)


def test_json_and_picture_together(run, pictures, tmp_path):
    code, out, _ = run("match", *pictures, "--json", "--point", "5,5", "--out", tmp_path / "new.png")
    assert (code, len(json.loads(out)["points"])) == (0, 1)
    assert (tmp_path / "new.png").exists()


def bomb(path):
    """A tiny PNG that says it is 40,000 × 40,000."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    )


def broken(kind, folder, good):
    path = folder / f"{kind}.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("this is no picture")
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[:3000])
    elif kind == "tiny":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "bomb":
        bomb(path)
    elif kind == "empty":
        path.touch()
    return path


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "truncated", "tiny", "bomb", "empty"])
@pytest.mark.parametrize("place", ["source", "target"])
def test_bad_pictures(run, pictures, tmp_path, kind, place):
    bad = broken(kind, tmp_path, pictures[0])
    pair = (bad, pictures[1]) if place == "source" else (pictures[0], bad)
    code, out, err = run("match", *pair, "--out", tmp_path / "out.png")
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert bad.name in err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--point", "12"], "point '12': a point is two numbers x,y"),
        (["--point", "a,b"], "a point is two numbers"),
        (["--point", "nan,1"], "must be finite"),
        (["--point", "1,1", "--point", "451.5,3"], "point 1 (451.5, 3) is outside the source image"),
        (["--point", "-1,3"], "point 0 (-1, 3) is outside"),
        (["--points", "none.csv"], "none.csv"),
        (["--points", "."], "is a folder"),
        (["--model", "pmcn"], "did you mean pmnc"),
        (["--backbone", "resnet5O"], "did you mean"),
        (["--grid", "0"], "grid must be a whole number from 2 to 512"),
        (["--device", "tpu9"], "device 'tpu9' is not available"),
        (["--out", "no/such/folder/m.png"], "no/such/folder"),
        (["--out", "match.xyz"], "xyz"),
        (["--out", "."], "."),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run, pictures, tmp_path, arguments, message):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run("match", *pictures, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bad_points_file_is_one_line(run, pictures, tmp_path):
    (tmp_path / "p.csv").write_text("x,y\n1,2\n3,b\n")
    code, out, err = run("match", *pictures, "--points", tmp_path / "p.csv")
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1)
    assert "p.csv, line 3: a point is two numbers" in err


def test_names_and_missing_points_keep_their_place(run, pictures, tmp_path):
    (tmp_path / "p.csv").write_text("name,x,y\nnose,265,243\ntail,,\neye,170,115\n")
    code, out, _ = run("match", *pictures, "--points", tmp_path / "p.csv", "--json", "--out", tmp_path / "answers.csv")
    answers = json.loads(out)["points"]
    assert (code, [answer["name"] for answer in answers]) == (0, ["nose", "tail", "eye"])
    assert answers[1] == {"name": "tail", "source": None, "target": None, "confidence": None}
    assert [answers[0]["source"], answers[2]["source"]] == [[265, 243], [170, 115]]
    rows = (tmp_path / "answers.csv").read_text().splitlines()
    nose = answers[0]
    values = [265.0, 243.0, *nose["target"], nose["confidence"], nose["visibility"]]
    assert rows[1] == ",".join(["nose", *map(str, values)])
    assert rows[2] == "tail,,,,,,"
    code, out, _ = run("match", *pictures, "--points", tmp_path / "p.csv")
    lines = out.splitlines()
    assert (lines[0].split(" -> ")[0], lines[1]) == ("nose  265,243", "tail  no point given")


def test_inputs_are_never_written_over(run, pictures, tmp_path):
    (tmp_path / "match.png").write_bytes(pictures[1].read_bytes())
    (tmp_path / "link.png").symlink_to(tmp_path / "match.png")
    (tmp_path / "p.csv").write_text("5,5\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    pair = (tmp_path / "match.png", pictures[0])
    for out in ("match.png", "link.png", pictures[0], "./match.png"):
        code, _, err = run("match", *pair, "--out", out, "--model", "nearest", "--grid", "8")
        assert (code, "is one of the inputs and would be lost" in err, len(err.splitlines())) == (2, True, 1)
    code, _, err = run("match", *pair, "--points", "p.csv", "--out", "p.csv", "--model", "nearest", "--grid", "8")
    assert (code, "is one of the inputs and would be lost" in err) == (2, True)
    for expected in ("match-2.png", "match-3.png"):  # the default name steps aside
        code, _, err = run("match", *pair, "--model", "nearest", "--grid", "8")
        assert (code, f"wrote {expected}" in err) == (0, True)
    assert {path: path.read_bytes() for path in before} == before


def test_a_table_needs_points(run, pictures, tmp_path):
    code, _, err = run("match", *pictures, "--out", "a.csv")
    assert (code, "give some with --point" in err, (tmp_path / "a.csv").exists()) == (2, True, False)


def test_missing_packages_are_named(run, pictures, monkeypatch):
    missing = "matplotlib"
    monkeypatch.setitem(sys.modules, missing, None)  # Python takes it for not installed
    code, out, err = run("match", *pictures)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert f"this needs {missing}, which is not installed: pip install 'semcorr'" in err


def test_addresses_and_the_home_folder(run, pictures, monkeypatch, tmp_path):
    code, _, err = run("match", "https://example.org/a.jpg", pictures[0])
    assert (code, "https://example.org/a.jpg is an address, not a local path" in err) == (2, True)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = run("match", "~/a.jpg", "~/b.png", "--out", "~/home.png", "--model", "nearest", "--grid", "8")
    assert (code, (tmp_path / "home.png").exists()) == (0, True), err


def test_empty_points_file_gives_no_points(run, pictures, tmp_path):
    (tmp_path / "p.csv").write_text("")
    code, out, _ = run("match", *pictures, "--points", tmp_path / "p.csv", "--json")
    assert (code, json.loads(out)["points"]) == (0, [])


def test_unwritable_output_keeps_what_was_there(run, pictures, tmp_path):
    (tmp_path / "out.png").mkdir()
    (tmp_path / "out.png" / "keep").touch()
    code, _, err = run("match", *pictures, "--out", tmp_path / "out.png")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert (tmp_path / "out.png" / "keep").exists()


def test_unknown_options_are_exit_code_2(run, pictures):
    code, out, err = run("match", *pictures, "--pont", "1,2")
    assert (code, out) == (2, "")
    assert "--point" in err
