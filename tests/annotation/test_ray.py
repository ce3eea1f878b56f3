"""The same labels over Ray Data, also when a worker dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'semcorr[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for workers in /proc")]


def labels(*arguments: object) -> None:
    """Run the command in a process of its own: what other tests have imported changes what Pillow says of a picture."""
    code = "from semcorr.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, "annotate", *map(str, arguments)], check=True)


def workers() -> list[int]:
    """Return the process ids of this test's Ray workers that label."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"MapWorker" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_a_worker_killed_in_the_middle_changes_nothing(make_cats, tmp_path: Path) -> None:
    cats = make_cats(tmp_path, 40)
    labels(cats.exemplar, cats.folder, "--out", tmp_path / "local.json")
    killed = []

    def kill() -> None:
        for _ in range(600):
            time.sleep(0.2)
            if len(running := workers()) == 2:
                time.sleep(3)  # so that it is loading or labelling
                os.kill(running[0], signal.SIGKILL)
                killed.append(running[0])
                return

    thread = threading.Thread(target=kill)
    thread.start()
    labels(cats.exemplar, cats.folder, "--out", tmp_path / "ray.json", "--engine", "ray", "--workers", "2")
    thread.join()
    assert killed
    assert (tmp_path / "ray.json").read_bytes() == (tmp_path / "local.json").read_bytes()
