"""The HTTP interface: answers as the library's, strangers kept out, hostile files refused in one line."""

import asyncio
import io
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest_app import POINTS, Page, host_of, wait_for
from PIL import Image

import semcorr
from semcorr.annotation.formats import FORMATS, read_labels
from semcorr.app.work import Cache, Queue

pytest.importorskip("starlette", reason="the extra app is not installed")

DOCS = Path(__file__).resolve().parents[2] / "docs" / "app.md"


def labels(points, confirmed=True, shift=0):
    return {"points": {name: {"x": x - shift, "y": y} for name, (x, y) in points.items()}, "confirmed": confirmed}


def match(page, cat_path, cheetah_path, **choice):
    source, target = page.upload(cat_path), page.upload(cheetah_path)
    return page.json("POST", "/api/match", {"source": source["id"], "target": target["id"], **choice})


def test_answers_are_the_librarys(page, cat_path, cheetah_path):
    found = match(page, cat_path, cheetah_path)
    expected = semcorr.load("pmnc").match(cat_path, cheetah_path)
    assert found["similarity"] == pytest.approx(expected.similarity, abs=1e-3)
    assert found["sentence"].startswith("Yes, these")
    points = [{"name": name, "x": x, "y": y} for name, (x, y) in POINTS.items()]
    answers = page.json("POST", f"/api/match/{found['id']}/points", {"points": points})
    moved, confidence = expected.transfer(list(POINTS.values()))
    assert np.allclose([(a["x"], a["y"]) for a in answers], moved, atol=0.1)
    assert np.allclose([a["confidence"] for a in answers], confidence, atol=0.01)
    assert all(re.fullmatch(r"\d+ % sure(, (probably|perhaps) hidden)?", a["words"]) for a in answers)
    mutual = page.json("GET", f"/api/match/{found['id']}/mutual?count=5")
    assert np.allclose(mutual, expected.keypoints(5).source, atol=0.01)


def test_heat_is_highest_near_the_answer(page, cat_path, cheetah_path):
    found = match(page, cat_path, cheetah_path)
    x, y = POINTS["nose"]
    answer = page.json("POST", f"/api/match/{found['id']}/points", {"points": [{"x": x, "y": y}]})[0]
    status, _, content = page.ask("GET", f"/api/match/{found['id']}/heat.png?x={x}&y={y}")
    assert status == 200
    alpha = np.asarray(Image.open(io.BytesIO(content)))[..., 3]
    row, column = np.unravel_index(alpha.argmax(), alpha.shape)
    scale = found["target"]["width"] / alpha.shape[1]
    assert np.hypot(column * scale - answer["x"], row * scale - answer["y"]) < 0.1 * found["target"]["width"]


def test_views_and_downloads(page, cat_path, cheetah_path):
    found = match(page, cat_path, cheetah_path)
    base = f"/api/match/{found['id']}"
    for view in ("flow", "warp", "visible"):
        _, _, content = page.ask("GET", f"{base}/{view}.jpg")
        width, height = Image.open(io.BytesIO(content)).size
        assert width / height == pytest.approx(451 / 300, abs=0.02)
    asked = {"points": [{"name": "nose, its tip", "x": 265, "y": 240}]}
    _, headers, content = page.ask("POST", f"{base}/download.csv", json_body=asked)
    assert headers["content-disposition"] == 'attachment; filename="match.csv"'
    assert content.decode().splitlines()[1].startswith('"nose, its tip",265.0,240.0,')
    report = json.loads(page.ask("POST", f"{base}/download.json", json_body=asked)[2])
    assert report["points"][0]["source"] == [265, 240]
    assert report["source"] == "cat.png"
    _, _, content = page.ask("POST", f"{base}/download.png", json_body=asked)
    assert min(Image.open(io.BytesIO(content)).size) > 300


