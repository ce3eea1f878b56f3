"""Getting the public data sets: several mirrors, resumed after a cut, verified, unpacked safely.

Checksums that are known are demanded. The others are recorded in ``checksums.json`` when a file first arrives
and demanded from then on: with a copy of that file, another machine gets the same data or an error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semcorr.data.download.archive import sha256_of, unpack
from semcorr.data.download.http import Progress, StorageError, TransferError, fetch
from semcorr.data.records import as_record, read_record
from semcorr.errors import DataError

CHECKSUMS = "checksums.json"

WILLOW = "https://www.di.ens.fr/willow/research"
NCNET = "https://raw.githubusercontent.com/ignacio-rocco/ncnet/master/datasets/pf-pascal/image_pairs"


@dataclass(frozen=True)
class Remote:
    """A file of a data set.

    Attributes:
        place: where it goes in the data set's folder; its last part is its name on a mirror.
        urls: where it is, in the order in which they are tried.
        sha256: its checksum, where it is known.
        unpacks_to: the folder that it unpacks to, where it is an archive.
    """

    place: str
    urls: tuple[str, ...]
    sha256: str | None = None
    unpacks_to: str | None = None


def _pair_list(split: str, sha256: str) -> Remote:
    return Remote(f"image_pairs/{split}_pairs.csv", (f"{NCNET}/{split}_pairs.csv",), sha256)


REMOTES: dict[str, tuple[Remote, ...]] = {
    "pf-pascal": (
        _pair_list("train", "e7604e992744706b0ec0ed9fad240b5e0e45f38c13eaf567af0338ec8a50f40f"),
        _pair_list("val", "a9dd7f303abc7ee31c51fe73f39923a6880d4dc9aa4d7af38d5f15a7345407f5"),
        _pair_list("test", "1891bfd52cac67898aa5b65a50818e315e5228b956fdda1baad400e6a89c6fe6"),
        Remote(
            "PF-dataset-PASCAL.zip",
            (f"{WILLOW}/proposalflow/dataset/PF-dataset-PASCAL.zip",),
            unpacks_to="PF-dataset-PASCAL",
        ),
    ),
    "pf-willow": (
        Remote("test_pairs_pf.csv", (f"{WILLOW}/cnngeometric/other_resources/test_pairs_pf.csv",)),
        Remote(
            "PF-dataset.zip",
            (f"{WILLOW}/proposalflow/dataset/PF-dataset.zip",),
            unpacks_to="PF-dataset",
        ),
    ),
    "spair-71k": (
        Remote(
            "SPair-71k.tar.gz",
            (
                "https://cvlab.postech.ac.kr/research/SPair-71k/data/SPair-71k.tar.gz",
                "http://cvlab.postech.ac.kr/research/SPair-71k/data/SPair-71k.tar.gz",
            ),
            unpacks_to="SPair-71k",
        ),
    ),
}
"""What is downloaded for each data set."""


def download(
    name: str,
    to: Path | str,
    mirrors: Sequence[str] = (),
    progress: Progress | None = None,
    remotes: Sequence[Remote] | None = None,
) -> Path:
    """Download a data set. Called again, it goes on where it was cut; once all is there, it does nothing.

    Args:
        name: the data set, one of `REMOTES`.
        to: the folder to put it in: the ``root`` that its loader takes.
        mirrors: addresses of folders that hold the same files, tried before the public locations.
        progress: called with a file's name, the bytes that are there, and the bytes there will be.
        remotes: files to get instead of those of `REMOTES`.

    Returns:
        The folder.

    Raises:
        DataError: no location gives a file that fits its checksum, an archive is hostile, the disk is full.
    """
    if remotes is None:
        if name not in REMOTES:
            known = ", ".join(REMOTES)
            raise DataError(f"{name!r} cannot be downloaded: choose one of {known}, or bring your own files")
        remotes = REMOTES[name]
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise ValueError(f"a mirror's address begins with http:// or https://, got {mirror!r}")
    to = Path(to)
    for remote in remotes:
        _get(remote, to, mirrors, progress)
    return to


def _get(remote: Remote, to: Path, mirrors: Sequence[str], progress: Progress | None) -> None:
    """Get one file, and unpack it where it is an archive."""
    unpacked = to / remote.unpacks_to if remote.unpacks_to is not None else None
    if unpacked is not None and unpacked.is_dir():
        return  # it moves to its place only when it is complete
    final, recorded = to / remote.place, _recorded(to)
    expected = remote.sha256 or recorded.get(remote.place)
    if not final.exists() or expected not in (None, sha256_of(final)):
        _download(remote, final, expected, mirrors, progress)
    found = sha256_of(final)
    if unpacked is not None:
        try:
            unpack(final, to)
            if not unpacked.is_dir():
                raise DataError(f"{final.name} does not hold the folder {remote.unpacks_to}")
        except DataError:
            if expected is None:  # perhaps no archive, but a page that says it has moved
                final.unlink(missing_ok=True)
            raise
        final.unlink()
    _record(to, {**recorded, remote.place: found})


def _download(
    remote: Remote, final: Path, expected: str | None, mirrors: Sequence[str], progress: Progress | None
) -> None:
    """Get a file from the first location that gives it as it should be."""
    reasons = []
    for url in (*(f"{mirror.rstrip('/')}/{final.name}" for mirror in mirrors), *remote.urls):
        try:
            return _retrieve(url, final, expected, progress)
        except TransferError as error:  # noqa: PERF203 - the next mirror may be better
            reasons.append(str(error))
    raise DataError(f"{final.name} could not be had: {'; '.join(reasons)}")


def _retrieve(url: str, final: Path, expected: str | None, progress: Progress | None) -> None:
    """Let pooch verify the file and put it in its place, with a downloader that can be interrupted."""
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("downloading needs pooch: pip install 'semcorr[data]'") from error
    pooch.get_logger().setLevel(logging.WARNING)
    part = final.with_name(f"{final.name}.part")
    went_on = part.exists()

    def resume(url: str, output_file: str, _: object) -> None:
        fetch(url, part, verified=expected is not None, progress=progress)
        part.replace(output_file)
        part.with_name(f"{part.name}.json").unlink(missing_ok=True)

    try:
        pooch.retrieve(url, expected, fname=final.name, path=final.parent, downloader=resume)
    except DataError:
        raise
    except ValueError as error:
        if went_on:  # the first bytes may have been another file's
            return _retrieve(url, final, expected, progress)
        advice = f"if the publisher changed it, delete its entry in {CHECKSUMS}"
        raise TransferError(f"{url} does not have the sha256 {expected}; {advice}") from error
    except OSError as error:
        raise StorageError(f"{final} cannot be written: {error.strerror or error}") from error


def _recorded(to: Path) -> dict[str, str]:
    path = to / CHECKSUMS
    if not path.exists():
        return {}
    record = read_record(path)
    return {name: as_record(value, f"{path} {name}").text("sha256") for name, value in record.values.items()}


def _record(to: Path, checksums: dict[str, str]) -> None:
    content = {name: {"sha256": sha256} for name, sha256 in sorted(checksums.items())}
    temporary = to / f".{CHECKSUMS}"
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(to / CHECKSUMS)
