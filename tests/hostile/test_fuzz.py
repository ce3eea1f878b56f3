"""A few hundred mutated files of each binary kind, under fixed seeds; `fuzz.py` by itself runs ten thousand."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from semcorr.errors import ModelError
from semcorr.models.import_checkpoint import import_checkpoint
from semcorr.weights import read_weights

pytest.importorskip("resource", reason="this system cannot bound the memory of a process")
FUZZ = Path(__file__).with_name("fuzz.py")


@pytest.mark.parametrize(("kind", "count"), [("picture", 300), ("weights", 50), ("checkpoint", 20)])
def test_mutated_files_are_read_or_refused(kind: str, count: int):
    run = subprocess.run(
        [sys.executable, str(FUZZ), "--count", str(count), kind], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    words = run.stdout.split()  # "picture: 94 read, 206 refused, 0 else; 0.1 min"
    assert int(words[1]) + int(words[3]) == count
    assert int(words[3]) > 0


def test_arbitrary_bytes_are_refused(tmp_path: Path):
    chance, path = random.Random(0), tmp_path / "file"
    for size in (0, 1, 7, 8, 9, 100, 5000):
        path.write_bytes(chance.randbytes(size))
        for read in (read_weights, lambda path: import_checkpoint("ncnet", path)):
            with pytest.raises(ModelError) as caught:
                read(path)
            assert "\n" not in str(caught.value)


def test_metadata_that_is_nested_too_deep_is_refused(tmp_path: Path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "deep.safetensors"
    for recipe in ("[" * 100_000, "[]", "3", "null", '"text"'):
        save_file({"a": torch.zeros(1)}, path, metadata={"recipe": recipe})
        with pytest.raises(ModelError, match="not a readable safetensors file"):
            read_weights(path)
