"""Labelling photographs whose landmarks are known: what comes out, and that nothing gets lost on the way."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from annotation.conftest import POINTS, Cats, coco
from PIL import Image
from typer.testing import CliRunner

import semcorr
from semcorr.annotation.formats import read_labels
from semcorr.annotation.journal import EVERY, Journal
from semcorr.annotation.records import ABSENT, SURE, UNSURE, Annotation, Point
from semcorr.annotation.settings import Settings
from semcorr.cli.app import app
from semcorr.errors import DataError


@pytest.fixture(scope="session")
def model() -> semcorr.Matcher:
    return semcorr.load("pmnc")


def command(*arguments: object) -> tuple[int, str]:
    """Run the command in this process; return its exit code and everything it printed."""
    result = CliRunner().invoke(app, ["annotate", *map(str, arguments)])
    return result.exit_code, result.output + (f"{result.exception}" if result.exception else "")


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Run the command in a process of its own."""
    code = "from semcorr.cli import main; main()"
    arguments = sys.executable, "-c", code, "annotate", *map(str, arguments)
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **options)


def check(annotations: list[Annotation], cats: Cats) -> None:
    for one in annotations:
        truth = cats.truth[one.picture]
        assert list(one.points) == list(truth)
        for name, point in one.points.items():
            assert (point.x, point.y) == pytest.approx(truth[name], abs=8)
            assert point.v in (SURE, UNSURE)


def test_points_go_where_they_are(cats: Cats, model: semcorr.Matcher) -> None:
    annotations = list(semcorr.annotate(cats.exemplar, cats.folder, model=model))
    assert [one.picture for one in annotations] == ["broken.jpg", *cats.truth]
    assert annotations[0].error
    assert str(cats.folder) not in annotations[0].error
    check(annotations[1:], cats)
    assert all(one.size == (280, 380) and one.exemplar == "exemplar.png" for one in annotations[1:])
    assert np.mean([point.v == SURE for one in annotations[1:] for point in one.points.values()]) > 0.5


def test_several_exemplars_answer_together(cats: Cats, model: semcorr.Matcher) -> None:
    """An exemplar whose points are all wrong is outvoted by two."""
    wrong = {name: (x - 50, y - 50) for name, (x, y) in cats.truth["cat00.png"].items()}
    files = [cats.exemplar]
    for i, points in enumerate([wrong, cats.truth["cat01.png"]]):
        files.append(cats.folder / f"exemplar{i}.json")
        files[-1].write_text(coco(f"cat0{i}.png", (280, 380), points))
    (cats.folder / "cat00.png").rename(cats.folder / "cat00.PNG")  # so that the wrong one is not kept
    files[1].write_text(files[1].read_text().replace("cat00.png", "cat00.PNG"))
    annotations = list(semcorr.annotate(files, cats.folder, model=model))
    kept = {one.picture for one in annotations if one.confirmed}
    assert kept == {"cat00.PNG", "cat01.png"}
    check([one for one in annotations if one.picture not in (*kept, "broken.jpg")], cats)


def test_rotations_find_points_of_pictures_that_lie_on_their_side(cats: Cats, model: semcorr.Matcher) -> None:
    for file in cats.folder.glob("*.png"):
        Image.open(file).transpose(Image.Transpose.ROTATE_90).save(file)  # (x, y) goes to (y, 380 - x)
    found = list(semcorr.annotate(cats.exemplar, cats.folder, model=model, settings=Settings(rotations=4)))
    for one in found[1:]:
        for name, (x, y) in cats.truth[one.picture].items():
            assert (one.points[name].x, one.points[name].y) == pytest.approx((y, 380 - x), abs=8)


