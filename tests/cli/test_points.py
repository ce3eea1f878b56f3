"""Points files of every kind: each point keeps its place and its name, and what is no point is refused by its line."""

import csv
import json
from pathlib import Path

import pytest

from semcorr.cli.points import parse_point, read_points, write_points
from semcorr.errors import DataError

TWO = [((265.0, 243.0), None), ((170.5, 115.0), None)]
NAMED = [((265.0, 243.0), "nose"), ((170.5, 115.0), "left ear")]


def read(folder, name, content, picture=""):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [tuple(point) for point in read_points(folder / name, picture)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.csv", "265,243\n170.5,115\n", TWO),
        ("p.csv", "x,y\n265,243\n170.5,115\n", TWO),
        ("p.csv", "\ufeffX, Y\r\n265, 243\r\n\r\n170.5, 115\r\n", TWO),
        ("p.csv", "name,y,x\nnose,243,265\nleft ear,115,170.5\n", NAMED),
        ("p.csv", '"x","y","label"\n"265","243","nose"\n"170.5","115","left ear"\n', NAMED),
        ("p.csv", "x;y\n265;243\n170,5;115\n", TWO),  # with decimal commas
        ("p.tsv", "bodypart\tx\ty\nnose\t265\t243\nleft ear\t170.5\t115\n", NAMED),
        ("p.json", "[[265, 243], [170.5, 115]]", TWO),
        ("p.json", '[["265", "243"], ["170.5", "1.15e2"]]', TWO),
        ("p.json", '[{"x": 265, "y": 243, "name": "nose"}, {"label": "left ear", "x": 170.5, "y": 115}]', NAMED),
        ("p.JSON", '{"nose": [265, 243], "left ear": [170.5, 115]}', NAMED),
        ("p.csv", "", []),
        ("p.csv", "x,y\n", []),
        ("p.json", "[]", []),
    ],
)
def test_files_of_every_kind(tmp_path, name, content, expected):
    assert read(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "x,y\n,\n120,85\n"),
        ("p.csv", "x,y\nNaN,nan\n120,85\n"),
        ("p.csv", "x;y\n;\n120;85\n"),
        ("p.json", "[null, [120, 85]]"),
        ("p.json", '[[null, null], {"x": 120, "y": 85}]'),
        ("p.json", "[[NaN, NaN], [120, 85]]"),
    ],
)
def test_a_missing_point_keeps_its_place(tmp_path, name, content):
    assert read(tmp_path, name, content) == [(None, None), ((120.0, 85.0), None)]


DEEPLABCUT = """scorer,me,me,me,me,me,me
bodyparts,nose,nose,nose,ear,ear,ear
coords,x,y,likelihood,x,y,likelihood
a/img1.png,265,243,0.9,,,
a/img2.png,1,2,0.9,3,4,0.9
"""
BY_FOLDER = """scorer,,,me,me,me,me
individuals,,,mouse1,mouse1,single,single
bodyparts,,,nose,nose,corner,corner
coords,,,x,y,x,y
labeled-data,film,img1.png,265,243,170.5,115
"""


def test_deeplabcut(tmp_path):
    assert read(tmp_path, "p.csv", DEEPLABCUT, "img1.png") == [((265.0, 243.0), "nose"), (None, "ear")]
    assert read(tmp_path, "p.csv", DEEPLABCUT, "img2.png") == [((1.0, 2.0), "nose"), ((3.0, 4.0), "ear")]
    assert read(tmp_path, "p.csv", BY_FOLDER, "any") == [((265.0, 243.0), "mouse1 nose"), ((170.5, 115.0), "corner")]
    with pytest.raises(DataError, match=r"several rows, and none of them is for img3\.png"):
        read(tmp_path, "p.csv", DEEPLABCUT, "img3.png")
    with pytest.raises(DataError, match="bodyparts and coords"):
        read(tmp_path, "p.csv", "scorer,me,me\n1,2,3\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", '["85", "40"]', "entry 0: a point is two numbers"),  # not (8, 5) and (4, 0)
        ("p.json", "[85, 40]", "entry 0: a point is two numbers"),
        ("p.json", "[[true, false]]", "entry 0: a point is two numbers"),
        ("p.json", "[[1, 2], [3]]", "entry 1: a point is two numbers"),
        ("p.json", "[[1, 2, 2]]", "entry 0: a point is two numbers"),
        ("p.json", "[[1, 2], [3, null]]", "entry 1: a point is two numbers"),
        ("p.json", "[[1, Infinity]]", "entry 0: x and y must be finite"),
        ("p.json", f"[[1, 1{'0' * 400}]]", "entry 0: x and y must be finite"),
        ("p.json", '{"x": 1}', "must hold a list"),
        ("p.json", "3", "must hold a list"),
        ("p.json", "[[1, 2", "is not JSON"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.csv", "x,y\n1,2\n3,b\n", "line 3: a point is two numbers"),
        ("p.csv", "x,y\n\n\n1,2\n3,\n", "line 5: a point is two numbers"),
        ("p.csv", "x,y\n1_0,2\n", "line 2: a point is two numbers"),
        ("p.csv", "x,y\n1\n", "line 2: a point is two numbers"),
        ("p.csv", "a,b,c\n1,2,3\n", "line 1: give two columns"),
        ("p.csv", "120 85\n", "line 1: give two columns"),
        ("p.csv", 'x,y\n"1,2\n', "is not CSV"),
        ("p.csv", b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_what_is_no_point_is_refused_by_its_place(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, name, content)


def test_points_of_the_command_line():
    assert parse_point("120,85.5").xy == (120.0, 85.5)
    for text in ("12", "1,2,3", "a,b", ",", "1_0,2"):
        with pytest.raises(DataError, match="two numbers"):
            parse_point(text)


def test_addresses_and_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.csv").write_text("1,2\n")
    assert read_points(Path("~/p.csv"))[0].xy == (1.0, 2.0)
    for address in ("https://example.org/p.csv", "s3://bucket/p.csv"):
        with pytest.raises(ValueError, match=f"{address} is an address"):
            read_points(Path(address))


def test_answers_as_csv(tmp_path):
    answers = [
        {"name": 'a "big", nose', "source": [1, 2.5], "target": [3.25, 4], "confidence": 0.5},
        {"source": None, "target": None, "confidence": None},
    ]
    write_points(tmp_path / "out" / "a.csv", answers)
    with (tmp_path / "out" / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["name", "source_x", "source_y", "target_x", "target_y", "confidence"],
        ['a "big", nose', "1", "2.5", "3.25", "4", "0.5"],
        [""] * 6,
    ]
    assert json.dumps(answers)  # as `--json` prints them
