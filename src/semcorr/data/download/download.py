"""Download the public data sets: from several mirrors, resumed after interruptions, verified and safely unpacked.

Known checksums are verified. Others are recorded in ``checksums.json`` when a file is first downloaded, and verified
from then on: with a copy of that file, another machine gets the same data or an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semcorr.data.download.archive import unpack
from semcorr.data.download.http import Progress, StorageError, TransferError, fetch
from semcorr.data.records import as_record, read_record
from semcorr.errors import DataError, did_you_mean, need_extra
from semcorr.files import local_path, sha256_of, write_text

CHECKSUMS = "checksums.json"

WILLOW = "https://www.di.ens.fr/willow/research"
NCNET = "https://raw.githubusercontent.com/ignacio-rocco/ncnet/master/datasets/pf-pascal/image_pairs"


@dataclass(frozen=True)
class Remote:
    """A file of a data set.

    Attributes:
        place: Its path in the data set's folder; the last part is its name on a mirror.
        urls: Its addresses, in the order in which they are tried.
        sha256: Its checksum, if it is known.
        unpacks_to: The folder that it unpacks to, if it is an archive.
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
"""Data set to its files."""


def download(
    name: str,
    to: Path | str,
    mirrors: Sequence[str] = (),
    progress: Progress | None = None,
    remotes: Sequence[Remote] | None = None,
) -> Path:
    """Download a data set. Called again, it resumes after an interruption, or does nothing if all is complete.

    Args:
        name: The data set, one of `REMOTES`.
        to: The folder to download to: the ``root`` of its loader.
        mirrors: URLs of folders with the same files, tried before the public addresses.
        progress: Called with a file's name, the bytes downloaded so far, and the total number of bytes.
        remotes: Files to download instead of those in `REMOTES`.

    Returns:
        The folder.

    Raises:
        DataError: If no address provides a file with the right checksum, an archive is hostile, or the disk is full.
        ValueError: If a mirror is not an HTTP address.
    """
    if remotes is None:
        if name not in REMOTES:
            known = f"{did_you_mean(name, REMOTES)}; choose one of {', '.join(REMOTES)}, or use your own files"
            raise DataError(f"{name!r} cannot be downloaded{known}")
        remotes = REMOTES[name]
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise ValueError(f"a mirror must be an http:// or https:// address; got {mirror!r}")
    need_extra("data", "requests")
    to = local_path(to)
    for remote in remotes:
        _get(remote, to, mirrors, progress)
    return to


def _get(remote: Remote, to: Path, mirrors: Sequence[str], progress: Progress | None) -> None:
    """Download one file, and unpack it if it is an archive."""
    unpacked = to / remote.unpacks_to if remote.unpacks_to is not None else None
    final, recorded = to / remote.place, _recorded(to)
    if unpacked is not None and unpacked.is_dir():  # it is renamed to its final path only when complete
        if final.exists():  # an earlier call was killed after unpacking
            _record(to, {**recorded, remote.place: sha256_of(final)})
            final.unlink()
        return
    expected = remote.sha256 or recorded.get(remote.place)
    if not final.exists() or expected not in (None, sha256_of(final)):
        _download(remote, final, expected, mirrors, progress)
    checksum = sha256_of(final)
    if unpacked is not None:
        try:
            unpack(final, to)
            if not unpacked.is_dir():
                raise DataError(f"{final.name} does not contain the folder {remote.unpacks_to}")
        except DataError:
            if expected is None:  # perhaps not an archive but a web page that says it has moved
                final.unlink(missing_ok=True)
            raise
    _record(to, {**recorded, remote.place: checksum})
    if unpacked is not None:
        final.unlink()


def _download(
    remote: Remote, final: Path, expected: str | None, mirrors: Sequence[str], progress: Progress | None
) -> None:
    """Download a file from the first address that provides it with the right checksum."""
    reasons = []
    for url in (*(f"{mirror.rstrip('/')}/{final.name}" for mirror in mirrors), *remote.urls):
        try:
            return _retrieve(url, final, expected, progress)
        except TransferError as error:  # noqa: PERF203 - the next mirror may work
            reasons.append(str(error))
    raise DataError(f"{final.name} could not be downloaded: {'; '.join(reasons)}")


def _retrieve(url: str, final: Path, expected: str | None, progress: Progress | None) -> None:
    """Download a file beside its final path, verify it, and rename it."""
    part = final.with_name(f"{final.name}.part")
    note, resumed = part.with_name(f"{part.name}.json"), part.exists()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        fetch(url, part, verified=expected is not None, progress=progress)
        wrong = expected not in (None, sha256_of(part))
        note.unlink(missing_ok=True)
        if not wrong:
            part.replace(final)
            return None
        part.unlink()
    except OSError as error:
        raise StorageError(f"{final} cannot be written: {error.strerror or error}") from error
    if resumed:  # the first bytes may belong to another file
        return _retrieve(url, final, expected, progress)
    advice = f"if the publisher changed it, delete its entry in {CHECKSUMS}"
    raise TransferError(f"{url} does not have the sha256 {expected}; {advice}")


def _recorded(to: Path) -> dict[str, str]:
    path = to / CHECKSUMS
    if not path.exists():
        return {}
    record = read_record(path)
    return {name: as_record(value, f"{path} {name[:60]}").text("sha256") for name, value in record.values.items()}


def _record(to: Path, checksums: dict[str, str]) -> None:
    content = {name: {"sha256": sha256} for name, sha256 in sorted(checksums.items())}
    write_text(to / CHECKSUMS, json.dumps(content, indent=1) + "\n")
