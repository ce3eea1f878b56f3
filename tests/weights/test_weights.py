import pickle
import struct
import subprocess
import sys

import pytest
import torch

from semcorr.errors import ModelError
from semcorr.weights import BACKBONES, MODELS, Weights, expanded, read_arrays, read_weights, reduced, write_weights


@pytest.mark.parametrize("embedded", [*BACKBONES.values(), *MODELS.values()], ids=lambda e: e.file)
def test_embedded_weights_have_their_checksum(embedded):
    assert embedded.load().tensors


def test_round_trip(tmp_path):
    path = tmp_path / "new folder" / "w.safetensors"
    write_weights(path, Weights({"a": torch.arange(3.0)}, {"steps": 3}))
    stored = read_weights(path)
    assert stored.tensors["a"].tolist() == [0, 1, 2]
    assert stored.metadata == {"steps": 3}
    assert list(path.parent.iterdir()) == [path]


def test_wrong_checksum(tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, Weights({"a": torch.zeros(1)}, {}))
    with pytest.raises(ModelError, match="damaged"):
        read_weights(path, "0" * 64)


class Trap:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        pickle.dumps(Trap()),
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"{}"[:1],
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}     ' + b"\0" * 4,
    ],
    ids=["empty", "text", "pickle", "huge header", "cut header", "cut data"],
)
def test_hostile_files_are_refused_and_nothing_runs(tmp_path, content, capsys):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        read_weights(path)
    assert "executed" not in capsys.readouterr().out


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ModelError, match="not a readable safetensors file"):
            read_weights(path)


def test_eight_bits_keep_a_tensor_to_a_127th_of_its_rows_largest_value():
    tensor = (
        torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-3, 2, 5)[:, None, None, None]
    )
    rounded, scale = reduced(tensor)
    assert rounded.dtype == torch.int8
    back = expanded({"x": rounded, "x.int8_scale": scale, "y": tensor.half()})
    assert back.keys() == {"x", "y"}
    largest = tensor.flatten(1).abs().amax(1)[:, None, None, None]
    assert ((back["x"] - tensor).abs() <= 0.6 * largest / 127).all()


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path):
    path = tmp_path / "model.safetensors"
    write_weights(path, Weights({"a": torch.zeros(3)}, {"step": 1}))
    before = path.read_bytes()
    code = (
        "import resource, sys, torch; from pathlib import Path; from semcorr.weights import Weights, write_weights\n"
        "from semcorr.errors import SemcorrError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # stands for a full disk\n"
        "try: write_weights(Path(sys.argv[1]), Weights({'a': torch.zeros(3000)}, {}))\n"
        "except SemcorrError as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert ended.stdout.startswith(f"{path} cannot be written: "), ended.stderr
    assert ended.stdout.count("\n") == 1
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_bfloat16_is_read_without_torch(tmp_path):
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    write_weights(tmp_path / "half.safetensors", Weights({"a": values.bfloat16(), "b": values}, {}))
    arrays = read_arrays(tmp_path / "half.safetensors").tensors
    assert (arrays["a"] == values.bfloat16().float().numpy()).all()
    assert (arrays["b"] == values.numpy()).all()


def test_numbers_that_numpy_does_not_have_are_refused(tmp_path):
    header = b'{"a":{"dtype":"F8_E5M2","shape":[3],"data_offsets":[0,3]}}'
    (tmp_path / "eighth.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(3))
    with pytest.raises(ModelError, match=r"cannot be read|not a readable"):
        read_arrays(tmp_path / "eighth.safetensors")
