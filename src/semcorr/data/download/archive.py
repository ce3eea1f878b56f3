"""Unpack archives from the network; nothing is ever written outside the target folder."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from semcorr.errors import DataError
from semcorr.files import one_line

MAX_UNPACKED = 20 * 1024**3
"""Most bytes that an archive may unpack to; the largest data set needs a tenth of that."""

MAX_MEMBERS = 1_000_000
"""Most files that an archive may contain."""

CHUNK = 1 << 20

IGNORED = ("__MACOSX", ".DS_Store")
"""Files that some operating systems add to archives; they are left out."""


def unpack(archive: Path, to: Path, max_bytes: int = MAX_UNPACKED) -> list[Path]:
    """Unpack a zip or tar archive completely, or not at all.

    Files are first unpacked to a hidden folder inside ``to``; when all are complete, the files and folders of the top
    level are renamed to their final paths.

    Args:
        archive: A ``.zip``, ``.tar``, ``.tar.gz`` or ``.tgz`` file.
        to: The folder to unpack to. Existing files are never overwritten.
        max_bytes: The largest total size of the unpacked files.

    Returns:
        The final paths of the files and folders of the archive's top level.

    Raises:
        DataError: If the archive is damaged or hostile, the disk is full, or a file already exists.
    """
    staging = to / f".unpacking-{archive.name}"
    shutil.rmtree(staging, ignore_errors=True)  # left by a run that was killed
    try:
        with _data_errors(archive, to):
            staging.mkdir(parents=True)
            unpack_one = _unpack_zip if archive.suffix == ".zip" else _unpack_tar
            unpack_one(archive, staging, _Budget(archive, max_bytes))
            moves = [(path, to / path.name) for path in sorted(staging.iterdir())]
            for _, final in moves:
                if final.exists():
                    raise DataError(f"{final} exists already: move or delete it, then try again")
            for path, final in moves:
                path.rename(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [final for _, final in moves]


@contextmanager
def _data_errors(archive: Path, to: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged, or not an archive of its type: {one_line(error)}") from error
    except RuntimeError as error:  # zipfile raises it for encrypted files
        raise DataError(f"{archive} cannot be unpacked: {one_line(error)}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{archive.name} cannot be unpacked to {to}: {reason}; nothing was changed") from error


class _Budget:
    """Bytes and files that an archive may still unpack; counts what is written, not what the archive claims."""

    def __init__(self, archive: Path, max_bytes: int) -> None:
        self.archive, self.bytes, self.members = archive, max_bytes, MAX_MEMBERS

    def take(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise DataError(f"{self.archive} unpacks to more data than allowed: it may be a decompression bomb")

    def take_member(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise DataError(f"{self.archive} contains more than {MAX_MEMBERS} files")


def _destination(name: str, archive: Path) -> PurePosixPath | None:
    """Return the path of a member inside the folder, or None if it is left out."""
    path = PurePosixPath(name)
    hostile = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
    if hostile or (path.parts and path.parts[0].endswith(":")):
        raise DataError(f"{archive} is hostile: it contains {name!r}, a path outside the target folder")
    if not path.parts or any(part in IGNORED for part in path.parts):
        return None
    if os.name == "nt":  # SPair-71k's annotations have colons in their names
        path = PurePosixPath(*(part.replace(":", "_") for part in path.parts))
    return path


def _write(source: IO[bytes], path: Path, budget: _Budget) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while chunk := source.read(CHUNK):
            budget.take(len(chunk))
            file.write(chunk)


def _unpack_zip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            budget.take_member()
            destination = _destination(member.filename, archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{archive} is hostile: {member.filename!r} is a link or a device, not a file")
            if destination is None or member.is_dir():
                continue
            with zipped.open(member) as source:
                _write(source, folder / destination, budget)


def _unpack_tar(archive: Path, folder: Path, budget: _Budget) -> None:
    links: list[tuple[PurePosixPath, tarfile.TarInfo]] = []
    with tarfile.open(archive) as tar:
        for member in tar:
            budget.take_member()
            destination = _destination(member.name, archive)
            if member.issym() or member.islnk():
                if destination is not None:
                    links.append((destination, member))
            elif not (member.isreg() or member.isdir()):
                raise DataError(f"{archive} is hostile: {member.name!r} is a device, not a file")
            elif destination is not None and member.isreg():
                source = tar.extractfile(member)
                assert source is not None  # tarfile returns None only for other kinds of members
                with source:
                    _write(source, folder / destination, budget)
    for destination, member in links:
        _copy_link(destination, member, archive, folder, budget)


def _copy_link(
    destination: PurePosixPath, member: tarfile.TarInfo, archive: Path, folder: Path, budget: _Budget
) -> None:
    """Copy the file that a link points to. Links are never created, so that none can lead out of the folder."""
    start = destination.parent if member.issym() else PurePosixPath()
    path: list[str] = list(start.parts)
    for part in PurePosixPath(member.linkname).parts:
        if part == ".." and path:
            path.pop()
        elif part == ".." or part.startswith("/") or "\\" in part:
            raise DataError(f"{archive} is hostile: the link {member.name!r} points outside: {member.linkname!r}")
        else:
            path.append(part)
    linked = folder.joinpath(*path)
    if not linked.is_file():
        raise DataError(f"{archive}: the link {member.name!r} points to a missing file: {member.linkname!r}")
    with linked.open("rb") as source:
        _write(source, folder / destination, budget)
