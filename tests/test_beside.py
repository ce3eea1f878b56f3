"""What stands beside the package: the notebook, torch.hub, saved models, and wrappers of matching models."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import semcorr
from semcorr.errors import ModelError
from semcorr.image import load_image
from semcorr.match.wrapper import to_wrapper
from semcorr.models.pretrained import from_pretrained, save_pretrained
from semcorr.weights import FOLDER, MODELS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def match(cat, cheetah_path):
    return semcorr.load("pmnc").match(cat, cheetah_path)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(monkeypatch, tmp_path, cheetah_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "examples" / "walkthrough.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # those are not committed
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    client.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "% sure" in text
    assert "lion.jpg {'left_eye'" in text
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3


@pytest.mark.parametrize("name", ["pmnc", "pmnc_universal", "ncnet", "ancnet", "nearest"])
def test_torch_hub(name):
    hub = pytest.importorskip("torch.hub", reason="torch is not installed")
    model = hub.load(str(ROOT), name, source="local", grid=8)
    assert model.name == name.replace("_", "-")


def test_torch_hub_matches(cat, cheetah_path, match):
    hub = pytest.importorskip("torch.hub", reason="torch is not installed")
    found = hub.load(str(ROOT), "pmnc", source="local").match(cat, cheetah_path)
    assert np.array_equal(found.forward.points, match.forward.points)


@pytest.mark.parametrize("weights", [None, FOLDER / MODELS["pmnc"].file])
def test_a_saved_model_answers_the_same(cat, cheetah_path, weights, tmp_path):
    folder = save_pretrained(tmp_path / "mine", weights, grid=12)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    found = from_pretrained(folder).match(cat, cheetah_path)
    expected = semcorr.load("pmnc", grid=12).match(cat, cheetah_path)
    assert np.array_equal(found.forward.points, expected.forward.points)


def test_a_model_without_weights_is_saved_too(tmp_path):
    assert from_pretrained(save_pretrained(tmp_path, name="nearest", stages=(3,))).name == "nearest"


def test_broken_folders_are_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="colour"):
        save_pretrained(tmp_path, colour="red")
    with pytest.raises(ModelError, match=r"none\.safetensors"):
        save_pretrained(tmp_path, tmp_path / "none.safetensors")
    assert list(tmp_path.iterdir()) == []
    folder = save_pretrained(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"options": {"device": "cuda"}}))
    with pytest.raises(ValueError, match="device"):
        from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelError, match="not the file that was saved"):
        from_pretrained(folder)


def test_the_dictionary_of_wrappers(match):
    found = to_wrapper(match, 30)
    best = match.keypoints(30)
    assert np.array_equal(found["matched_kpts0"] + 0.5, best.source)
    assert np.array_equal(found["matched_kpts1"] + 0.5, best.target)
    assert found["matched_kpts0"].shape == found["matched_kpts1"].shape == (len(found["scores"]), 2)
    assert ((found["scores"] > 0) & (found["scores"] <= 1)).all()


@pytest.fixture
def adapter(monkeypatch):
    """The adapter, on vismatch if it is installed, otherwise on a base class with what it takes from vismatch's."""
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("vismatch") is None:

        class BaseMatcher(torch.nn.Module):
            def __init__(self, device="cpu", **kwargs):
                super().__init__()
                self.device = device

            def forward(self, img0, img1):
                found = self._forward(img0, img1)
                assert len(found) == 7
                return dict(zip(("matched_kpts0", "matched_kpts1"), found, strict=False), matched_confidences=found[6])

        monkeypatch.setitem(sys.modules, "vismatch", types.SimpleNamespace(BaseMatcher=BaseMatcher))
    spec = importlib.util.spec_from_file_location("wrapper", ROOT / "examples" / "wrapper.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SemcorrMatcher(device="cpu", max_num_keypoints=30)


def test_the_adapter_fits_vismatch(adapter, cat, cheetah_path, match):
    torch = pytest.importorskip("torch")
    images = [torch.from_numpy(image).permute(2, 0, 1) / 255 for image in (cat, load_image(cheetah_path))]
    found, expected = adapter(*images), to_wrapper(match, 30)
    for key in ("matched_kpts0", "matched_kpts1"):
        assert np.abs(found[key] - expected[key]).max() < 1
    assert np.allclose(found["matched_confidences"], expected["scores"], atol=0.01)
