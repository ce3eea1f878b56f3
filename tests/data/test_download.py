"""Downloads from a real HTTP server on this machine, which cuts, lies and runs out as servers do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from archives import REG, tarred, zipped
from file_server import CONTENT, Server, leftovers, sha256

from semcorr.data.download import http as transfer
from semcorr.data.download.download import CHECKSUMS, REMOTES, Remote, download
from semcorr.data.download.http import StorageError, TransferError
from semcorr.data.registry import load_dataset
from semcorr.errors import DataError


def plain(server: Server, content: bytes = CONTENT, known: bool = True, name: str = "data.bin") -> Remote:
    server.files[f"/{name}"] = content
    return Remote(name, (f"{server.url}/{name}",), sha256(content) if known else None)


def start_of(wanted: str | None) -> int:
    """Return the first byte that a request asked for."""
    assert wanted is not None
    return int(wanted.removeprefix("bytes=").removesuffix("-"))


class TestResume:
    @pytest.mark.parametrize("known", [True, False])
    def test_goes_on_after_a_cut_where_it_was(self, known, server, tmp_path):
        server.cuts = [400_000, 700_000]
        download("x", tmp_path, remotes=[plain(server, known=known)])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT
        assert server.asked[0] == ("/data.bin", None)
        first, second = (start_of(wanted) for _, wanted in server.asked[1:])
        assert 400_000 - transfer.CHUNK < first <= 400_000
        assert first + 700_000 - transfer.CHUNK < second <= first + 700_000
        assert leftovers(tmp_path) == ["data.bin"]

    @pytest.mark.parametrize("known", [True, False])
    def test_goes_on_in_another_run(self, known, server, tmp_path):
        remote = plain(server, known=known)
        server.cuts = [600_000, 0, 0, 0, 0]
        with pytest.raises(DataError, match=r"data\.bin could not be downloaded: .*failed 4 times"):
            download("x", tmp_path, remotes=[remote])
        assert leftovers(tmp_path) == ["data.bin.part", "data.bin.part.json"]
        server.cuts, server.asked = [], []
        download("x", tmp_path, remotes=[remote])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT
        assert len(server.asked) == 1
        assert 600_000 - transfer.CHUNK < start_of(server.asked[0][1]) <= 600_000
        assert leftovers(tmp_path) == ["data.bin"]

    def test_a_file_that_changed_meanwhile_is_fetched_anew(self, server, tmp_path):
        remote = plain(server, known=False)
        server.cuts = [600_000, 0, 0, 0, 0]
        with pytest.raises(DataError):
            download("x", tmp_path, remotes=[remote])
        server.cuts, server.files["/data.bin"] = [], CONTENT[::-1]
        download("x", tmp_path, remotes=[remote])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT[::-1]

    def test_without_validator_or_checksum_nothing_is_pieced_together(self, server, tmp_path):
        remote, server.validators = plain(server, known=False), False
        server.cuts = [600_000]
        download("x", tmp_path, remotes=[remote])
        assert [wanted for _, wanted in server.asked] == [None, None]
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_a_server_without_ranges_starts_again(self, server, tmp_path):
        remote, server.ranges = plain(server), False
        server.cuts = [600_000]
        download("x", tmp_path, remotes=[remote])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_a_part_that_is_complete_or_too_long(self, server, tmp_path):
        for content in (CONTENT, CONTENT + b"more"):
            (tmp_path / "data.bin").unlink(missing_ok=True)
            (tmp_path / "data.bin.part").write_bytes(content)
            download("x", tmp_path, remotes=[plain(server)])
            assert (tmp_path / "data.bin").read_bytes() == CONTENT
        assert server.asked[0] == ("/data.bin", f"bytes={len(CONTENT)}-")

    def test_a_part_of_another_file_is_found_out_and_replaced(self, server, tmp_path):
        (tmp_path / "data.bin.part").write_bytes(b"\0" * 700_000)
        download("x", tmp_path, remotes=[plain(server)])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_a_busy_server_is_asked_again(self, server, tmp_path):
        remote, server.statuses = plain(server), [503, 429]
        download("x", tmp_path, remotes=[remote])
        assert len(server.asked) == 3

    def test_progress(self, server, tmp_path):
        calls: list[tuple[str, int, int | None]] = []
        server.cuts = [400_000]
        download("x", tmp_path, progress=lambda *call: calls.append(call), remotes=[plain(server)])
        assert {name for name, _, _ in calls} == {"data.bin"}
        assert [done for _, done, _ in calls] == sorted({done for _, done, _ in calls})
        assert calls[-1][1:] == (len(CONTENT), len(CONTENT))


class TestChecksums:
    def test_a_known_one_that_is_wrong(self, server, tmp_path):
        remote = plain(server)
        server.files["/data.bin"] = CONTENT[:-1] + b"\0"
        with pytest.raises(DataError, match=rf"sha256 {sha256(CONTENT)}"):
            download("x", tmp_path, remotes=[remote])
        assert leftovers(tmp_path) == []

    def test_an_unknown_one_is_recorded_and_demanded_from_then_on(self, server, tmp_path):
        remote = plain(server, known=False)
        download("x", tmp_path, remotes=[remote])
        recorded = json.loads((tmp_path / CHECKSUMS).read_text())
        assert recorded == {"data.bin": {"sha256": sha256(CONTENT)}}
        (tmp_path / "data.bin").unlink()
        server.files["/data.bin"] = CONTENT[::-1]
        with pytest.raises(DataError, match=r"delete its entry in checksums\.json"):
            download("x", tmp_path, remotes=[remote])
        assert leftovers(tmp_path) == []
        server.files["/data.bin"] = CONTENT
        download("x", tmp_path, remotes=[remote])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_what_is_there_and_right_is_not_fetched_again(self, server, tmp_path):
        remote = plain(server)
        download("x", tmp_path, remotes=[remote])
        download("x", tmp_path, remotes=[remote])
        assert len(server.asked) == 1

    def test_what_is_there_and_damaged_is_fetched_again(self, server, tmp_path):
        (tmp_path / "data.bin").write_bytes(b"damaged")
        download("x", tmp_path, remotes=[plain(server)])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_broken_records(self, server, tmp_path):
        (tmp_path / CHECKSUMS).write_text('{"data.bin": {"md5": "1"}}')
        with pytest.raises(DataError, match=r"checksums\.json data\.bin: field 'sha256' is missing"):
            download("x", tmp_path, remotes=[plain(server, known=False)])

    def test_the_pf_pascal_lists_are_the_true_ones(self, shared_keypoints, server, tmp_path):
        lists = [remote for remote in REMOTES["pf-pascal"] if remote.sha256]
        assert len(lists) == 3
        for remote in lists:
            name = Path(remote.place).name
            content = (shared_keypoints / "pf_pascal_pairs" / name.replace("_pairs", "")).read_bytes()
            server.files[f"/{name}"] = content
        download("x", tmp_path, [server.url], remotes=lists)
        assert len((tmp_path / "image_pairs" / "test_pairs.csv").read_text().splitlines()) == 300


class TestMirrors:
    def test_the_next_is_tried_when_one_does_not_have_the_file(self, server, tmp_path):
        remote = plain(server)
        download("x", tmp_path, [f"{server.url}/mirror/"], remotes=[remote])
        assert [path for path, _ in server.asked] == ["/mirror/data.bin", "/data.bin"]

    def test_the_next_is_tried_when_one_has_another_file(self, server, tmp_path):
        server.files["/mirror/data.bin"] = b"<html>This page has moved</html>"
        download("x", tmp_path, [f"{server.url}/mirror"], remotes=[plain(server)])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_the_next_is_tried_when_one_cannot_be_reached(self, server, tmp_path):
        gone = Server()
        gone.close()
        download("x", tmp_path, [gone.url], remotes=[plain(server)])
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_verified_bytes_go_on_from_another_mirror(self, server, tmp_path):
        server.files["/mirror/data.bin"] = CONTENT
        server.cuts = [500_000, 0, 0, 0, 0]
        download("x", tmp_path, [f"{server.url}/mirror"], remotes=[plain(server)])
        path, wanted = server.asked[-1]
        assert path == "/data.bin"
        assert 500_000 - transfer.CHUNK < start_of(wanted) <= 500_000
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_all_reasons_are_given(self, server, tmp_path):
        remote = Remote("data.bin", (f"{server.url}/a/data.bin", f"{server.url}/b/data.bin"))
        with pytest.raises(DataError, match=r"/a/data\.bin returned 404.*; .*/b/data\.bin returned 404"):
            download("x", tmp_path, remotes=[remote])

    def test_a_mirror_must_be_an_address(self, tmp_path):
        with pytest.raises(ValueError, match="http"):
            download("pf-pascal", tmp_path, ["/etc"])

    def test_unknown_name(self, tmp_path):
        with pytest.raises(DataError, match="choose one of pf-pascal, pf-willow, spair-71k"):
            download("imagenet", tmp_path)


LIMITED = """
import resource, sys
from semcorr.data.download.download import Remote, download
from semcorr.errors import DataError
limit, to, url, place, sha256, unpacks_to = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
try:
    download("x", to, remotes=[Remote(place, (url,), sha256, unpacks_to or None)])
