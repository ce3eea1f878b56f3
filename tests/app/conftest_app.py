"""A real server, in this process, and requests to it."""

import http.client
import json
import shutil
import threading
import time
from urllib.parse import quote, urlsplit

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
