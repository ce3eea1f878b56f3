"""Download one file over HTTP, resuming after an interruption."""

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
from semcorr.files import one_line

if TYPE_CHECKING:
    import requests

Progress = Callable[[str, int, "int | None"], None]
"""Called with a file's name, the bytes downloaded so far, and the total number of bytes if it is known."""

CHUNK = 1 << 14
"""How many bytes are written at a time."""

TIMEOUT = (20, 60)
"""Seconds to wait for a connection, and for the next bytes."""

ATTEMPTS = 4
"""How many times in a row a transfer may fail without progress."""

PAUSE = 0.5
"""Seconds to wait before the second attempt; before later ones, longer."""

NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class TransferError(DataError):
    """A location does not provide the file; another mirror may."""


class StorageError(DataError):
    """The disk is full or cannot be written to; another mirror does not help."""


@dataclass(frozen=True)
class _Part:
    """An incomplete file, and a note of where it comes from."""

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
        except (OSError, ValueError, RecursionError):
            return {}
        return {str(k): str(v) for k, v in noted.items()} if isinstance(noted, dict) else {}

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def can_go_on(self, url: str, verified: bool) -> bool:
        """Tell whether bytes from this location may be appended to the file."""
        origin = self.origin()
        return self.size > 0 and (verified or (origin.get("url") == url and bool(origin.get("validator"))))


def fetch(url: str, part: Path, verified: bool, progress: Progress | None = None) -> None:
    """Download a file to ``part``, resuming after the bytes that it already has.

    Args:
        url: The file's address.
        part: The file to append to. It is kept if the transfer fails.
        verified: Whether the finished file will be compared with a known checksum. Only then may a download resume
            from another location, or from a server that cannot tell whether its file has changed.
        progress: Called for every chunk.

    Raises:
        TransferError: If the location does not have the file, or the transfer fails again and again.
        StorageError: If the disk is full or cannot be written to.
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
                raise TransferError(f"{url} failed {failures} times: {one_line(error)}") from error
            time.sleep(PAUSE * failures)
        except OSError as error:
            advice = f"free some space and try again; the download resumes after {piece.size} bytes"
            full = error.errno in NO_ROOM
            raise StorageError(
                f"not enough space for {part}; {advice}" if full else f"{part} cannot be written: {error.strerror}"
            ) from error


def _transfer(url: str, part: _Part, verified: bool, progress: Progress | None) -> None:
    """Make one request, and write the response to the file."""
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
                return  # already complete
            part.discard()
            raise requests.ConnectionError(
                "the file on the server is shorter than the part downloaded so far: starting over"
            )
        if response.status_code in (429, 500, 502, 503, 504):
            raise requests.ConnectionError(f"the server returned {response.status_code}")
        if response.status_code not in (200, 206):
            raise TransferError(f"{url} returned {response.status_code} {response.reason}")
        _write(url, response, part, _start(response, asked), progress)


def _start(response: requests.Response, asked: int) -> int:
    """Return the offset of the first byte that the server sends."""
    if response.status_code == 200:
        return 0
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if first != str(asked):
        raise TransferError(f"{response.url} sent bytes from {first or 'an unknown offset'} instead of {asked}")
    return asked


def _write(url: str, response: requests.Response, part: _Part, start: int, progress: Progress | None) -> None:
    import requests

    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    free = shutil.disk_usage(part.path.parent).free
    if total is not None and total - start > free:
        needed = f"{(total - start) / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free"
        raise StorageError(f"not enough space in {part.path.parent}: {needed}")
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
        raise requests.ConnectionError(f"only {done} of {total} bytes were received")