def test_thresholds_decide_between_sure_unsure_and_none(cats: Cats, model: semcorr.Matcher) -> None:
    free = list(semcorr.annotate(cats.exemplar, cats.folder, model=model))
    points = [point for one in free for point in one.points.values() if point.v]
    low = np.quantile([point.confidence for point in points], 0.3)
    high = np.quantile([point.confidence * point.visibility for point in points], 0.6)
    settings = Settings(min_confidence=float(low), sure=float(high))
    seen = []
    strict = semcorr.annotate(cats.exemplar, cats.folder, model=model, settings=settings)
    for one, before in zip(strict, free, strict=True):
        for name, point in one.points.items():
            seen.append(point.v)
            worth = point.confidence * point.visibility
            lacking = point.confidence < low or point.visibility < settings.min_visibility
            assert point.v == (ABSENT if lacking else SURE if worth >= high else UNSURE)
            place = before.points[name]
            assert (point.x, point.y) == ((place.x, place.y) if point.v else (0, 0))
    assert {ABSENT, UNSURE, SURE} == set(seen)


def test_the_command_writes_what_python_yields(cats: Cats, model: semcorr.Matcher, tmp_path: Path) -> None:
    code, said = command(cats.exemplar, cats.folder, "--out", tmp_path / "a.json", "--out", tmp_path / "a.csv")
    assert code == 0, said
    assert "not labelled: broken.jpg: " in said
    expected = [one for one in semcorr.annotate(cats.exemplar, cats.folder, model=model) if not one.error]
    for file in ("a.json", "a.csv"):
        assert read_labels(tmp_path / file) == expected
    assert "broken.jpg" in json.loads((tmp_path / "a.json").read_text())["info"]["unreadable"]
    assert not list(tmp_path.glob("*.progress*"))


def test_what_a_format_cannot_hold_is_said_before_the_work(cats: Cats, tmp_path: Path) -> None:
    pytest.importorskip("tables", reason="the extra annotate is not installed")
    (cats.folder / "a" / "b").mkdir(parents=True)
    (cats.folder / "cat00.png").rename(cats.folder / "a" / "b" / "cat00.png")
    code, said = command(cats.exemplar, cats.folder, "--out", tmp_path / "CollectedData_me.csv")
    assert code != 0
    assert "one folder per video" in said
    detections = tmp_path / "boxes.json"
    detections.write_text(json.dumps([{"file_name": "cat01.png", "bbox": [1, 2, 50 + i, 60]} for i in range(2)]))
    code, said = command(cats.exemplar, cats.folder, "--out", tmp_path / "out.tps", "--boxes", detections)
    assert code != 0
    assert "TPS holds one object per picture" in said
    assert not list(tmp_path.glob("*.progress"))


def test_an_exemplar_among_the_pictures_keeps_its_labels(cats: Cats, model: semcorr.Matcher) -> None:
    Image.open(cats.exemplar.with_name("exemplar.png")).save(cats.folder / "exemplar.png")
    file = cats.folder / "exemplar.json"
    file.write_text(cats.exemplar.read_text())
    found = {one.picture: one for one in semcorr.annotate(file, cats.folder, model=model)}
    assert found["exemplar.png"].confirmed
    assert {name: (point.x, point.y) for name, point in found["exemplar.png"].points.items()} == POINTS


def test_corrections_are_kept_and_become_exemplars(cats: Cats, tmp_path: Path) -> None:
    command(cats.exemplar, cats.folder, "--out", tmp_path / "first.json")
    content = json.loads((tmp_path / "first.json").read_text())
    content["annotations"][2]["keypoints"][:3] = [33.25, 44.5, 2]
    corrected = tmp_path / "corrected.json"
    corrected.write_text(json.dumps(content))
    code, said = command(cats.exemplar, cats.folder, "--out", tmp_path / "second.json", "--confirmed", corrected)
    assert code == 0, said
    second = {one.picture: one for one in read_labels(tmp_path / "second.json")}
    kept = second.pop("cat02.png")
    assert kept.confirmed
    assert [v for p in kept.points.values() for v in (p.x, p.y, p.v)] == content["annotations"][2]["keypoints"]
    first = {one.picture: one for one in read_labels(tmp_path / "first.json")}
    assert all(not one.confirmed for one in second.values())
    assert any(one.points != first[name].points for name, one in second.items())


