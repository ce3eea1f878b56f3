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
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest_app import POINTS, Page, host_of
from PIL import Image

import semcorr
from semcorr.app.work import Cache, Queue

pytest.importorskip("starlette", reason="the extra app is not installed")

DOCS = Path(__file__).resolve().parents[2] / "docs" / "app.md"


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
    alpha = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))[..., 3]
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
