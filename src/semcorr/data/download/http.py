"""One file over HTTP, that goes on where it was cut: the downloader that pooch is given."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semcorr.errors import DataError

if TYPE_CHECKING:
    import requests

Progress = Callable[[str, int, "int | None"], None]
"""Called with a file's name, the bytes that are there, and the bytes there will be, where that is known."""

CHUNK = 1 << 14
"""Bytes that are written at once, and that a cut may cost."""

TIMEOUT = (20, 60)
"""Seconds to wait for a connection, and for the next bytes."""

ATTEMPTS = 4
"""How often in a row a transfer may fail without having got any further."""

PAUSE = 0.5
"""Seconds before the second attempt; later ones wait longer."""

NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class TransferError(DataError):
    """A location that does not give the file: another mirror may."""


class StorageError(DataError):
    """The disk is full, or cannot be written: no other mirror helps."""


@dataclass(frozen=True)
class _Part:
    """A file that is not complete yet, and what is known of its origin."""

    path: Path

    @property
    def note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def origin(self) -> dict[str, str]:
        try:
            noted = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in noted.items()} if isinstance(noted, dict) else {}

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def can_go_on(self, url: str, verified: bool) -> bool:
        """Whether this location's bytes may follow those that are there."""
        origin = self.origin()
        return self.size > 0 and (verified or (origin.get("url") == url and bool(origin.get("validator"))))


def fetch(url: str, part: Path, verified: bool, progress: Progress | None = None) -> None:
    """Transfer a file to ``part``, going on after the bytes that are there already.

    Args:
        url: where the file is.
        part: where its bytes are collected. What is there stays there when the transfer fails.
        verified: the finished file will be compared with a known checksum. Only then may bytes from one
            location be continued from another, or from a server that cannot say whether its file changed.
        progress: told about every chunk.

    Raises:
        TransferError: the location does not have the file, or is cut again and again.
        StorageError: the disk is full, or cannot be written.
    """
    import requests

    piece, failures = _Part(part), 0
    furthest = piece.size
    while True:
        try:
            return _transfer(url, piece, verified, progress)
        except requests.RequestException as error:  # noqa: PERF203 - each attempt fails by itself
            failures = 1 if piece.size > furthest else failures + 1
            furthest = max(furthest, piece.size)
            if failures >= ATTEMPTS:
                raise TransferError(f"{url} failed {failures} times: {_reason(error)}") from error
            time.sleep(PAUSE * failures)
        except OSError as error:
            advice = f"make some and try again: it goes on after {piece.size} bytes"
            full = error.errno in NO_ROOM
            raise StorageError(
                f"no room for {part}; {advice}" if full else f"{part} cannot be written: {error.strerror}"
            ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _transfer(url: str, part: _Part, verified: bool, progress: Progress | None) -> None:
    """Make one request and write what it gives."""
    import requests

    headers = {"Accept-Encoding": "identity"}  # ranges count bytes of the file, not of its compressed form
    asked = part.size if part.can_go_on(url, verified) else 0
    if asked:
        headers["Range"] = f"bytes={asked}-"
        origin = part.origin()
        if origin.get("url") == url and origin.get("validator"):
            headers["If-Range"] = origin["validator"]
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416 and asked:
            if response.headers.get("Content-Range", "") == f"bytes */{asked}":
                return  # it was complete already
            part.discard()
            raise requests.ConnectionError("the file there is shorter than what was here: starting again")
        if response.status_code in (429, 500, 502, 503, 504):
            raise requests.ConnectionError(f"the server answers {response.status_code}")
        if response.status_code not in (200, 206):
            raise TransferError(f"{url} answers {response.status_code} {response.reason}")
        _write(url, response, part, _start(response, asked), progress)


def _start(response: requests.Response, asked: int) -> int:
    """Return from which byte on the server sends the file."""
    if response.status_code == 200:
        return 0
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if first != str(asked):
        raise TransferError(f"{response.url} sends bytes from {first or 'nowhere'}, asked for {asked}")
    return asked


def _write(url: str, response: requests.Response, part: _Part, start: int, progress: Progress | None) -> None:
    import requests

    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    room = shutil.disk_usage(part.path.parent).free
    if total is not None and total - start > room:
        needed = f"{(total - start) / 1e6:.0f} MB are needed and {room / 1e6:.0f} MB are free"
        raise StorageError(f"no room in {part.path.parent}: {needed}")
    etag = response.headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    part.note.write_text(json.dumps({"url": url, "validator": validator}))
    done = start
    with part.path.open("r+b" if start else "wb") as file:
        file.seek(start)
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(part.path.name.removesuffix(".part"), done, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done != total:
        raise requests.ConnectionError(f"{done} of {total} bytes arrived")
