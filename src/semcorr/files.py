"""Files: atomic writing, checksums, and errors as one line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
