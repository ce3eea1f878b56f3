"""The evaluation from Python: it returns what the commands print."""

import json

import pytest

from semcorr.errors import DataError, ModelError
from semcorr.evaluation import Options, compare

SMALL = {"grid": 6, "cost": False, "limit": 4}


def test_compare_returns_what_the_command_prints(run, folder, tmp_path, capsys):
    result = compare(folder, ["nearest", "pmnc"], Options(**SMALL), tmp_path / "out")
    assert [evaluation.model for evaluation in result.evaluations] == ["nearest", "pmnc"]
    assert [(gain.better, gain.worse) for gain in result.differences] == [("pmnc", "nearest")] * 4
    command = ("compare", folder, "--models", "nearest,pmnc", "--grid", 6, "--no-cost", "--limit", 4)
    assert "matching with pmnc" in capsys.readouterr().err
    code, out, err = run(*command, "--out", tmp_path / "out")
    assert (code, "matching with" in err) == (0, False), err  # the predictions are those of the call
    assert out == result.to_markdown()
    paths = result.write(tmp_path / "again")
    assert sorted(paths) == ["html", "json", "md", "png"]
    assert paths["md"].read_text() == out
    assert json.loads(paths["json"].read_text()) == result.to_json()
    for path in paths.values():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_one_model_and_paths_as_text(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = compare("keypoints", ["nearest"], Options(root=str(folder), split="test", **SMALL))
    assert (len(result.evaluations), result.differences) == (1, [])
    assert str(result.folder) == "runs/evaluate/keypoints-test-4-pairs"
    assert "semcorr evaluate keypoints --model nearest" in result.evaluations[0].origin["command"]


def test_broken_boxes_are_left_out_only_where_they_are_needed(built, tmp_path):
    root = tmp_path / "coco"
    root.mkdir()
    content = json.loads((built["ap-10k"] / "annotations" / "ap10k-test-split1.json").read_text())
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    (root / "a.json").write_text(json.dumps(content))
    files = {"annotations": root / "a.json", "images": built["ap-10k"] / "data", **SMALL, "limit": None}
    by_image = compare("coco", ["nearest"], Options(threshold="image", **files), root / "image")
    assert (len(by_image.evaluations[0].pairs), by_image.evaluations[0].skipped) == (12, [])
    with pytest.raises(DataError, match="has no box"):
        compare("coco", ["nearest"], Options(**files), root / "box")
    by_box = compare("coco", ["nearest"], Options(skip_broken=True, **files), root / "box").evaluations[0]
    assert (len(by_box.pairs), len(by_box.skipped)) == (9, 3)
    assert "has no box" in by_box.skipped[0]


def test_mistakes(folder):
    with pytest.raises(ModelError, match="name at least one"):
        compare(folder, [])
    with pytest.raises(ModelError, match="did you mean pmnc"):
        compare(folder, ["pmcn"])
    with pytest.raises(ValueError, match="decoding must be soft-argmax or argmax"):
        compare(folder, ["pmnc"], Options(decoding="argmin"))
