"""Annotations on disk as they are made, so that a run that was killed goes on where it stopped.

The journal is a file of JSON lines beside the output: a header with the fingerprint of the run, then one line for each
target. Lines become durable in groups. A last line that was cut off, by a full disk or a kill, is dropped.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from semcorr.annotation.records import Annotation, Point
from semcorr.errors import DataError, SemcorrError

EVERY = 16
"""Targets whose annotations become durable together."""


class Journal:
    """The annotations of a run that is not finished.

    Args:
        path: The journal's file; it need not be there.
        fingerprint: What tells this run from one with other exemplars, settings or models.
        fresh: Start over, ignoring what is there.

    Raises:
        DataError: If the file belongs to another run, or is no journal.
    """

    def __init__(self, path: Path, fingerprint: str, fresh: bool = False) -> None:
        self.path, self._header = path, {"semcorr": "annotations in progress", "fingerprint": fingerprint}
        self.done: dict[str, Annotation] = {}
        self._length = 0
        self._file: IO[bytes] | None = None
        self._unsaved = 0
        if path.exists() and not fresh:
            self._read()

    def _read(self) -> None:
        lines = list(_whole_lines(self.path))
        if not lines:
            return
        header = _parse(lines[0])
        if not isinstance(header, dict) or header.get("semcorr") != self._header["semcorr"]:
            raise DataError(f"{self.path} is in the way: move it, or choose another --out")
        if header != self._header:
            raise DataError(
                f"{self.path} is of a run with other exemplars, options or version; repeat that command to go on with "
                "it, or start over with --fresh"
            )
        self._length = len(lines[0])
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                self.done[entry["key"]] = from_json(entry)
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
                break  # everything from here on is made again
            self._length += len(line)

    def __enter__(self) -> Journal:
        with _explained(self.path):
            self._file = self.path.open("r+b" if self._length else "wb")
            self._file.truncate(self._length)
            self._file.seek(self._length)
            if not self._length:
                self._write(self._header)
                self.save()
        return self

    def add(self, key: str, annotation: Annotation) -> None:
        """Add a target's annotation; it is durable after the next `save`.

        Raises:
            SemcorrError: If the disk is full; what is durable stays so.
        """
        with _explained(self.path):
            self._write({"key": key, **to_json(annotation)})
        self.done[key] = annotation
        self._unsaved += 1
        if self._unsaved >= EVERY:
            self.save()

    def _write(self, entry: object) -> None:
        assert self._file is not None
        self._file.write(json.dumps(entry).encode() + b"\n")

    def save(self) -> None:
        """Make durable what was added."""
        assert self._file is not None
        with _explained(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._unsaved = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._file is not None
        try:
            self.save()
        except SemcorrError:
            if error is None:
                raise
        finally:
            with suppress(OSError):  # the buffer could not be written: said already
                self._file.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn a disk's errors into one line that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else error.strerror or str(error)
        raise SemcorrError(
            f"{path} cannot be written: {reason}; make room and repeat the command to go on where it stopped"
        ) from error


def fingerprint_of(path: Path) -> str | None:
    """Return the fingerprint of the run that a journal belongs to; None if there is no journal."""
    header = _parse(next(_whole_lines(path), b"")) if path.is_file() else None
    return str(header.get("fingerprint")) if isinstance(header, dict) and "semcorr" in header else None


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _parse(line: bytes) -> object:
    try:
        content: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content


def to_json(annotation: Annotation) -> dict[str, object]:
    """Return an annotation as plain JSON values."""
    return asdict(annotation)


def from_json(values: dict[str, Any]) -> Annotation:
    """Return the annotation that `to_json` made plain.

    Raises:
        KeyError, TypeError, ValueError: If it is something else.
    """
    fields = {name: values[name] for name in Annotation.__dataclass_fields__}
    points = {name: Point(**point) for name, point in fields["points"].items()}
    size, box = fields["size"], fields["box"]
    fields |= {
        "points": points,
        "size": None if size is None else tuple(size),
        "box": None if box is None else tuple(box),
    }
    return Annotation(**fields)