except DataError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit the size of files")
class TestFullDisk:
    """The system refuses to write on, as it does on a full disk, because the size of files is limited."""

    def run(self, limit: int, to: Path, server: Server, place: str, content: bytes, unpacks_to: str = "") -> str:
        server.files[f"/{place}"] = content
        arguments = [str(limit), str(to), f"{server.url}/{place}", place, sha256(content), unpacks_to]
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout

    def test_while_downloading(self, server, tmp_path):
        said = self.run(500_000, tmp_path, server, "data.bin", CONTENT)
        assert said.startswith("StorageError not enough space for ")
        assert "the download resumes after 500000 bytes" in said
        assert said.count("\n") == 1
        assert not (tmp_path / "data.bin").exists()
        server.asked.clear()
        download("x", tmp_path, remotes=[plain(server)])  # with room again
        assert server.asked == [("/data.bin", "bytes=500000-")]
        assert (tmp_path / "data.bin").read_bytes() == CONTENT

    def test_while_unpacking(self, server, tmp_path):
        archive = zipped({"set/a": b"small", "set/zeros": bytes(5_000_000)})
        said = self.run(1_000_000, tmp_path, server, "a.zip", archive, "set")
        assert "cannot be unpacked" in said
        assert "nothing was changed" in said
        assert leftovers(tmp_path) == ["a.zip"]
        server.asked.clear()
        download("x", tmp_path, remotes=[Remote("a.zip", (f"{server.url}/a.zip",), sha256(archive), "set")])
        assert server.asked == []
        assert (tmp_path / "set/zeros").stat().st_size == 5_000_000

    def test_more_than_the_disk_has_is_refused_before_a_byte_is_written(self, tmp_path):
        class Huge(Server):
            def answer(self, handler: BaseHTTPRequestHandler) -> None:
                handler.send_response(200)
                handler.send_header("Content-Length", str(10**18))
                handler.end_headers()

        huge = Huge()
        try:
            with pytest.raises(StorageError, match="MB are needed"):
                download("x", tmp_path, remotes=[Remote("data.bin", (f"{huge.url}/data.bin",))])
        finally:
            huge.close()
        assert leftovers(tmp_path) == []

    def test_a_place_that_cannot_be_written(self, server, tmp_path):
        (tmp_path / "file").write_bytes(b"not a folder")
        with pytest.raises(DataError, match="cannot be written"):
            download("x", tmp_path / "file", remotes=[plain(server)])


