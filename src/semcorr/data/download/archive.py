"""Unpacking archives from the network: nothing is written outside the folder, whatever the archive says."""

from __future__ import annotations

import hashlib
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

MAX_UNPACKED = 20 * 1024**3
"""Most bytes that an archive may unpack to: the largest of the data sets needs a tenth of it."""

MAX_MEMBERS = 1_000_000
"""Most files that an archive may hold."""

CHUNK = 1 << 20

IGNORED = ("__MACOSX", ".DS_Store")
"""What archivers leave behind, and nobody wants."""


def unpack(archive: Path, to: Path, max_bytes: int = MAX_UNPACKED) -> list[Path]:
    """Unpack a zip or tar archive completely, or not at all.

    Files are unpacked to a hidden folder inside ``to`` first; only when all are there, the archive's top
    level moves to its place, one rename each.

    Args:
        archive: the file, ``.zip``, ``.tar``, ``.tar.gz`` or ``.tgz``.
        to: the folder to unpack to. What is there already is never overwritten.
        max_bytes: how large the unpacked files may be together.

    Returns:
        The files and folders of the archive's top level, in their places.

    Raises:
        DataError: the archive is damaged or hostile, the disk is full, or something is in the way.
    """
    staging = to / f".unpacking-{archive.name}"
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    try:
        with _explained(archive, to):
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
def _explained(archive: Path, to: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged, or no archive of its kind: {error}") from error
    except RuntimeError as error:  # how zipfile refuses encrypted files
        raise DataError(f"{archive} cannot be unpacked: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{archive.name} cannot be unpacked to {to}: {reason}; nothing was changed") from error


class _Budget:
    """What an archive may still take, counted in what is really written, not in what it announces."""

    def __init__(self, archive: Path, max_bytes: int) -> None:
        self.archive, self.bytes, self.members = archive, max_bytes, MAX_MEMBERS

    def take(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise DataError(f"{self.archive} unpacks to more than is allowed: it may be a decompression bomb")

    def take_member(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise DataError(f"{self.archive} holds more than {MAX_MEMBERS} files")


def _place(name: str, archive: Path) -> PurePosixPath | None:
    """Return where a member goes inside the folder; nowhere, where it is an archiver's litter."""
    path = PurePosixPath(name)
    hostile = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
    if hostile or (path.parts and path.parts[0].endswith(":")):
        raise DataError(f"{archive} is hostile: it names {name!r}, outside the folder it is unpacked to")
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
            place = _place(member.filename, archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{archive} is hostile: {member.filename!r} is a link or a device, not a file")
            if place is None or member.is_dir():
                continue
            with zipped.open(member) as source:
                _write(source, folder / place, budget)


def _unpack_tar(archive: Path, folder: Path, budget: _Budget) -> None:
    links: list[tuple[PurePosixPath, tarfile.TarInfo]] = []
    with tarfile.open(archive) as tar:
        for member in tar:
            budget.take_member()
            place = _place(member.name, archive)
            if member.issym() or member.islnk():
                if place is not None:
                    links.append((place, member))
            elif not (member.isreg() or member.isdir()):
                raise DataError(f"{archive} is hostile: {member.name!r} is a device, not a file")
            elif place is not None and member.isreg():
                source = tar.extractfile(member)
                assert source is not None  # what tarfile gives for a regular file
                with source:
                    _write(source, folder / place, budget)
    for place, member in links:
        _copy_link(place, member, archive, folder, budget)


def _copy_link(place: PurePosixPath, member: tarfile.TarInfo, archive: Path, folder: Path, budget: _Budget) -> None:
    """Put a copy of what a link means in its place. No link is ever made: none can lead out of the folder."""
    start = place.parent if member.issym() else PurePosixPath()
    path: list[str] = list(start.parts)
    for part in PurePosixPath(member.linkname).parts:
        if part == ".." and path:
            path.pop()
        elif part == ".." or part.startswith("/") or "\\" in part:
            raise DataError(f"{archive} is hostile: the link {member.name!r} leads out: {member.linkname!r}")
        else:
            path.append(part)
    meant = folder.joinpath(*path)
    if not meant.is_file():
        raise DataError(f"{archive}: the link {member.name!r} means no file of it: {member.linkname!r}")
    with meant.open("rb") as source:
        _write(source, folder / place, budget)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
