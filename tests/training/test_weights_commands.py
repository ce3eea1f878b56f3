"""The commands that average, calibrate and convert weights."""

import json
import re
import shutil

import timm
import torch

import semcorr
from semcorr.weights import FOLDER, MODELS, Weights, read_weights, write_weights


def test_average_and_fine_descriptors_of_another_file(tmp_path, run):
    stored = MODELS["pmnc"].load()
    moved = {key: value.float() + (1.0 if key == "scoring.bias" else 0.0) for key, value in stored.tensors.items()}
    write_weights(tmp_path / "a.safetensors", stored)
    write_weights(tmp_path / "b.safetensors", Weights(moved, stored.metadata))
    out, fine = tmp_path / "average.safetensors", ("--fine", tmp_path / "b.safetensors")
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    assert run("weights", "average", out, *files)[0] == 0
    average = read_weights(out)
    torch.testing.assert_close(average.tensors["scoring.bias"], stored.tensors["scoring.bias"].float() + 0.5)
    assert not [key for key in average.tensors if key.startswith("fine.")]
    assert average.metadata["model"]["rescaling"] is None
    assert run("weights", "average", out, *files, *fine)[0] == 0
    assert semcorr.load("pmnc", weights=out).features.comparison() is not None
    assert any(key.startswith("untouched.") for key in read_weights(out).tensors)
    code, _, err = run("weights", "average", files[0], *files)
    assert (code, str(files[0]) in err) == (2, True)
    code, _, err = run("weights", "average", out, files[0], FOLDER / "pmnc-universal.safetensors")
    assert (code, "their models differ in" in err) == (2, True)


def test_calibrate_says_what_it_changed(tmp_path, folder, run):
    """The annotation of one photograph of four is moved: half of the points are wrong, whatever a model answers."""
    own = shutil.copytree(folder, tmp_path / "own")
    entries = json.loads((own / "val.json").read_text())
    entries[0]["keypoints"] = {name: [x - 120, y] for name, (x, y) in entries[0]["keypoints"].items()}
    (own / "val.json").write_text(json.dumps(entries))
    names = [entry["file"] for entry in entries]
    (own / "val_pairs.json").write_text(json.dumps([[a, b] for a in names for b in names if a != b] * 3))
    weights, out = FOLDER / "pmnc-universal.safetensors", tmp_path / "calibrated.safetensors"
    before = weights.read_bytes()
    code, _, err = run("weights", "calibrate", weights, out, "--data", folder)
    assert (code, "calibration needs 100 points" in err) == (2, True)
    code, printed, err = run("weights", "calibrate", weights, out, "--data", own)
    assert (code, printed.strip()) == (0, str(out)), err
    errors = [float(number) for number in re.findall(r"expected calibration error ([\d.]+) %", err)]
    assert errors[1] < errors[0]
    assert len(read_weights(out).metadata["model"]["rescaling"]) == 3
    assert weights.read_bytes() == before
    code, _, err = run("weights", "calibrate", FOLDER / "ncnet.safetensors", out, "--data", own)
    assert (code, "only pmnc's can be calibrated" in err) == (2, True)


def test_convert_gives_timm_s_names(tmp_path, run):
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv2_050")
    given = {f"other.{i}": value for i, value in enumerate(network.state_dict().values())}
    file, out = tmp_path / "given.pth", tmp_path / "mobilenet.safetensors"
    torch.save(given, file)
    assert run("weights", "convert", "mobilenetv2_050", out, "--file", file)[0] == 2  # the classifier is no feature
    names = [key if "classifier" in key or "num_batches" in key else f"other.{key}" for key in network.state_dict()]
    torch.save(dict(zip(names, network.state_dict().values(), strict=True)), file)
    assert run("weights", "convert", "mobilenetv2_050", out, "--file", file)[0] == 0
    assert torch.equal(read_weights(out).tensors["conv_stem.weight"], network.conv_stem.weight.half())
    assert semcorr.load(backbone="mobilenetv2_050", backbone_weights=out).name == "pmnc-universal"
    (tmp_path / "hostile.pth").write_bytes(b"no")
    code, _, err = run("weights", "convert", "mobilenetv2_050", out, "--file", tmp_path / "hostile.pth")
    assert (code, "is not a checkpoint that can be read safely" in err) == (2, True)
