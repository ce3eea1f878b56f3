"""The data sets of `layouts`, built once from photographs at hand and copied for every test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from file_server import Server

from semcorr.data.download import http as transfer


@pytest.fixture
def dataset(built, tmp_path):
    """Return a fresh copy of a data set, to be damaged."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(built[name], tmp_path / name))

    return copy


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 0.01)
