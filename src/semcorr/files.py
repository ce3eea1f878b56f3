"""Files: atomic writing, checksums, and errors as one line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from secrets import token_hex


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file atomically: if writing fails, the old file is kept.

    Args:
        path: The file. Its folder is made. Where it is a link, what it points to is replaced.

    Yields:
        A path beside it, with the same suffix, to be written. It takes the place of ``path`` when the block ends
        without an error, and is removed otherwise.
    """
    final = Path(os.path.realpath(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.with_name(f".{final.stem[:100]}.{token_hex(4)}.part{final.suffix}")
    try:
        yield part
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


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
    """Write a UTF-8 text file atomically; see `replacing`."""
    write_bytes(path, text.encode())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def one_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of an error's message, or its type where it has none.

    >>> one_line(ValueError("first\\nsecond")), one_line(KeyError())
    ('first', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0][:limit]
