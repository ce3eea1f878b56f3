"""One setting for all threads, never more than there are processors, and nobody waits for anybody."""

import threading
import time

import pytest

from semcorr import threads
from semcorr.threads import VARIABLE, each_alone, in_parallel, processors, thread_count


@pytest.fixture
def many(monkeypatch):
    """Let this process use eight processors."""
    monkeypatch.setattr(threads, "processors", lambda: 8)
    threads._pool.cache_clear()
    yield
    threads._pool().shutdown()
    threads._pool.cache_clear()


def test_the_argument_goes_before_the_variable(many, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert thread_count() == 8
    monkeypatch.setenv(VARIABLE, "3")
    assert thread_count() == 3
    assert thread_count(2) == 2
    assert thread_count(100) == 8
    monkeypatch.setenv(VARIABLE, "")
    assert thread_count() == 8


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "two"])
def test_what_is_no_number_of_threads_is_refused(wrong, monkeypatch):
    with pytest.raises(ValueError, match="threads must be a whole number, 1 or more; got"):
        thread_count(wrong)
    monkeypatch.setenv(VARIABLE, str(wrong))
    with pytest.raises(ValueError, match=f"{VARIABLE} must be a whole number"):
        thread_count()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ({}, float("inf")),
        ({"cpu.max": "nonsense"}, float("inf")),
    ],
)
def test_the_limit_of_a_control_group(files, expected, tmp_path, monkeypatch):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    assert threads._quota() == expected
    processors.cache_clear()
    assert 1 <= processors() <= max(1, expected + 1)
    processors.cache_clear()


def test_results_come_in_the_order_of_the_parts(many):
    def square(part):
        time.sleep(0.02 * (part % 3 == 0))
        return part**2

    for count in (1, 4):
        assert in_parallel(square, range(10), count) == [part**2 for part in range(10)]
    assert in_parallel(square, [], 4) == []


def test_no_more_threads_than_asked_for(many):
    running, most, lock = 0, 0, threading.Lock()

    def work(_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    in_parallel(work, range(30), 3)
    assert 2 <= most <= 3


def test_errors_are_raised_when_all_have_ended(many):
    ended = []

    def work(part):
        if part == 0:
            raise KeyError("first")
        time.sleep(0.01)
        ended.append(part)

    with pytest.raises(KeyError, match="first"):
        in_parallel(work, range(4), 4)
    before = len(ended)
    time.sleep(0.05)
    assert len(ended) == before


def test_busy_helpers_are_not_waited_for(many):
    free = threading.Event()
    blocking = [threads.later(free.wait) for _ in range(7)]
    try:
        assert in_parallel(lambda part: part, range(20), 4) == list(range(20))
    finally:
        free.set()
    assert all(each.result() for each in blocking)


def test_each_part_computes_in_one_thread(many):
    meeting = threading.Barrier(3, timeout=10)  # broken unless three parts run at once

    def work(part):
        meeting.wait()
        return part, thread_count()

    assert each_alone(work, range(3)) == [(0, 1), (1, 1), (2, 1)]
    assert thread_count() > 1
    assert each_alone(lambda _: thread_count(), [0]) == [thread_count()]  # alone, a part has all threads
    with pytest.raises(KeyError):
        each_alone({}.__getitem__, range(3))
    assert thread_count() > 1