def test_the_recipe_gives_the_same_answer(page, cat_path, cheetah_path, run, monkeypatch, tmp_path):
    found = match(page, cat_path, cheetah_path)
    asked = {"points": [{"name": "nose", "x": 265, "y": 240}]}
    answer = page.json("POST", f"/api/match/{found['id']}/points", asked)[0]
    recipe = page.json("POST", f"/api/match/{found['id']}/recipe", asked)
    for path in (cat_path, cheetah_path):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    code, out, _ = run(*recipe["command"].split()[1:], "--json")
    assert code == 0
    assert json.loads(out)["points"][0]["target"] == pytest.approx([answer["x"], answer["y"]], abs=0.1)
    names: dict = {}
    exec(recipe["python"], names)
    assert names["points"][0] == pytest.approx([answer["x"], answer["y"]], abs=0.1)


def test_turned_pictures(page, cat_path, cat, tmp_path):
    turned = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(cat))).save(turned)
    found = match(page, cat_path, turned, rotations=4)
    assert found["turn"]["degrees"] == 90
    assert page.ask("GET", f"/api/match/{found['id']}/heat.png?x=265&y=240")[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "line"),
    [
        ({"model": "pmcn"}, 400, "did you mean pmnc"),
        ({"grid": 5000}, 400, "grid"),
        ({"rotations": "many"}, 400, "rotations"),
        ({"source": "none"}, 404, "add it again"),
    ],
)
def test_wrong_choices_get_one_line(page, cat_path, change, status, line):
    picture = page.upload(cat_path)["id"]
    got, _, content = page.ask("POST", "/api/match", json_body={"source": picture, "target": picture, **change})
    assert got == status
    assert line in json.loads(content)["error"]


