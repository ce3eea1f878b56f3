"""MATLAB files: what SciPy writes is read as SciPy reads it; what is damaged is refused."""

import random
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from semcorr.data.formats import matlab
from semcorr.data.formats.matlab import read_matlab
from semcorr.errors import DataError

KPS = np.array([[1.5, 2.5], [np.nan, np.nan], [1e9, -3.0]])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_what_scipy_writes(tmp_path, compressed, kind):
    values = {"kps": np.arange(6).reshape(3, 2).astype(kind), "bbox": np.array([[1, 2, 3, 4]], kind)}
    others = {"class": "cat", "cell": np.array([[1, "a"]], object), "struct": {"a": 1}, "empty": np.zeros((0, 2))}
    savemat(tmp_path / "a.mat", {**others, **values}, do_compression=compressed)
    read = read_matlab(tmp_path / "a.mat", ("kps", "bbox", "class", "cell", "struct", "empty", "absent"))
    assert sorted(read) == ["bbox", "empty", "kps"]
    for name in values:
        np.testing.assert_array_equal(read[name], loadmat(tmp_path / "a.mat")[name])
        assert read[name].dtype == np.float64
    assert read["empty"].shape == (0, 2)


def test_unseen_points_stay_nan(tmp_path):
    savemat(tmp_path / "a.mat", {"kps": KPS})
    np.testing.assert_array_equal(read_matlab(tmp_path / "a.mat", ["kps"])["kps"], KPS)


def test_big_endian(tmp_path):
    """Files of other machines, by hand: every number in the other order, a short name in the tag itself."""

    def element(kind, content):
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    matrix = element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", 1, 2))
    matrix += struct.pack(">HH", 3, 1) + b"kps\0" + element(9, struct.pack(">dd", 1.5, -2.0))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI"
    (tmp_path / "a.mat").write_bytes(header + element(14, matrix))
    assert read_matlab(tmp_path / "a.mat", ["kps"])["kps"].tolist() == [[1.5, -2.0]]


def test_damaged_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    for content in (b"", b"no MATLAB file at all" * 20):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.mat is not a readable MATLAB 5 file: it does not begin like one"):
            read_matlab(path, ["kps"])
    with pytest.raises(DataError, match="is missing"):
        read_matlab(tmp_path / "b.mat", ["kps"])
    savemat(path, {"kps": np.zeros((100, 2))}, do_compression=True)
    good = path.read_bytes()
    path.write_bytes(good[:-9])
    with pytest.raises(DataError, match="cut short"):
        read_matlab(path, ["kps"])
    bomb = zlib.compress(bytes(10_000_000))
    path.write_bytes(good[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    monkeypatch.setattr(matlab, "MAX_BYTES", 1_000_000)
    with pytest.raises(DataError, match="larger than"):
        read_matlab(path, ["kps"])


def test_no_change_of_a_file_does_more_than_change_its_numbers(tmp_path):
    path, rng = tmp_path / "a.mat", random.Random(0)
    for compressed in (False, True):
        savemat(path, {"kps": KPS, "bbox": [[1.0, 2.0, 3.0, 4.0]]}, do_compression=compressed)
        good = path.read_bytes()
        for _ in range(1000):
            at = rng.randrange(len(good))
            path.write_bytes(good[:at] + rng.randbytes(rng.randrange(1, 9)) + good[at + rng.randrange(9) :])
            try:
                arrays = read_matlab(path, ["kps", "bbox"])
            except DataError:
                continue
            assert all(array.ndim == 2 and array.size <= 6 for array in arrays.values())
