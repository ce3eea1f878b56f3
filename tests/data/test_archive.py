"""Archives from the network, hostile ones among them: nothing is ever written outside the folder."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from archives import HARD, REG, SYM, tarred, zipped
from file_server import CONTENT, leftovers, sha256

from semcorr.data.download.archive import unpack
from semcorr.data.download.download import CHECKSUMS, Remote, download
from semcorr.errors import DataError

HOSTILE = {
    "up.zip": zipped({"set/a": b"a", "../evil": b"x"}),
    "up-inside.zip": zipped({"set/../../evil": b"x"}),
    "absolute.zip": zipped({"/tmp/evil": b"x"}),
    "backslash.zip": zipped({"..\\evil": b"x"}),
    "drive.zip": zipped({"C:/evil": b"x"}),
    "link.zip": zipped({"set/a": b"/etc/passwd"}, kind=0o120777),
    "up.tar.gz": tarred(("set/a", b"a", REG), ("../evil", b"x", REG)),
    "absolute.tar.gz": tarred(("/tmp/evil", b"x", REG)),
    "symlink.tar.gz": tarred(("set/a", "../../../evil", SYM)),
    "symlink-up-one.tar.gz": tarred(("set/a", "../../evil", SYM)),
    "symlink-absolute.tar.gz": tarred(("set/a", "/etc/passwd", SYM)),
    "hardlink.tar.gz": tarred(("set/a", "../../evil", HARD)),
    "through-link.tar.gz": tarred(("set/deep/b", "../..", SYM), ("set/deep/b/evil", b"x", REG)),
    "fifo.tar.gz": tarred(("set/pipe", b"", tarfile.FIFOTYPE)),
    "device.tar.gz": tarred(("set/null", b"", tarfile.CHRTYPE)),
}


class TestUnpack:
    @pytest.mark.parametrize("name", list(HOSTILE))
    def test_hostile_archives_write_nothing_anywhere(self, name, server, tmp_path):
        to = tmp_path / "to"
        to.mkdir()
        victims = [tmp_path / "evil", to / "evil"]
        for victim in victims:
            victim.write_bytes(b"untouched")
        server.files[f"/{name}"] = HOSTILE[name]
        remote = Remote(name, (f"{server.url}/{name}",), sha256(HOSTILE[name]), "set")
        with pytest.raises(DataError, match=r"hostile|points to a missing file|cannot be unpacked"):
            download("x", to, remotes=[remote])
        assert leftovers(to) == sorted(["evil", name])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["evil", "to"]
        assert [victim.read_bytes() for victim in victims] == [b"untouched", b"untouched"]
        assert not Path("/tmp/evil").exists()

    def test_an_archive_of_each_kind(self, server, tmp_path):
        content = {"set/a.txt": b"one", "set/deep/b.txt": b"two"}
        archives = {
            "good.zip": zipped({**content, "__MACOSX/set/._a.txt": b"litter"}),
            "good.tar.gz": tarred(
                *((name, data, REG) for name, data in content.items()),
                ("set/link", "deep/b.txt", SYM),
                ("set/deep/up", "../a.txt", SYM),
                ("set/hard", "set/a.txt", HARD),
            ),
        }
        for name, archive in archives.items():
            to = tmp_path / name
            server.files[f"/{name}"] = archive
            download("x", to, remotes=[Remote(name, (f"{server.url}/{name}",), None, "set")])
            assert leftovers(to) == ["set"]
            assert (to / "set/deep/b.txt").read_bytes() == b"two"
        links = [tmp_path / "good.tar.gz/set" / name for name in ("link", "deep/up", "hard")]
        assert [link.read_bytes() for link in links] == [b"two", b"one", b"one"]
        assert not any(link.is_symlink() for link in links)

    def test_once_unpacked_nothing_is_asked_for(self, server, tmp_path):
        server.files["/a.zip"] = zipped({"set/a": b"a"})
        remote = Remote("a.zip", (f"{server.url}/a.zip",), None, "set")
        for _ in range(2):
            download("x", tmp_path, remotes=[remote])
        assert len(server.asked) == 1
        assert json.loads((tmp_path / CHECKSUMS).read_text())["a.zip"]["sha256"] == sha256(server.files["/a.zip"])

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("page.zip", b"<html>This page has moved</html>"),
            ("page.tar.gz", b"<html>This page has moved</html>"),
            ("cut.zip", zipped({"set/a": CONTENT})[:-1000]),
            ("cut.tar.gz", tarred(("set/a", CONTENT, REG))[:700_000]),
            ("empty.tar.gz", b""),
        ],
    )
    def test_what_is_no_archive_is_not_recorded(self, name, content, server, tmp_path):
        server.files[f"/{name}"] = content
        with pytest.raises(DataError, match="damaged, or not an archive"):
            download("x", tmp_path, remotes=[Remote(name, (f"{server.url}/{name}",), None, "set")])
        assert leftovers(tmp_path) == []
        assert not (tmp_path / CHECKSUMS).exists()

    def test_an_archive_of_something_else(self, server, tmp_path):
        server.files["/a.zip"] = zipped({"other/a": b"a"})
        with pytest.raises(DataError, match="does not contain the folder set"):
            download("x", tmp_path, remotes=[Remote("a.zip", (f"{server.url}/a.zip",), None, "set")])

    def test_a_bomb_is_stopped_by_what_it_writes(self, tmp_path):
        archive = tmp_path / "bomb.zip"
        archive.write_bytes(zipped({"set/zeros": bytes(5_000_000)}))
        with pytest.raises(DataError, match="decompression bomb"):
            unpack(archive, tmp_path / "to", max_bytes=1_000_000)
        assert leftovers(tmp_path / "to") == []

    def test_nothing_is_overwritten(self, tmp_path):
        archive = tmp_path / "a.zip"
        archive.write_bytes(zipped({"set/a": b"new"}))
        (tmp_path / "set").mkdir()
        (tmp_path / "set/a").write_bytes(b"old")
        with pytest.raises(DataError, match="exists already"):
            unpack(archive, tmp_path)
        assert (tmp_path / "set/a").read_bytes() == b"old"
        assert leftovers(tmp_path) == ["a.zip", "set"]
