"""A real HTTP server on this machine, which cuts, lies and runs out as servers do."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from semcorr.data.download.download import CHECKSUMS

CONTENT = np.random.default_rng(0).bytes(1_500_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server:
    """What is served, and how badly: `cuts` says after how many bytes of each next answer the connection dies."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.ranges = True
        self.validators = True
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append((handler.path, wanted))
        content = self.files.get(handler.path)
        status = self.statuses.pop(0) if self.statuses else 200
        if content is None or status != 200:
            handler.send_error(404 if content is None else status)
            return
        tag = f'"{sha256(content)[:16]}"'
        start = 0
        if wanted and self.ranges and handler.headers.get("If-Range", tag) == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(content)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        if self.validators:
            handler.send_header("ETag", tag)
        body = content[start:]
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def leftovers(folder: Path) -> list[str]:
    """Return what is in a folder beside the recorded checksums."""
    return sorted(path.name for path in folder.iterdir() if path.name != CHECKSUMS)
