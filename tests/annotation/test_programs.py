"""Every format, and the program that it belongs to: its reader reads what is written, and what it writes is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation.labels import NAMES, make_pictures, picture_name, write

from semcorr.annotation.formats import read_labels, recognise
from semcorr.annotation.records import ABSENT, SURE, UNSURE, Annotation

# What is written is read by the program's own reader


def test_pycocotools_reads_coco(tmp_path: Path, annotations: list[Annotation]) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    truth = coco.COCO(str(write("coco", tmp_path, annotations)))
    assert len(truth.getAnnIds()) == 3
    first = truth.loadAnns(truth.getAnnIds())[0]
    assert np.array(first["keypoints"]).reshape(-1, 3)[0].tolist() == [12.25, 30.5, 2]
    predicted = truth.loadRes([{**one, "score": one["score"]} for one in truth.dataset["annotations"]])
    scores = evaluation.COCOeval(truth, predicted, "keypoints")
    scores.params.kpt_oks_sigmas = np.full(len(NAMES), 0.05)
    scores.params.areaRng, scores.params.areaRngLbl = [[0, 1e10]], ["all"]
    scores.evaluate()
    scores.accumulate()
    assert scores.eval["precision"].max() == pytest.approx(1)


def test_pandas_reads_hdf5_as_deeplabcut_does(tmp_path: Path, annotations: list[Annotation]) -> None:
    pandas = pytest.importorskip("pandas")
    path = write("deeplabcut", tmp_path, annotations)
    table = pandas.read_hdf(path.with_suffix(".h5"), key="df_with_missing")
    assert table.columns.names == ["scorer", "bodyparts", "coords"]
    assert table.index.tolist()[0] == ("labeled-data", "pictures", "a.png")
    assert table.loc[("labeled-data", "pictures", "a.png"), ("me", "nose", "x")] == 12.25
    assert np.isnan(table.loc[("labeled-data", "sub", "b.png"), ("me", "right_ear", "y")])
    same = pandas.read_csv(path, header=[0, 1, 2], index_col=[0, 1, 2])
    assert np.array_equal(same.to_numpy(), table.to_numpy(), equal_nan=True)


@pytest.mark.parametrize("name", ["deeplabcut", "coco"])
def test_sleap_io_reads(name: str, tmp_path: Path, annotations: list[Annotation]) -> None:
    sleap = pytest.importorskip("sleap_io")
    path = write(name, tmp_path, annotations)
    if name == "deeplabcut":
        for one in annotations:
            make_pictures(tmp_path, (picture_name(name, one.picture),))
        moved = tmp_path / "labeled-data" / path.name
        moved.write_bytes(path.read_bytes())
        labels = sleap.load_file(str(moved))
    else:
        labels = sleap.load_coco(str(path), dataset_root=str(tmp_path / "pictures"))
    points = labels.labeled_frames[0].instances[0].numpy()
    assert sorted(labels.skeletons[0].node_names) == sorted(NAMES)
    assert points[labels.skeletons[0].index("nose")].tolist() == [12.25, 30.5]


def test_label_studio_sdk_accepts_the_predictions(tmp_path: Path, annotations: list[Annotation]) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    path = write("label-studio", tmp_path, [replace(annotations[0], box=(1.0, 2.0, 50.0, 50.0)), *annotations[1:]])
    view = interface.LabelInterface(path.with_suffix(".xml").read_text())
    for task in json.loads(path.read_text()):
        for prediction in task["predictions"]:
            assert view.validate_prediction(prediction), view.validate_prediction(prediction, return_errors=True)


def test_ultralytics_reads_the_labels(tmp_path: Path, annotations: list[Annotation]) -> None:
    data = pytest.importorskip("ultralytics.data.utils")
    path = write("yolo", tmp_path, annotations)
    (tmp_path / "pictures").rename(path / "images")
    header = data.check_det_dataset(str(path / "data.yaml"), autodownload=False)
    assert header["kpt_shape"] == [4, 3]
    assert header["flip_idx"] == [0, 2, 1, 3]
    picture = str(path / "images" / "a.png")
    (label,) = data.img2label_paths([picture])
    found = data.verify_image_label((picture, label, "", True, 1, 4, 3, False))
    assert found[4][0, 0] * [80, 60, 1] == pytest.approx([12.25, 30.5, 2], abs=1e-3)


def test_labelme_opens_the_files(tmp_path: Path, annotations: list[Annotation]) -> None:
    program = pytest.importorskip("labelme._label_file")
    path = write("labelme", tmp_path, annotations)
    opened = program.LabelFile(str(path / "sub" / "b.json"))
    assert (path / "sub" / opened.image_path).resolve() == (tmp_path / "pictures" / "sub" / "b.png").resolve()
    assert opened.image_data  # it has found the picture
    shapes = {shape["label"]: (shape["points"], shape["flags"]["unsure"]) for shape in opened.shapes}
    assert shapes == {
        "nose": ([[13.25, 30.5]], False),
        "left_ear": ([[40.0, 21.75]], True),
        "tail, tip": ([[70.0, 50.0]], False),
    }


def test_label_studio_exports_what_was_imported(tmp_path: Path, annotations: list[Annotation]) -> None:
    """Accepted predictions leave Label Studio as its JSON, and as COCO, where it rounds to whole pixels."""
    converter = pytest.importorskip("label_studio_sdk.converter")
    path = write("label-studio", tmp_path, annotations)
    tasks = json.loads(path.read_text())
    for number, task in enumerate(tasks, 1):
        task |= {"id": number, "annotations": [task["predictions"][0] | {"id": number, "completed_by": 1}]}
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    program = converter.Converter(path.with_suffix(".xml").read_text(), str(tmp_path), download_resources=False)
    program.convert_to_json(str(tmp_path / "export.json"), str(tmp_path / "json"), is_dir=False)
    program.convert_to_coco(str(tmp_path / "export.json"), str(tmp_path / "coco"), is_dir=False)
    exact = read_labels(tmp_path / "json" / "result.json", tmp_path / "pictures")
    rounded = read_labels(tmp_path / "coco" / "result.json")
    for one, coarse, original in zip(exact, rounded, annotations, strict=True):
        assert one.picture == original.picture
        assert one.confirmed
        for name, point in original.labelled.items():
            assert (one.points[name].x, one.points[name].y) == pytest.approx((point.x, point.y), abs=1e-4)
            assert one.points[name].v == point.v
            assert (coarse.points[name].x, coarse.points[name].y) == pytest.approx((point.x, point.y), abs=0.5)
        assert list(coarse.labelled) == list(original.labelled)


def test_pandas_reads_lightning_pose_as_the_program_does(tmp_path: Path, annotations: list[Annotation]) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(write("lightning-pose", tmp_path, annotations), header=[0, 1, 2], index_col=0)
    assert table.index.tolist() == [one.picture for one in annotations]
    assert list(dict.fromkeys(table.columns.get_level_values("bodyparts"))) == list(NAMES)
    nose = table.xs("nose", level="bodyparts", axis=1).droplevel(0, axis=1)
    assert nose.iloc[0].to_dict() == {"x": 12.25, "y": 30.5, "visible": SURE}
    visible = table.xs("visible", level="coords", axis=1).to_numpy().tolist()
    assert visible == [[2, 1, 2, 2], [2, 1, 0, 2], [2, 1, 0, 2]]


# What the program's own writer wrote is read


TRUTH = {"nose": (12.25, 30.5), "left_ear": (40.0, 20.75), "tail": None}


def check(found: list[Annotation], picture: str, near: float = 1e-3) -> None:
    one = next(one for one in found if one.picture == picture)
    assert list(one.points) == list(TRUTH)
    for name, place in TRUTH.items():
        point = one.points[name]
        assert (point.x, point.y) == pytest.approx(place, abs=near) if place else point.v == ABSENT


def sleap_labels(files: list[Path]):
    sleap = pytest.importorskip("sleap_io")
    skeleton = sleap.Skeleton(list(TRUTH))
    values = np.array([place or (np.nan, np.nan) for place in TRUTH.values()])
    video = sleap.Video.from_filename([str(file) for file in files])
    instances = [sleap.Instance.from_numpy(values, skeleton=skeleton) for _ in files]
    frames = [sleap.LabeledFrame(video=video, frame_idx=i, instances=[one]) for i, one in enumerate(instances)]
    return sleap.Labels(frames, videos=[video], skeletons=[skeleton])


def test_coco_of_sleap_io(tmp_path: Path) -> None:
    sleap = pytest.importorskip("sleap_io")
    make_pictures(tmp_path, ("a.png", "b.png"))
    labels = sleap_labels([tmp_path / "a.png", tmp_path / "b.png"])
    sleap.save_coco(labels, str(tmp_path / "labels.json"), image_filenames=["a.png", "b.png"])
    assert recognise(tmp_path / "labels.json") == "coco"
    check(read_labels(tmp_path / "labels.json"), "b.png")


def test_yolo_of_sleap_io(tmp_path: Path) -> None:
    sleap = pytest.importorskip("sleap_io")
    make_pictures(tmp_path, ("a.png", "b.png"))
    labels = sleap_labels([tmp_path / "a.png", tmp_path / "b.png"])
    sleap.save_ultralytics(labels, str(tmp_path / "set"), split_ratios={"train": 0.5, "val": 0.5}, verbose=False)
    assert recognise(tmp_path / "set") == "yolo"
    found = read_labels(tmp_path / "set")
    assert len(found) == 2
    for one in found:
        assert (tmp_path / "set" / one.picture.replace("/", "/images/")).is_file()
        named = replace(one, points=dict(zip(TRUTH, one.points.values(), strict=True)))  # the format has no names
        check([named], one.picture, near=0.01)


def test_yolo_of_ultralytics(tmp_path: Path) -> None:
    """What it has predicted, and saves: confidences stand in place of v."""
    results = pytest.importorskip("ultralytics.engine.results")
    torch = pytest.importorskip("torch")
    make_pictures(tmp_path / "images", ("a.png",))
    box = torch.tensor([[5.0, 10.0, 75.0, 55.0, 0.9, 0.0]])
    points = torch.tensor([[[*(place or (0.0, 0.0)), 0.8 if place else 0.0] for place in TRUTH.values()]])
    found = results.Results(np.zeros((60, 80, 3), np.uint8), "a.png", {0: "cat"}, boxes=box, keypoints=points)
    found.save_txt(tmp_path / "labels" / "a.txt")
    (tmp_path / "data.yaml").write_text("kpt_shape: [3, 3]\nnames: {0: cat}\nkpt_names: {0: [nose, left_ear, tail]}\n")
    labels = read_labels(tmp_path)
    check(labels, "a.png", near=0.01)
    assert labels[0].points["nose"].confidence == pytest.approx(0.8)
    assert labels[0].box == pytest.approx((5, 10, 75, 55), abs=0.01)


def test_labelme_of_labelme(tmp_path: Path) -> None:
    program = pytest.importorskip("labelme._label_file")
    make_pictures(tmp_path, ("a.png",))
    shared = {"shape_type": "point", "flags": {}, "description": "", "group_id": None, "mask": None, "other_data": {}}
    shapes = [{"label": name, "points": [list(place)], **shared} for name, place in TRUTH.items() if place]
    program.LabelFile().save(str(tmp_path / "a.json"), shapes, "a.png", 60, 80, None, {}, {})
    assert recognise(tmp_path / "a.json") == "labelme"
    (one,) = read_labels(tmp_path / "a.json")
    assert {name: (point.x, point.y) for name, point in one.points.items()} == {k: v for k, v in TRUTH.items() if v}


def test_label_studio_of_its_converter(tmp_path: Path, annotations: list[Annotation]) -> None:
    """It makes its own tasks of a COCO file, here of one that this package wrote."""
    convert = pytest.importorskip("label_studio_sdk.converter.imports.coco").convert_coco_to_ls
    path = write("coco", tmp_path, annotations)
    convert(
        str(path),
        str(tmp_path / "tasks.json"),
        image_root_url="/data/local-files/?d=pictures",
        use_super_categories=False,
    )
    assert recognise(tmp_path / "tasks.json") == "label-studio"
    found = read_labels(tmp_path / "tasks.json", tmp_path / "pictures")
    assert [one.picture for one in found] == [one.picture for one in annotations]


def test_deeplabcut_of_pandas(tmp_path: Path) -> None:
    """DeepLabCut's annotation files are written with pandas: the table, then both files from it."""
    pandas = pytest.importorskip("pandas")
    levels = [["me"], list(TRUTH), ["x", "y"]]
    columns = pandas.MultiIndex.from_product(levels, names=["scorer", "bodyparts", "coords"])
    index = pandas.MultiIndex.from_tuples([("labeled-data", "video", "a.png")])
    values = [value for place in TRUTH.values() for value in place or (np.nan, np.nan)]
    pandas.DataFrame([values], columns=columns, index=index).to_csv(tmp_path / "CollectedData_me.csv")
    assert recognise(tmp_path / "CollectedData_me.csv") == "deeplabcut"
    check(read_labels(tmp_path / "CollectedData_me.csv"), "labeled-data/video/a.png")


def test_lightning_pose_of_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    levels = [["scorer"], list(TRUTH), ["x", "y", "visible"]]
    columns = pandas.MultiIndex.from_product(levels, names=["scorer", "bodyparts", "coords"])
    visible = [(12.25, 30.5, SURE), (40.0, 20.75, UNSURE), (np.nan, np.nan, ABSENT)]
    table = pandas.DataFrame([[cell for row in visible for cell in row]], columns=columns, index=["video/a.png"])
    table.to_csv(tmp_path / "labels.csv")
    assert recognise(tmp_path / "labels.csv") == "lightning-pose"
    found = read_labels(tmp_path / "labels.csv")
    check(found, "video/a.png")
    assert [point.v for point in found[0].points.values()] == [SURE, UNSURE, ABSENT]
