"""A real server, in this process, and requests to it."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

POINTS = {"left eye": (319, 137), "right eye": (175, 116), "nose": (265, 240)}
"""Places in the cat."""


class Page:
    """A server in a thread."""

    def __init__(self, folders=(), queue=None, port=0):
        uvicorn = pytest.importorskip("uvicorn", reason="uvicorn, of the extra app, is not installed")
        from semcorr.app.server import create_app

        app = create_app(folders, queue=queue)
        self.projects = app.state.projects
        self.server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        wait_for(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def close(self):
        self.server.should_exit = True
        self.thread.join(30)

    def ask(self, method, path, body=None, headers=(), json_body=None):
        """Return status, headers and content of an answer; nothing is retried or followed."""
        if json_body is not None:
            body, headers = json.dumps(json_body), {"Content-Type": "application/json", **dict(headers)}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, method, path, json_body=None, body=None):
        status, _, content = self.ask(method, path, body=body, json_body=json_body)
        assert status < 300, content
        return json.loads(content)

    def upload(self, path):
        return self.json("POST", f"/api/pictures?name={quote(path.name)}", body=path.read_bytes())


class Command:
    """``semcorr app`` as a process of its own."""

    def __init__(self, *folders, port=0):
        # with one thread, one picture after another is labelled
        environment = os.environ | {"SEMCORR_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        line = self.line(folders, port)
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment)
        self.address = re.search(r"http://\S+", self.process.stderr.readline())[0]
        self.port = int(self.address.split(":")[2].split("/")[0])

    @staticmethod
    def line(folders, port=0):
        given = [word for folder in folders for word in ("--folder", str(folder))]
        return [sys.executable, "-m", "semcorr", "app", *given, "--no-browser", "--port", str(port)]

    @classmethod
    def refused(cls, *folders):
        """Run a command that is to end by itself."""
        return subprocess.run(cls.line(folders), capture_output=True, text=True, timeout=60)

    def work(self):
        """Return what the server says of the labelling."""
        with urlopen(f"http://127.0.0.1:{self.port}/api/projects/folder-1") as answer:
            return json.load(answer)["work"]

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(30)
        self.process.stderr.close()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def page():
    made = Page()
    yield made
    made.close()


@pytest.fixture(scope="session")
def cat_path(cat, tmp_path_factory):
    path = tmp_path_factory.mktemp("cat") / "cat.png"
    Image.fromarray(cat).save(path)
    return path


@pytest.fixture(scope="session")
def ten(cat, tmp_path_factory):
    """Ten crops of the cat: where its points are in each is known to the pixel."""
    folder = tmp_path_factory.mktemp("ten")
    for index in range(10):
        Image.fromarray(np.ascontiguousarray(cat[:, 4 * index : 4 * index + 400])).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def ten_copied(ten, tmp_path):
    return shutil.copytree(ten, tmp_path / "ten")


def host_of(page):
    return urlsplit(page.address).netloc