def test_corrections_in_a_format_without_marks(cats: Cats, tmp_path: Path) -> None:
    command(cats.exemplar, cats.folder, "--out", tmp_path / "first.csv", "--format", "lightning-pose")
    lines = (tmp_path / "first.csv").read_text().splitlines()
    row = lines[4].split(",")
    lines[4] = ",".join([row[0], "33.25", "44.5", *row[3:]])
    (tmp_path / "corrected.csv").write_text("\n".join(lines))
    out = tmp_path / "second.json"
    changed = "--confirmed", tmp_path / "corrected.csv", "--predicted", tmp_path / "first.csv"
    code, said = command(cats.exemplar, cats.folder, "--out", out, *changed)
    assert code == 0, said
    confirmed = [one for one in read_labels(out) if one.confirmed]
    assert [one.picture for one in confirmed] == [row[0]]
    assert (confirmed[0].points["left_eye"].x, confirmed[0].points["left_eye"].y) == (33.25, 44.5)


def test_boxes_are_labelled_one_by_one(cats: Cats, tmp_path: Path, model: semcorr.Matcher) -> None:
    """Two cats side by side: each box gets the points of its own."""
    pair = np.concatenate([np.asarray(Image.open(cats.folder / f"cat0{i}.png")) for i in range(2)], axis=1)
    (tmp_path / "pairs").mkdir()
    Image.fromarray(pair).save(tmp_path / "pairs" / "two.png")
    boxes = []
    for i in range(2):
        x, y = (np.array(list(cats.truth[f"cat0{i}.png"].values())) + np.array([380 * i, 0])).T
        boxes.append([x.min(), y.min(), x.max() - x.min(), y.max() - y.min()])
    detections = tmp_path / "boxes.json"
    detections.write_text(json.dumps([{"file_name": "two.png", "bbox": list(map(float, box))} for box in boxes]))
    found = list(semcorr.annotate(cats.exemplar, tmp_path / "pairs", model=model, boxes=detections))
    assert [one.picture for one in found] == ["two.png", "two.png"]
    for i, one in enumerate(found):
        assert one.box == pytest.approx((*boxes[i][:2], boxes[i][0] + boxes[i][2], boxes[i][1] + boxes[i][3]))
        for name, (x, y) in cats.truth[f"cat0{i}.png"].items():
            assert (one.points[name].x, one.points[name].y) == pytest.approx((x + 380 * i, y), abs=12)


def test_shards_give_what_their_files_give(cats: Cats, tmp_path: Path, model: semcorr.Matcher) -> None:
    webdataset = pytest.importorskip("webdataset")
    shards = tmp_path / "shards"
    shards.mkdir()
    for number, names in enumerate([["broken.jpg", "cat00.png", "cat01.png"], ["cat02.png"]]):
        with webdataset.TarWriter(str(shards / f"part-{number}.tar")) as writer:
            for name in names:
                stem, ending = name.split(".")
                writer.write({"__key__": stem, ending: (cats.folder / name).read_bytes()})
    from_files = {one.picture: one for one in semcorr.annotate(cats.exemplar, cats.folder, model=model)}
    found = list(semcorr.annotate(cats.exemplar, shards, model=model))
    assert [one.picture for one in found] == ["broken.jpg", "cat00.png", "cat01.png", "cat02.png"]
    assert found[0].error
    assert found[1:] == [from_files[one.picture] for one in found[1:]]


