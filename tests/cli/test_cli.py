"""The command as a user runs it: a process of its own, its exit code, stdout and stderr."""

import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semcorr.cli.app import main
from semcorr.weights import MODELS


@pytest.fixture
def pictures(tmp_path, cat):
    """Two pictures to match: the cat, and its left part upright."""
    Image.fromarray(cat).save(tmp_path / "a.jpg")
    Image.fromarray(np.ascontiguousarray(cat[:, 100:350])).save(tmp_path / "b.png")
    return tmp_path / "a.jpg", tmp_path / "b.png"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in this process, in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["semcorr", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return run


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
    assert answers[0] == answers[1] == answers[2]


def test_points_as_text(run, pictures):
    code, out, _ = run("match", *pictures, "--point", "265,243", "--point", "170.5,115")
    lines = out.strip().splitlines()
    assert code == 0
    assert [line.split(" -> ")[0] for line in lines] == ["265,243", "170.5,115"]


def test_whole_match_as_json(run, pictures):
    code, out, _ = run("match", *pictures, "--json", "--model", "nearest", "--grid", "12")
    match = json.loads(out)
    assert (code, match["model"], match["source_size"]) == (0, "nearest", [300, 451])
    assert np.array(match["forward"]["points"]).shape == (*match["forward"]["grid"], 2)


def test_json_and_picture_together(run, pictures, tmp_path):
    code, out, _ = run("match", *pictures, "--json", "--point", "5,5", "--out", tmp_path / "new.png")
    assert (code, len(json.loads(out)["points"])) == (0, 1)
    assert (tmp_path / "new.png").exists()


def test_models_and_version_and_help(run):
    listed = run("models")[1]
    for name, embedded in MODELS.items():
        line = rf"^{name} .*\n +trained: .*seed \d.*; validation PCK@0.1 \d\d\.\d$"
        assert re.search(line, listed, re.MULTILINE), name
        assert embedded.load().trained() in listed
    assert run("--version")[1].strip() == "0.1.0"
    for command in ([], ["match"], ["train"], ["models"]):
        code, out, _ = run(*command, "--help")
        assert (code, "Usage" in out) == (0, True)


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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", "[[1, 2], [3]]", "entry 1"),
        ("p.json", "[[1, 2], [3, null]]", "entry 1"),
        ("p.json", '{"x": 1}', "must hold a list"),
        ("p.json", "[[1, 2", "is not JSON"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.csv", "x,y\n1,2\n3,b\n", "line 3"),
        ("p.csv", "a,b,c\n1,2,3\n", "line 1"),
        ("p.csv", "x,y\n1\n", "line 2"),
        ("p.csv", b"\xff\xfe\x00", "is not text"),
    ],
)
def test_bad_points_files(run, pictures, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = run("match", *pictures, "--points", tmp_path / name)
    assert (code, out) == (2, "")
    assert message in err
    assert name in err
    assert len(err.strip().splitlines()) == 1


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
