"""Children of a process that has a model loaded, and threads that share one: the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import semcorr


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("fork", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")),
        pytest.param("spawn", marks=pytest.mark.slow),
    ],
)
def test_children_answer_as_their_parent_does(start: str):
    """A pool, a data loader and a bare process; the parent has matched with several threads before."""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(Path(__file__).with_name("forked.py")), start]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.stdout == "the same answers\n", run.stderr


def test_eight_threads_share_a_model(cat: np.ndarray):
    model = semcorr.load(grid=10, image_size=160)
    pictures = [np.ascontiguousarray(np.roll(cat[:200, :250], 10 * shift, axis=1)) for shift in range(4)]
    truth = [model.match(pictures[0], picture).forward for picture in pictures]

    def work(thread: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
        return [
            (index % 4, *model.match(pictures[0], pictures[index % 4]).forward[:2])
            for index in range(thread, thread + 3)
        ]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(work, range(8)):
            for index, points, confidence in found:
                assert np.abs(points - truth[index].points).max() < 0.01
                assert np.abs(confidence - truth[index].confidence).max() < 1e-4