def test_lists_patterns_and_coco_files_name_pictures(cats: Cats, tmp_path: Path) -> None:
    from semcorr.annotation.pictures import find_pictures

    listed = tmp_path / "photos" / "list.txt"
    listed.write_text("cat01.png\n\ncat00.png\n")
    assert [name for name, _ in find_pictures(listed).files] == ["cat01.png", "cat00.png"]
    assert [name for name, _ in find_pictures(cats.folder, ["*00*", "cat03.*"]).files] == ["cat00.png", "cat03.png"]
    file = tmp_path / "images.json"
    file.write_text(coco("cat02.png", (280, 380), POINTS))
    (target,) = find_pictures(file, images=cats.folder)
    assert (target.picture, target.source) == ("cat02.png", cats.folder / "cat02.png")
    assert target.box == (173.0, 70.0, 355.0, 238.0)
    with pytest.raises(DataError, match="matches nothing"):
        find_pictures(cats.folder, ["nothing"])


# Nothing is written over, nothing is lost


def test_nothing_is_written_over_without_being_asked(cats: Cats, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("mine")
    code, said = command(cats.exemplar, cats.folder, "--out", out)
    assert code != 0
    assert "exists" in said
    assert out.read_text() == "mine"
    for argument in (cats.exemplar, cats.folder / "cat00.png"):
        code, said = command(cats.exemplar, cats.folder, "--out", argument, "--format", "coco", "--overwrite")
        assert code != 0
        assert "never written over" in said
    code, said = command(cats.exemplar, cats.folder, "--out", out, "--overwrite")
    assert code == 0, said
    assert len(read_labels(out)) == 6


def test_an_exemplar_in_the_folder_of_the_output_is_never_written_over(cats: Cats, tmp_path: Path) -> None:
    """Its picture is among those to label, so that the folder gets a file of its name."""
    out = tmp_path / "labels"
    out.mkdir()
    size = {"imageHeight": 280, "imageWidth": 380, "imageData": None, "version": "5.5.0", "flags": {}}
    shapes = [{"label": "nose", "points": [list(cats.truth["cat00.png"]["nose"])], "shape_type": "point"}]
    exemplar = out / "cat00.json"
    exemplar.write_text(json.dumps({"imagePath": "../photos/cat00.png", "shapes": shapes, **size}))
    before = exemplar.read_bytes()
    for given in (exemplar, out):
        code, said = command(given, cats.folder, "--out", out, "--format", "labelme", "--overwrite")
        assert code != 0
        assert "never written over" in said
        assert exemplar.read_bytes() == before
        assert list(out.iterdir()) == [exemplar]


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_file(make_cats, tmp_path: Path) -> None:
    cats = make_cats(tmp_path, 3 * EVERY)
    whole, parts, journal = (tmp_path / name for name in ("whole.json", "parts.json", "parts.json.progress"))
    assert start(cats.exemplar, cats.folder, "--out", whole).wait() == 0
    draw = random.Random(0)
    for durable in (1, 1 + EVERY, 1 + 2 * EVERY):  # lines: nothing yet but the header, a third, two thirds
        process = start(cats.exemplar, cats.folder, "--out", parts)
        while not journal.exists() or journal.read_bytes().count(b"\n") < durable:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not parts.exists()
        assert journal.read_bytes().count(b"\n") >= durable
    assert start(cats.exemplar, cats.folder, "--out", parts).wait() == 0
    assert parts.read_bytes() == whole.read_bytes()
    assert not journal.exists()


@pytest.mark.slow
def test_a_full_disk_is_said_and_gone_on_from(cats: Cats, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: of the journal, and of the page, which is written last."""
    pytest.importorskip("jinja2")
    files: dict[str, list[Path]] = {}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        files[name] = [tmp_path / name / file for file in ("a.json", "a.csv", "a.html")]
    whole, parts = ((cats.exemplar, cats.folder, "--out", a, "--out", b, "--report", c) for a, b, c in files.values())
    assert start(*whole).wait() == 0
    for limit, written in [(1500, 0), (30_000, 2)]:

        def set_limit(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        process = start(*parts, preexec_fn=set_limit)
        said = process.communicate()[1]
        assert process.returncode == 2
        assert "the disk is full" in said or "File too large" in said
        assert "Traceback" not in said
        assert [file.exists() for file in files["parts"]] == [True] * written + [False] * (3 - written)
    assert start(*parts).wait() == 0
    assert [file.read_bytes() for file in files["parts"]] == [file.read_bytes() for file in files["whole"]]
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == ["a.csv", "a.html", "a.json"]


def labelled(number: int) -> Annotation:
    return Annotation(f"{number}.png", (60, 80), {"nose": Point(number, 2.5, SURE, 0.75, 0.5)}, (1.0, 2.0, 3.0, 4.0))


def test_a_journal_cut_off_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.json.progress"
    entries = {f"0:{i}.png": labelled(i) for i in range(5)}
    with Journal(path, "run") as journal:
        for key, annotation in entries.items():
            journal.add(key, annotation)
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for length in range(0, len(content) + 1, 7):
        path.write_bytes(content[:length])
        whole = max(0, sum(end <= length for end in ends) - 1)
        journal = Journal(path, "run")
        assert journal.done == dict(list(entries.items())[:whole])
        with journal:
            for key, annotation in list(entries.items())[whole:]:
                journal.add(key, annotation)
        assert path.read_bytes() == content


def test_a_journal_is_durable_every_few_targets(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "run") as journal:
        for i in range(EVERY):
            assert len(Journal(tmp_path / "j", "run").done) == 0
            journal.add(str(i), labelled(i))
        assert len(Journal(tmp_path / "j", "run").done) == EVERY


def test_a_journal_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.json.progress"
    with Journal(path, "run") as journal:
        journal.add("0:a.png", labelled(1))
    with pytest.raises(DataError, match="other exemplars"):
        Journal(path, "another")
    assert Journal(path, "another", fresh=True).done == {}
    path.write_text("a diary\n")
    with pytest.raises(DataError, match="in the way"):
        Journal(path, "run")


# What a user may get wrong


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--point", "nose:1,2"], "--point belongs to --exemplar"),
        (["--exemplar", "x.png", "--point", "nose"], "give a name and a place"),
        (["--format", "coco", "--format", "csv"], "--format is given 2 times"),
        (["--format", "cocoa"], "did you mean coco"),
        (["--engine", "spark"], "local or ray"),
        (["--workers", "2"], "are for --engine ray"),
        (["--min-confidence", "2"], "between 0 and 1"),
        (["--report", "page.pdf"], "does not end in .html"),
        (["--category", "dog"], "no labelled object of category 'dog'"),
        (["--confirmed", "nowhere.json"], "nowhere.json is missing"),
        (["--boxes", "nowhere.json"], "nowhere.json is missing"),
    ],
)
def test_mistakes_are_named(cats: Cats, tmp_path: Path, arguments: list[str], expected: str) -> None:
    code, said = command(cats.exemplar, cats.folder, "--out", tmp_path / "out.json", *arguments)
    assert code != 0
    assert expected in said
    assert not (tmp_path / "out.json").exists()


def test_points_of_an_exemplar_from_the_command_line(cats: Cats, tmp_path: Path) -> None:
    picture = cats.exemplar.with_name("exemplar.png")
    points = [part for name, (x, y) in POINTS.items() for part in ("--point", f"{name}:{x},{y}")]
    code, said = command("--exemplar", picture, *points, cats.folder, "--out", tmp_path / "out.json")
    assert code == 0, said
    check(read_labels(tmp_path / "out.json"), cats)


def test_exemplars_of_two_categories_need_a_choice(cats: Cats, tmp_path: Path) -> None:
    other = cats.exemplar.with_name("other.json")
    other.write_text(cats.exemplar.read_text().replace('"cat"', '"dog"'))
    code, said = command(cats.exemplar, other, cats.folder, "--out", tmp_path / "out.json")
    assert code != 0
    assert "cat, dog" in said
    assert "--category" in said
