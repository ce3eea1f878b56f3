import os
import time

import pytest

from semcorr.files import lock, replacing, write_bytes


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b"old")
    with pytest.raises(IsADirectoryError), replacing(file) as part:
        part.write_bytes(b"half") and tmp_path.write_bytes(b"a folder")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path):
    old, new = tmp_path / ".a.0123abcd.part.json", tmp_path / ".a.0123abce.part.json"
    others = [tmp_path / ".b.0123abcd.part.json", tmp_path / ".a.part.json", tmp_path / ".a.0123abcd.part.csv"]
    for file in (old, new, *others):
        file.write_bytes(b"half")
    for file in (old, *others):
        os.utime(file, (time.time() - 2 * 24 * 3600,) * 2)
    write_bytes(tmp_path / "a.json", b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([new, *others, tmp_path / "a.json"])


def test_a_lock_holds_until_it_is_closed_and_follows_no_link(tmp_path):
    file = tmp_path / "lock"
    held = lock(file)
    with pytest.raises(BlockingIOError):
        lock(file)
    held.close()
    lock(file).close()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        lock(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()