def test_a_range_that_was_not_asked_for(tmp_path):
    class Liar(Server):
        def answer(self, handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(206)
            handler.send_header("Content-Range", "bytes 7-9/10")
            handler.send_header("Content-Length", "3")
            handler.end_headers()
            handler.wfile.write(b"abc")

    liar = Liar()
    try:
        with pytest.raises(TransferError, match="sent bytes from 7 instead of 0"):
            transfer.fetch(f"{liar.url}/x", tmp_path / "x.part", verified=True)
    finally:
        liar.close()


class TestWholeDataSets:
    """The public data sets, in their true layouts, all the way from a mirror to pairs."""

    def pack(self, root: Path, folder: str, kind: str) -> bytes:
        files = [path for path in sorted((root / folder).rglob("*")) if path.is_file()]
        members = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
        return zipped(members) if kind == "zip" else tarred(*((name, data, REG) for name, data in members.items()))

    def test_pf_willow(self, built, server, tmp_path):
        server.files["/PF-dataset.zip"] = self.pack(built["pf-willow"], "PF-dataset", "zip")
        server.files["/test_pairs_pf.csv"] = (built["pf-willow"] / "test_pairs_pf.csv").read_bytes()
        server.cuts = [100, 200]
        root = download("pf-willow", tmp_path / "new" / "willow", [server.url])
        assert len(load_dataset("pf-willow", root)) == 3
        assert set(json.loads((root / CHECKSUMS).read_text())) == {"PF-dataset.zip", "test_pairs_pf.csv"}

    def test_spair(self, built, server, tmp_path):
        home = tmp_path / "home"
        home.mkdir()
        (home / "SPair-71k").symlink_to(built["spair-71k"])
        server.files["/SPair-71k.tar.gz"] = self.pack(home, "SPair-71k", "tar")
        server.cuts = [1000]
        root = download("spair-71k", tmp_path / "spair", [server.url])
        assert [pair.source.path.stem for pair in load_dataset("spair-71k", root)] == ["tabby", "lion", "cub"]
        assert leftovers(root) == ["SPair-71k"]
