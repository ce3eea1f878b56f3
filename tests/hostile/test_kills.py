"""Some rows of the kill matrix; ``kill_matrix.py`` has them all, and kills as often as wanted."""

import pytest
from file_server import Server
from hostile.kill_matrix import LIMITS, cases, check, check_full_disk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),  # forked beside the server's threads
]


@pytest.mark.parametrize("name", ["evaluate", "compare", "data download", "export", "benchmark"])
def test_a_killed_command_resumes_and_ends_the_same(tmp_path, name, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    server = Server()
    try:
        case = cases(tmp_path, server)[name]
        _, same, problems = check(case, tmp_path / "kill", times=2)
        assert same == 2, problems
        assert check_full_disk(case, tmp_path / "full", LIMITS[name]) == []
    finally:
        server.close()
