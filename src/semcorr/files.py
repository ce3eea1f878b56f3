"""Files: atomic writing, checksums, and errors as one line."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from secrets import token_hex
from typing import IO

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a single letter would be a Windows drive

_ABANDONED = 24 * 3600  # seconds after which a temporary file belongs to nobody


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file atomically: if writing fails, the old file is kept.

    Args:
        path: The file. Missing folders are created. If it is a symbolic link, the file that it points to is replaced.

    Yields:
        The path of a temporary file in the same folder, with the same suffix, to write to. It replaces ``path`` if the
        block ends without an error, and is removed otherwise. Temporary files of the same file that are more than a
        day old, left by a process that was killed, are removed too.
    """
    final = Path(os.path.realpath(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final)
    part = final.with_name(f".{final.stem[:100]}.{token_hex(4)}.part{final.suffix}")
    try:
        yield part
        part.replace(final)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # such as a full disk: the system names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _sweep(final: Path) -> None:
    """Remove what killed processes left of a file that `replacing` was writing."""
    pattern = re.compile(rf"\.{re.escape(final.stem[:100])}\.[0-9a-f]{{8}}\.part{re.escape(final.suffix)}")
    for path in final.parent.glob(".*.part*"):
        with suppress(OSError):  # another process may remove it at the same time
            if pattern.fullmatch(path.name) and time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def lock(path: Path) -> IO[bytes]:
    """Lock a file against other processes, until it is closed; if this process is killed, the system unlocks it.

    Args:
        path: The file. It is created if there is none, and stays.

    Returns:
        The open file: close it to unlock it.

    Raises:
        BlockingIOError: If it is locked already, by another process or by this one.
        OSError: If it cannot be opened for writing, or its file system knows no locks.
    """
    import fcntl  # not on Windows

    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def refuse_input(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write over a file that was read, whatever links lead to it.

    Args:
        path: Where something is to be written.
        inputs: What was read.

    Raises:
        FileExistsError: If ``path`` is one of them.
    """
    for one in inputs:
        try:
            same = path.samefile(one)
        except OSError:  # one of them is not there
            same = Path(os.path.realpath(path)) == Path(os.path.realpath(one))
        if same:
            raise FileExistsError(f"{str(path)!r} is one of the inputs and would be lost: choose another name")


def unused(path: Path) -> Path:
    """Return a path that no file has: this one, or the first of ``name-2``, ``name-3`` … that is free.

    >>> unused(Path("no such folder/match.png")).name
    'match.png'
    """
    names = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(free for free in chain((path,), names) if not os.path.lexists(free))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; see `replacing`."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically; see `replacing`. What UTF-8 cannot hold is written as an escape."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def one_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of an error's message, cut to ``limit`` characters, or its type if it has none.

    >>> one_line(ValueError("first\\nsecond")), one_line(KeyError())
    ('first', 'KeyError')
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= limit else f"{line[: limit - 2].rsplit(' ', 1)[0]} …"


def local_path(path: Path | str) -> Path:
    """Return a path in which ``~`` is the home folder.

    Raises:
        ValueError: If it is an address, such as ``https://…`` or ``s3://…``: those are not read.
    """
    text = os.fspath(path)
    if _ADDRESS.match(text) and not os.path.lexists(text):
        address = text if "://" in text else text.replace(":/", "://", 1)  # `Path` joins slashes
        raise ValueError(f"{address} is an address, not a local path: download the file first")
    if text.startswith("~") and not os.path.lexists(text):
        with suppress(RuntimeError):  # nobody of that name
            return Path(text).expanduser()
    return Path(text)
