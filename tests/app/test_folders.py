"""The tab Label by its HTTP interface: people side by side, what is confirmed, files, restarts, locks."""

import io
import json
import re
import shutil
import signal
import zipfile
from urllib.request import Request, urlopen

import numpy as np
import pytest
from conftest_app import POINTS, Command, Page, wait_for

import semcorr
from semcorr.annotation.formats import FORMATS, read_labels

pytest.importorskip("starlette", reason="the extra app is not installed")
from semcorr.app import labelling


def labels(points, confirmed=True, shift=0):
    return {"points": {name: {"x": x - shift, "y": y} for name, (x, y) in points.items()}, "confirmed": confirmed}


def finished(page, project):
    wait_for(lambda: not page.json("GET", f"/api/projects/{project}")["work"]["running"])
    return page.json("GET", f"/api/projects/{project}")


def test_two_people_at_once(page, ten):
    projects = [page.json("POST", "/api/projects", {})["id"] for _ in range(2)]
    for number, project in enumerate(projects):
        for index in range(4):
            name = f"{number}-{index}.png"
            page.json("POST", f"/api/projects/{project}/pictures?name={name}", body=(ten / f"{index}.png").read_bytes())
        page.json("PUT", f"/api/projects/{project}/labels?picture={number}-0.png", labels(POINTS))
    for project in projects:
        page.json("POST", f"/api/projects/{project}/start", {})
    both = [page.json("GET", f"/api/projects/{project}")["work"]["running"] for project in projects]
    assert both == [True, True]  # neither waits for the other to end
    for number, project in enumerate(projects):
        found = finished(page, project)
        assert found["work"]["error"] == ""
        assert {one["name"] for one in found["pictures"]} == {f"{number}-{i}.png" for i in range(4)}
        assert [one["state"] for one in found["pictures"]].count("labelled") == 3
        got = page.json("GET", f"/api/projects/{project}/labels?picture={number}-3.png")["points"]["nose"]
        assert np.hypot(got["x"] - (265 - 12), got["y"] - 240) < 12
    assert page.ask("GET", f"/api/projects/{projects[0]}/picture?name=1-0.png")[0] == 404
    assert not {one["id"] for one in page.json("GET", "/api")["projects"]} & set(projects)


def test_what_is_confirmed_is_never_changed(page, ten):
    project = page.json("POST", "/api/projects", {})["id"]
    base = f"/api/projects/{project}"
    for index in range(3):
        page.json("POST", f"{base}/pictures?name={index}.png", body=(ten / f"{index}.png").read_bytes())
    assert page.ask("POST", f"{base}/start", json_body={})[0] == 409  # nothing is confirmed yet
    page.json("PUT", f"{base}/labels?picture=0.png", labels(POINTS))
    odd = labels({"nose": (10, 10)})
    page.json("PUT", f"{base}/labels?picture=1.png", odd)
    page.json("POST", f"{base}/start", {})
    finished(page, project)
    assert page.json("GET", f"{base}/labels?picture=1.png")["points"]["nose"]["x"] == 10
    table = b"picture,point,x,y,v\n1.png,nose,99,99,2\n2.png,nose,50,60,2\n"
    assert page.json("POST", f"{base}/import?name=labels.csv", body=table) == {"taken": 1, "kept": 1}
    assert page.json("GET", f"{base}/labels?picture=1.png")["points"]["nose"]["x"] == 10
    assert page.json("GET", f"{base}/labels?picture=2.png")["points"]["nose"]["x"] == 50
    assert page.ask("PUT", f"{base}/labels?picture=0.png", json_body=labels({"nose": (9999, 1)}))[0] == 400


def test_a_project_takes_so_many_pictures(page, ten, monkeypatch):
    assert page.json("GET", "/api")["limits"]["pictures"] == labelling.MOST
    monkeypatch.setattr(labelling, "MOST", 2)
    project = page.json("POST", "/api/projects", {})["id"]
    path, body = f"/api/projects/{project}/pictures?name=0.png", (ten / "0.png").read_bytes()
    assert [page.ask("POST", path, body=body)[0] for _ in range(3)] == [201, 201, 413]


def test_points_that_are_probably_hidden_are_confirmed_as_hidden(page, ten):
    project = page.json("POST", "/api/projects", {})["id"]
    body = (ten / "0.png").read_bytes()
    page.json("POST", f"/api/projects/{project}/pictures?name=0.png", body=body)
    ear = {"x": 355, "y": 70, "v": 1, "confidence": 0.6, "visibility": 0.3}
    eye = {"x": 319, "y": 137, "v": 1, "confidence": 0.3, "visibility": 0.9}
    sent = {"points": {"ear": ear, "eye": eye}, "confirmed": True}
    got = page.json("PUT", f"/api/projects/{project}/labels?picture=0.png", sent)["points"]
    assert {name: (point["v"], point["confidence"]) for name, point in got.items()} == {"ear": (1, 1), "eye": (2, 1)}


@pytest.fixture(scope="module")
def labelled(page, ten):
    project = page.json("POST", "/api/projects", {})["id"]
    for index in range(2):
        body = (ten / f"{index}.png").read_bytes()
        page.json("POST", f"/api/projects/{project}/pictures?name={index}.png", body=body)
        path = f"/api/projects/{project}/labels?picture={index}.png"
        page.json("PUT", path, labels({"1": (300.0, 130.0), "2": (120.5, 60.25)}, shift=4 * index))
    return project