def png_of(width, height):
    """Return a PNG that claims to be of this size, its pixels all one colour: little to send, much to decode."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width // 8 + 1) * 2000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("note.txt", b"this is no picture", 415),
        ("empty.png", b"", 400),
        ("bomb.png", png_of(30_000, 30_000), 415),
        ("large.png", png_of(9_000, 9_000), 413),
        ("drawing.svg", SVG, 415),
        ("drawing.jpg", SVG, 415),
        ("photo.heic", HEIC, 415),
        ("../../passwd", b"root:x:0:0", 415),
    ],
)
@pytest.mark.parametrize("tab", ["match", "label"])
def test_hostile_uploads(page, name, content, status, tab):
    project = page.json("POST", "/api/projects", {})["id"] if tab == "label" else ""
    path = "/api/pictures" if tab == "match" else f"/api/projects/{project}/pictures"
    got, _, answer = page.ask("POST", f"{path}?name={name}", body=content)
    error = json.loads(answer)["error"]
    assert got == status, error
    assert "\n" not in error
    assert "Traceback" not in error
    assert ".." not in error
    if tab == "label":
        assert page.json("GET", f"/api/projects/{project}")["pictures"] == []


def test_a_file_of_100_mb_is_refused_before_it_is_read(page):
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        request = (
            f"POST /api/pictures?name=large.jpg HTTP/1.1\r\nHost: {host_of(page)}\r\nContent-Length: 104857600\r\n\r\n"
        )
        connection.sendall(request.encode() + bytes(1000))
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413")


def test_a_large_file_without_a_stated_size_is_refused_while_it_is_read(page):
    sent = 0
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        head = f"POST /api/pictures HTTP/1.1\r\nHost: {host_of(page)}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        part = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        try:
            for _ in range(100):
                connection.sendall(part)
                sent += 1
        except OSError:
            pass  # the server has closed it
        if sent == 100:
            connection.sendall(b"0\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    assert sent >= 50


def test_a_name_cannot_lead_out_of_the_folder(page, cat_path):
    project = page.json("POST", "/api/projects", {})["id"]
    body = cat_path.read_bytes()
    named = page.json("POST", f"/api/projects/{project}/pictures?name=..%2F..%2Fcat.png", body=body)
    assert named == {"name": "cat.png"}
    again = page.json("POST", f"/api/projects/{project}/pictures?name=cat.png", body=body)
    assert again == {"name": "cat-2.png"}
    for name in ("../cat.png", "/etc/passwd", "semcorr-labels.json"):
        assert page.ask("GET", f"/api/projects/{project}/picture?name={name}")[0] == 404
    assert page.ask("GET", "/static/../server.py")[0] == 404
    assert page.ask("GET", "/static/%2e%2e/server.py")[0] == 404


def test_links_out_of_a_folder_are_not_followed(ten_copied, cat_path):
    (ten_copied / "link.png").symlink_to(cat_path)
    page = Page([ten_copied])
    try:
        names = {one["name"] for one in page.json("GET", "/api/projects/folder-1")["pictures"]}
    finally:
        page.close()
    assert names == {f"{i}.png" for i in range(10)}


def test_other_sites_are_refused(page):
    assert page.ask("GET", "/api", headers={"Host": "evil.example"})[0] == 403  # DNS rebinding
    assert page.ask("GET", "/api", headers={"Host": f"127.0.0.1.evil.example:{page.port}"})[0] == 403
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert page.ask("POST", "/api/projects", body="{}", headers=headers)[0] == 403
    own = {"Origin": page.address, "Sec-Fetch-Site": "same-origin"}
    assert page.ask("POST", "/api/projects", body="{}", headers=own)[0] == 201
    assert page.ask("GET", "/api", headers={"Host": f"localhost:{page.port}"})[0] == 200
    # a form of another site cannot send JSON
    assert page.ask("POST", "/api/match", body="{}", headers={"Content-Type": "text/plain"})[0] == 415


@pytest.mark.parametrize("path", ["/", "/api", "/static/main.js", "/nothing", "/api/pictures/none"])
def test_headers_of_every_answer(page, path):
    _, headers, _ = page.ask("GET", path)
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_the_command_says_what_is_wrong(page, run, tmp_path):
    code, _, err = run("app", "--no-browser", "--port", page.port)
    assert (code, err.count("\n")) == (2, 1)
    assert "choose another --port" in err
    code, _, err = run("app", "--no-browser", "--folder", tmp_path / "none")
    assert (code, err.count("\n")) == (2, 1)
    assert "is not a folder" in err
    (tmp_path / "empty").mkdir()
    assert "no picture in it" in run("app", "--no-browser", "--folder", tmp_path / "empty")[2]


def test_other_machines_are_let_in_with_a_warning_only():
    arguments = ["-m", "semcorr", "app", "--no-browser", "--host", "0.0.0.0", "--port", "0"]
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr.readline().startswith("warning: listening on 0.0.0.0: whoever reaches this machine")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_no_inline_script_or_style_and_nothing_from_elsewhere(page):
    text = page.ask("GET", "/")[2].decode()
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text)
    assert not re.search(r"(?:src|href)=\"(?!/static/)", text)


def test_a_full_queue_says_so(cat_path):
    queue, begun, hold = Queue(workers=1, waiting=0), threading.Event(), threading.Event()
    page = Page(queue=queue)
    try:
        picture = page.upload(cat_path)["id"]
        other = threading.Thread(target=lambda: asyncio.run(queue.run(lambda: (begun.set(), hold.wait(60)))))
        other.start()
        begun.wait(60)
        status, headers, content = page.ask("POST", "/api/match", json_body={"source": picture, "target": picture})
        hold.set()
        other.join()
        assert page.ask("POST", "/api/match", json_body={"source": picture, "target": picture})[0] == 200
    finally:
        hold.set()
        page.close()
    assert status == 503
    assert headers["retry-after"] == "5"
    assert "try again in a few seconds" in json.loads(content)["error"]


def test_a_result_is_computed_once_and_an_error_is_not_kept():
    cache, calls = Cache(2), []

    def make():
        calls.append(1)
        time.sleep(0.05)
        return len(calls)

    threads = [threading.Thread(target=cache.get, args=("a", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    with pytest.raises(ZeroDivisionError):
        cache.get("b", lambda: 1 // 0)
    assert cache.get("b", lambda: 5) == 5
    cache.get("c", lambda: 6)
    assert not cache.has("a")


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


@pytest.mark.parametrize("language", ["bash", "python"])
def test_the_documented_requests_work(page, cat_path, cheetah_path, tmp_path, language):
    text = DOCS.read_text().split("## HTTP interface")[1]
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for path, name in ((cat_path, "cat.jpg"), (cheetah_path, "dog.jpg")):
        Image.open(path).convert("RGB").save(tmp_path / name)
    script = "\n".join(blocks).replace("http://127.0.0.1:7860", page.address)
    command = ["bash", "-euo", "pipefail", "-c", script] if language == "bash" else ["python3", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "% sure" in done.stdout
