"""Every format: what is written is read back as it was, and broken files are refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation.labels import NAMES, make_annotations, make_pictures, picture_name, write
from hostile.readers import fuzz

from semcorr.annotation.exemplars import read_exemplars
from semcorr.annotation.formats import FORMATS, format_for_writing, read_labels, recognise
from semcorr.annotation.records import ABSENT, SURE, UNSURE, Annotation, Point, swapped_names
from semcorr.annotation.run import read_confirmed
from semcorr.errors import DataError, SemcorrError

WITH_V = set(FORMATS) - {"tps", "deeplabcut"}
WITH_CONFIDENCE = {"coco", "csv", "parquet", "labelme", "label-studio", "json"}
SEVERAL_OBJECTS = {"coco", "csv", "parquet", "labelme", "yolo", "json"}


@pytest.mark.parametrize("name", FORMATS)
def test_labels_come_back_as_they_were_written(name: str, tmp_path: Path, annotations: list[Annotation]) -> None:
    path = write(name, tmp_path, annotations)
    assert recognise(path) == name
    back = read_labels(path, tmp_path / "pictures")
    assert [one.picture for one in back] == [picture_name(name, one.picture) for one in annotations]
    for one, original in zip(back, annotations, strict=True):
        names = [str(i) for i in range(1, 5)] if name == "tps" else list(NAMES)
        assert list(one.points) == names
        for point, expected in zip(one.points.values(), original.points.values(), strict=True):
            assert (point.x, point.y) == pytest.approx((expected.x, expected.y), abs=1e-4)
            assert point.v == expected.v if name in WITH_V else bool(point.v) == bool(expected.v)
            if name in WITH_CONFIDENCE:
                assert (point.confidence, point.visibility) == (expected.confidence, expected.visibility)
        if name in WITH_CONFIDENCE:
            assert (one.exemplar, one.similarity, one.model) == (original.exemplar, original.similarity, original.model)


@pytest.mark.parametrize("name", sorted(WITH_CONFIDENCE))
def test_what_comes_back_is_written_the_same_again(name: str, tmp_path: Path, annotations: list[Annotation]) -> None:
    path = write(name, tmp_path, annotations)
    files = FORMATS[name].render(read_labels(path, tmp_path / "pictures"), path, tmp_path / "pictures")
    assert files == {file: file.read_bytes() for file in files}


@pytest.mark.parametrize("name", sorted(SEVERAL_OBJECTS))
def test_several_objects_of_a_picture_keep_their_boxes(name: str, tmp_path: Path) -> None:
    (picture,) = make_pictures(tmp_path / "pictures", ("a.png",))
    (first,) = make_annotations([picture])
    second = replace(first, points={"nose": Point(5, 5), "left_ear": Point(9, 9, UNSURE)}, box=(2.0, 3.0, 12.0, 13.0))
    first = replace(first, box=(10.0, 15.0, 78.0, 55.0))
    back = read_labels(write(name, tmp_path, [first, second]), tmp_path / "pictures")
    assert [one.picture for one in back] == [picture, picture]
    for one, original in zip(back, [first, second], strict=True):
        assert one.box == pytest.approx(original.box, abs=1e-4)
        assert list(one.labelled) == list(original.labelled)
        assert [(p.x, p.y, p.v) for p in one.labelled.values()] == [
            (pytest.approx(p.x, abs=1e-4), pytest.approx(p.y, abs=1e-4), p.v) for p in original.labelled.values()
        ]


@pytest.mark.parametrize("name", sorted(set(FORMATS) - SEVERAL_OBJECTS))
def test_formats_for_one_object_refuse_several(name: str, tmp_path: Path, annotations: list[Annotation]) -> None:
    with pytest.raises(DataError, match=r"several|one object"):
        write(name, tmp_path, [annotations[0], annotations[0]])


@pytest.mark.parametrize("name", sorted(WITH_CONFIDENCE - {"label-studio"}))
def test_a_point_moved_by_hand_confirms_its_picture(name: str, tmp_path: Path, annotations: list[Annotation]) -> None:
    path = write(name, tmp_path, annotations)
    assert [one.confirmed for one in read_labels(path, tmp_path / "pictures")] == [False] * 3
    file = path / "sub" / "b.json" if name == "labelme" else path
    if name == "parquet":
        import pyarrow.parquet as parquet

        table = parquet.read_table(file).to_pydict()
        table["x"] = [99.0 if x == 13.25 else x for x in table["x"]]
        parquet.write_table(parquet.read_table(file).from_pydict(table), file)
    else:
        text = file.read_text()
        assert "13.25" in text
        file.write_text(text.replace("13.25", "23.5"))
    assert [one.confirmed for one in read_labels(path, tmp_path / "pictures")] == [False, True, False]


def test_a_tick_in_labelme_confirms_a_picture(tmp_path: Path, annotations: list[Annotation]) -> None:
    path = write("labelme", tmp_path, annotations)
    file = path / "a.json"
    file.write_text(file.read_text().replace('"confirmed": false', '"confirmed": true', 1))
    back = read_labels(path, tmp_path / "pictures")
    assert [one.picture for one in back if one.confirmed] == ["a.png"]


def test_a_point_added_in_labelme_joins_the_object(tmp_path: Path, annotations: list[Annotation]) -> None:
    path = write("labelme", tmp_path, annotations)
    file = path / "sub" / "b.json"
    content = json.loads(file.read_text())
    added = {"label": "right_ear", "points": [[33.0, 22.0]], "shape_type": "point", "group_id": None, "flags": {}}
    content["shapes"].append(added)
    file.write_text(json.dumps(content))
    one = next(one for one in read_labels(path, tmp_path / "pictures") if one.picture == "sub/b.png")
    assert one.points["right_ear"] == Point(33.0, 22.0, SURE, 0.11, 0.3)
    assert one.confirmed


def test_label_studio_annotations_count_before_predictions(tmp_path: Path, annotations: list[Annotation]) -> None:
    path = write("label-studio", tmp_path, annotations)
    tasks = json.loads(path.read_text())
    tasks[1]["annotations"] = [{"result": tasks[1]["predictions"][0]["result"][:1]}]
    path.write_text(json.dumps(tasks))
    back = read_labels(path)
    assert [one.confirmed for one in back] == [False, True, False]
    assert list(back[1].labelled) == ["nose"]


def test_tps_counts_y_from_the_bottom(tmp_path: Path) -> None:
    make_pictures(tmp_path, ("a.png",))
    file = tmp_path / "landmarks.tps"
    file.write_text("LM=2\n10 50\n-1 -1\nIMAGE=C:\\bees\\a.png\nID=0\nSCALE=0.01\n")
    (one,) = read_labels(file)
    assert one.picture == "a.png"
    assert one.size == (60, 80)
    assert one.points == {"1": Point(10, 10), "2": Point(0, 0, ABSENT)}


def test_pictures_that_tpsutil_listed_and_nobody_digitised_are_no_labels(tmp_path: Path) -> None:
    make_pictures(tmp_path, ("a.png", "b.png"))
    file = tmp_path / "landmarks.tps"
    file.write_text("LM=1\n10 50\nIMAGE=a.png\nID=0\nLM=0\nIMAGE=b.png\nID=1\n")
    assert [one.picture for one, _ in read_exemplars([file])] == ["a.png"]
    assert [one.picture for one in read_confirmed(file, tmp_path)] == ["a.png"]


def test_deeplabcut_of_one_and_of_three_index_columns_and_of_several_animals(tmp_path: Path) -> None:
    head = "scorer{0},me,me,me,me\n{1}bodyparts{0},nose,nose,tail,tail\ncoords{0},x,y,x,y\n"
    one, three, many = tmp_path / "one.csv", tmp_path / "three.csv", tmp_path / "many.csv"
    one.write_text(head.format("", "") + "labeled-data/v/a.png,1,2,,\n")
    three.write_text(head.format(",,", "") + "labeled-data,v,a.png,1,2,,\n")
    many.write_text(
        "scorer,,,me,me,me,me\nindividuals,,,m1,m1,m2,m2\nbodyparts,,,nose,nose,nose,nose\ncoords,,,x,y,x,y\n"
        "labeled-data,v,a.png,1,2,3,4\n"
    )
    for file in (one, three):
        (back,) = read_labels(file)
        assert back.picture == "labeled-data/v/a.png"
        assert back.points == {"nose": Point(1, 2), "tail": Point(0, 0, ABSENT)}
    assert [back.points for back in read_labels(many)] == [{"nose": Point(1, 2)}, {"nose": Point(3, 4)}]


def test_a_table_of_a_spreadsheet_with_decimal_commas(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("picture;point;x;y;v\na.png;nose;12,25;30,5;1\na.png;tail;;;0\n", encoding="utf-8-sig")
    (one,) = read_labels(file)
    assert one.points == {"nose": Point(12.25, 30.5, UNSURE), "tail": Point(0, 0, ABSENT)}
    assert one.confirmed


def test_half_a_character_in_a_name_is_refused(tmp_path: Path, annotations: list[Annotation]) -> None:
    path = write("coco", tmp_path, annotations)
    path.write_text(path.read_text().replace("nose", "no\\ud800se"))
    with pytest.raises(DataError, match="not valid Unicode"):
        read_labels(path)


def test_hdf5_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "CollectedData_me.h5").write_bytes(b"a pickle may be in here")
    with pytest.raises(DataError, match="may run programs"):
        read_labels(tmp_path / "CollectedData_me.h5")


def test_left_and_right_change_places() -> None:
    names = ["nose", "left_ear", "right_ear", "Left Wing", "Right Wing", "pawL", "pawR", "l_hip", "r_hip", "bright"]
    assert swapped_names(names) == [0, 2, 1, 4, 3, 6, 5, 8, 7, 9]


def test_endings_and_names() -> None:
    assert format_for_writing(Path("CollectedData_me.csv")) == "deeplabcut"
    assert format_for_writing(Path("a.JSON")) == "coco"
    with pytest.raises(DataError, match="--format"):
        format_for_writing(Path("labels"))
    with pytest.raises(DataError, match="did you mean labelme"):
        read_labels(Path("x"), name="labelm")


# Files from strangers


@pytest.mark.parametrize("name", FORMATS)
def test_a_broken_file_is_read_or_refused(name: str, tmp_path: Path, annotations: list[Annotation]) -> None:
    path = write(name, tmp_path, annotations)

    def read() -> None:
        for one in read_labels(path, tmp_path / "pictures", name):
            assert {point.v for point in one.points.values()} <= {ABSENT, UNSURE, SURE}
            assert np.isfinite([(point.x, point.y) for point in one.points.values()]).all()

    for file in [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())[:3]:
        outcome = fuzz(file, read, 150, seed=1)
        assert not outcome.failures, "\n".join(outcome.failures[:3])
        assert outcome.refused > 5  # the mutations do reach the reader


@pytest.mark.parametrize("name", ["coco", "labelme", "label-studio", "json"])
@pytest.mark.parametrize("odd", [None, True, 3, "x", [], {}, [[]], {"a": 1}, 1e300, -1])
def test_any_json_value_in_any_place_is_refused_in_one_line(
    name: str, odd: object, tmp_path: Path, annotations: list[Annotation]
) -> None:
    path = write(name, tmp_path, annotations[:1])
    file = path if path.is_file() else next(path.rglob("*.json"))
    content = json.loads(file.read_text())
    places: list[tuple[object, object]] = []

    def walk(value: object) -> None:
        if isinstance(value, (dict, list)):
            for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
                places.append((value, key))
                walk(entry)

    walk(content)
    refused: list[str] = []
    for holder, key in places:
        kept = holder[key]  # type: ignore[index]
        holder[key] = odd  # type: ignore[index]
        file.write_text(json.dumps(content))
        try:
            read_labels(path, tmp_path / "pictures", name)
        except SemcorrError as error:
            refused.append(str(error))
        holder[key] = kept  # type: ignore[index]
    assert refused
    assert all("\n" not in text for text in refused)