@pytest.mark.parametrize("name", list(FORMATS))
def test_export_and_import_in_every_format(page, labelled, ten, name):
    for package in (*FORMATS[name].writes_with, *FORMATS[name].reads_with):
        pytest.importorskip(package)
    _, headers, content = page.ask("GET", f"/api/projects/{labelled}/export?format={name}")
    file = re.search(r'filename="([^"]+)"', headers["content-disposition"])[1]
    assert file.endswith((FORMATS[name].ending or ".zip", ".zip"))
    other = page.json("POST", "/api/projects", {})["id"]
    for index in range(2):
        body = (ten / f"{index}.png").read_bytes()
        page.json("POST", f"/api/projects/{other}/pictures?name={index}.png", body=body)
    assert page.json("POST", f"/api/projects/{other}/import?name={file}", body=content)["taken"] == 2
    for index in range(2):
        got = page.json("GET", f"/api/projects/{other}/labels?picture={index}.png")["points"]
        assert len(got) == 2
        places = sorted((point["x"], point["y"]) for point in got.values())
        assert np.allclose(places, [(120.5 - 4 * index, 60.25), (300 - 4 * index, 130)], atol=0.05)


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_up_", "../"), content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("labels.csv", b"\xff\xfe no table", "labels.csv"),
        ("labels.json", b"[" * 100_000, "labels.json"),
        ("labels.exe", b"MZ", "no known format"),
        ("labels.zip", b"PK no archive", "not a zip archive"),
        ("labels.zip", zipped(_up_evil="x"), "leads out of the archive"),
        ("labels.h5", b"\x89HDF", "may run programs"),
        ("labels.tps", b"LM=1\n1 1\nIMAGE=../../../../etc/hostname\n", "is not in"),
        ("labels.csv", b"picture,point,x,y\nelsewhere.png,nose,1,1\n", "names of the files differ"),
    ],
)
def test_hostile_imports(page, labelled, name, content, line):
    if name.endswith(".h5"):
        pytest.importorskip("tables")
    status, _, answer = page.ask("POST", f"/api/projects/{labelled}/import?name={name}", body=content)
    error = json.loads(answer)["error"]
    assert status == 400, error
    assert line in error
    assert "semcorr-import-" not in error


def test_a_server_that_ends_keeps_what_is_done(ten_copied):
    page = Page([ten_copied])
    page.json("PUT", "/api/projects/folder-1/labels?picture=0.png", labels(POINTS))
    page.json("POST", "/api/projects/folder-1/start", {})
    wait_for(lambda: page.json("GET", "/api/projects/folder-1")["work"]["done"] >= 1)
    page.close()
    known = {one.picture for one in read_labels(ten_copied / "semcorr-labels.json")}
    assert {"0.png"} < known
    page = Page([ten_copied])
    try:
        before = page.json("GET", "/api/projects/folder-1")
        assert {one["name"] for one in before["pictures"] if one["state"] != "unlabelled"} == known
        page.json("POST", "/api/projects/folder-1/start", {})
        after = finished(page, "folder-1")
    finally:
        page.close()
    assert [one["state"] for one in after["pictures"]] == ["labelled"] * 9 + ["confirmed"]
    assert not after["interrupted"]
    scores = [one["score"] for one in after["pictures"][:9]]
    assert scores == sorted(scores)


def test_the_state_serves_the_command_too(ten_copied, run):
    page = Page([ten_copied])
    try:
        page.json("PUT", "/api/projects/folder-1/labels?picture=0.png", labels(POINTS))
        page.json("POST", "/api/projects/folder-1/rename", {"old": "nose", "new": "tip of the nose"})
    finally:
        page.close()
    state = read_labels(ten_copied / "semcorr-labels.json")
    assert list(state[0].points) == ["left eye", "right eye", "tip of the nose"]
    code, _, err = run("annotate", ten_copied / "semcorr-labels.json", ten_copied, "--out", "labels.csv")
    assert code == 0, err
    assert "1 of them labelled by hand" in err


def test_a_broken_state_is_not_written_over(ten_copied):
    state = ten_copied / "semcorr-labels.json"
    state.write_text("{broken")
    with pytest.raises(semcorr.SemcorrError, match=r"semcorr-labels\.json"):
        Page([ten_copied])
    assert state.read_text() == "{broken"


def test_one_server_at_a_time_has_a_folder(ten_copied, ten, tmp_path, run):
    """Real processes; the kernel unlocks the folder of one that was killed."""
    other = shutil.copytree(ten, tmp_path / "other")
    first = Command(ten_copied)
    try:
        put = f"http://127.0.0.1:{first.port}/api/projects/folder-1/labels?picture=0.png"
        body = json.dumps(labels(POINTS)).encode()
        urlopen(Request(put, body, {"Content-Type": "application/json"}, method="PUT")).close()
        state = (ten_copied / "semcorr-labels.json").read_bytes()
        refused = Command.refused(other, ten_copied)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert f"{ten_copied} is open in another semcorr app" in refused.stderr
        assert (ten_copied / "semcorr-labels.json").read_bytes() == state
        Command(other).end(signal.SIGTERM)  # the refused server has let go of it
    finally:
        first.end(signal.SIGKILL)
    second = Command(ten_copied)
    try:
        found = json.load(urlopen(f"http://127.0.0.1:{second.port}/api/projects/folder-1"))
        assert [one["name"] for one in found["pictures"] if one["state"] == "confirmed"] == ["0.png"]
    finally:
        second.end(signal.SIGTERM)
    Command(ten_copied).end(signal.SIGTERM)


def test_a_folder_that_cannot_be_written_is_refused(ten_copied, run):
    (ten_copied / ".semcorr-labels.lock").mkdir()  # as root, a folder without permissions can be written
    code, _, err = run("app", "--no-browser", "--folder", ten_copied)
    assert (code, err.count("\n")) == (2, 1)
    assert "labels are saved in it" in err
