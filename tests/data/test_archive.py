"""Archives as a whole: options, splits, label maps, detections, and validation."""

import argparse
import dataclasses
import importlib
import inspect
import json
import pathlib
import re
import subprocess
import sys

import pytest

from context_rcnn.data import flags, readers
from context_rcnn.data.archive import ArchiveOptions, read_archive
from context_rcnn.data.failures import Reason
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.records import Archive, LabelState
from context_rcnn.data.summary import format_cameras_found
from context_rcnn.data.validate import validate_archive


@pytest.fixture
def archive(tmp_path, jpeg, write_cct):
    """Options of an archive: cameras A and B, one image of each label state on both."""
    images, annotations = [], []
    for camera in "AB":
        (tmp_path / camera).mkdir()
        for i in range(4):
            name = f"{camera}/{i}.jpg"
            (tmp_path / name).write_bytes(jpeg())
            date = f"2013-10-04 13:31:0{i}"
            images.append({"id": name, "file_name": name, "location": camera, "datetime": date})
        annotations += [
            {"id": f"{camera}1", "image_id": f"{camera}/1.jpg", "category_id": 0},
            {"id": f"{camera}2", "image_id": f"{camera}/2.jpg", "category_id": 1},
            {
                "id": f"{camera}3",
                "image_id": f"{camera}/3.jpg",
                "category_id": 2,
                "bbox": [1, 2, 30, 20],
            },
        ]
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"splits": {"train": ["A"], "val": ["B"]}}))
    path = write_cct(images, annotations)

    def options(**changes) -> ArchiveOptions:
        given = {"input_json": str(path), "image_root": str(tmp_path), "splits_file": str(splits)}
        return ArchiveOptions(**{**given, **changes})

    return options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of"),
        ({"input_json": "a", "input_folder": "b", "image_root": "."}, "exactly one of"),
        ({"input_json": "a"}, "needs image_root"),
        ({"input_folder": ".", "image_root": "."}, "input_json only"),
        ({"input_folder": "no such folder"}, "is not a folder"),
        ({"input_folder": ".", "camera_regex": "a", "camera_csv": "b"}, "not both"),
    ],
)
def test_contradictory_options_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        ArchiveOptions(**options)


def test_every_option_has_a_flag_with_the_same_default(tmp_path):
    parser = argparse.ArgumentParser()
    flags.add_archive_flags(parser)
    args = parser.parse_args([f"--input_folder={tmp_path}"])
    assert flags.archive_options(args) == ArchiveOptions(input_folder=str(tmp_path))
    assert flags.image_options(args) == ImageOptions()
    names = {field.name for field in dataclasses.fields(ArchiveOptions)}
    assert names <= vars(args).keys()
    args = parser.parse_args([f"--input_folder={tmp_path}", "--max_side=9", "--seed=3"])
    assert flags.image_options(args).max_side == 9
    assert flags.archive_options(args).seed == 3


def reader_modules():
    """Files that read an archive: they have a function `read_...` that returns one."""
    for path in sorted(pathlib.Path(readers.__path__[0]).glob("*.py")):
        if path.stem != "__init__":
            module = importlib.import_module(f"{readers.__name__}.{path.stem}")
            named = [f for n, f in inspect.getmembers(module, inspect.isfunction) if "read_" in n]
            if any(inspect.signature(function).return_annotation is Archive for function in named):
                yield module.__name__


def test_every_reader_is_in_the_table_has_a_flag_and_stands_in_the_docs():
    assert {layout.read.__module__ for layout in readers.LAYOUTS} == set(reader_modules())
    parser = argparse.ArgumentParser()
    flags.add_archive_flags(parser)
    text = (pathlib.Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    section = text.split("## Archives that can be read")[1].split("\n**")[0]
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", section, flags=re.M))
    for layout in readers.LAYOUTS:
        for setting in layout.settings:
            assert f"`--{setting}`" in rows[layout.name]
            assert vars(parser.parse_args([f"--{setting}=x"]))[setting] == "x"
    assert rows["MegaDetector JSON"] == "`--megadetector_json`"


_WITH_A_NEW_LAYOUT = """
import argparse, collections, json, sys
from context_rcnn.data import readers
from context_rcnn.data.records import Archive, ImageRecord
from context_rcnn.data.splits import Splits

def read(path):
    records = [ImageRecord(f"{i}", f"{i}.jpg", f"camera {i}", None) for i in range(2)]
    return Archive(records, [], (path,), images_listed=2, notes=collections.Counter())

def read_splits(path):
    return Splits({"old": ["camera 0"], "new": ["camera 1"]}, path)

readers.LAYOUTS += (readers.Layout("diary", "diary", "list", read, read_splits, "diary_root"),)
from context_rcnn.data import archive, flags

parser = argparse.ArgumentParser()
flags.add_archive_flags(parser)
for argv in json.loads(sys.argv[1]):
    try:
        options = flags.archive_options(parser.parse_args(argv))
        found = archive.read_archive(options)
    except ValueError as error:
        print(error)
        continue
    print(options.root, found.label_map, found.splits.source)
    print({name: [r.camera for r in members] for name, members in found.records.items()})
"""


def test_a_layout_that_joins_the_table_has_flags_and_is_read_with_its_own_splits(tmp_path):
    refused = {
        "diary needs diary_root": ["--diary=x"],
        "diary_root goes with diary only": ["--input_folder=.", "--diary_root=."],
        "exactly one of": ["--input_folder=.", "--diary=x"],
    }
    argvs = [["--diary=list", f"--diary_root={tmp_path}"], *refused.values()]
    made = subprocess.run(
        [sys.executable, "-c", _WITH_A_NEW_LAYOUT, json.dumps(argvs)],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    said = made.stdout.splitlines()
    assert said[:2] == [
        f"{tmp_path} {{'list': 1}} list",
        "{'new': ['camera 1'], 'old': ['camera 0']}",
    ], made.stderr
    for message, line in zip(refused, said[2:], strict=True):
        assert message in line


def test_a_camera_no_split_lists_is_named(archive, tmp_path):
    splits = tmp_path / "one.json"
    splits.write_text(json.dumps({"train": ["A"]}))
    read = read_archive(archive(splits_file=str(splits)))
    assert {split: len(records) for split, records in read.records.items()} == {"train": 4}
    assert {failure.reason for failure in read.failures} == {Reason.NOT_IN_SPLIT}
    assert {failure.camera for failure in read.failures} == {"B"}
    assert read.images_listed == 4 + len(read.failures)


def test_megadetector_boxes_are_for_training_only(archive, tmp_path):
    detection = {"category": "1", "conf": 0.95, "bbox": [0.1, 0.1, 0.5, 0.5]}
    results = tmp_path / "md.json"
    images = [{"file": f"{camera}/2.jpg", "detections": [detection]} for camera in "AB"]
    categories = {"1": "animal"}
    results.write_text(json.dumps({"detection_categories": categories, "images": images}))
    read = read_archive(archive(megadetector_json=str(results)))
    states = {
        split: [record.label_state for record in records] for split, records in read.records.items()
    }
    assert states["train"].count(LabelState.BOXES) == 2
    assert states["val"].count(LabelState.BOXES) == 1
    assert read.notes["megadetector_boxed"] == 1


def test_detections_without_labels_are_refused_or_counted(archive, tmp_path):
    with pytest.raises(ValueError, match="input_folder has no labels"):
        ArchiveOptions(input_folder=str(tmp_path), megadetector_json="md.json")
    images = [{"file": f"A/{i}.jpg", "detections": [DETECTION]} for i in range(5)]
    results = tmp_path / "md.json"
    results.write_text(json.dumps({"detection_categories": {"1": "animal"}, "images": images}))
    read = read_archive(archive(megadetector_json=str(results), megadetector_splits=("train",)))
    unlabelled = sum(
        record.label_state == LabelState.UNLABELLED and record.camera == "A"
        for record in read.records["train"]
    )
    assert read.notes["megadetector_found_but_no_label"] == unlabelled == 1


DETECTION = {"category": "1", "conf": 0.95, "bbox": [0.1, 0.1, 0.5, 0.5]}


def test_detections_for_a_split_that_is_not_there_are_an_error(archive):
    with pytest.raises(ValueError, match="no split is named test; there are train, val"):
        read_archive(archive(megadetector_json="any.json", megadetector_splits=("test",)))


def test_classes_outside_the_label_map_are_named_and_dropped(archive, tmp_path):
    label_map = tmp_path / "map.pbtxt"
    label_map.write_text("item { id: 5 name: 'bobcat' }")
    read = read_archive(archive(label_map=str(label_map)))
    assert read.label_map == {"bobcat": 5}
    assert [failure.reason for failure in read.failures] == [Reason.CLASS_NOT_IN_LABEL_MAP] * 2
    assert [record.label_state for record in read.records["train"]] == [
        LabelState.UNLABELLED,
        LabelState.EMPTY,
        LabelState.IMAGE_LEVEL,
        LabelState.UNLABELLED,
    ]


def test_validation_counts_what_there_is(archive):
    report = validate_archive(archive())
    facts = report.to_dict()
    assert facts["images_listed"] == facts["images_usable"] == 8
    assert facts["splits"] == {"train": 4, "val": 4}
    assert facts["label_map"] == {"bobcat": 1, "deer": 2}
    assert facts["classes"] == {name: {"train": 1, "val": 1} for name in ("bobcat", "deer")}
    assert "class   train  val\nbobcat  " in report.to_text()
    assert facts["cameras"]["A"] == {
        "images": 4,
        "unlabelled": 1,
        "empty": 1,
        "image_level": 1,
        "boxes": 1,
        "boxed": 1,
        "undated": 0,
        "failed": 0,
        "first": "2013-10-04 13:31:00",
        "last": "2013-10-04 13:31:03",
    }
    assert facts["failures"] == {}
    assert json.loads(report.to_json()) == facts
    assert "8 of 8 images can be used; 0 cannot." in report.to_text()


def test_validation_names_what_is_broken(archive, tmp_path):
    (tmp_path / "A/0.jpg").unlink()
    (tmp_path / "A/1.jpg").write_bytes(b"")
    (tmp_path / "B/3.jpg").write_bytes((tmp_path / "B/3.jpg").read_bytes()[:300])
    report = validate_archive(archive(), workers=2)
    found = {failure.file: failure.reason for failure in report.failures}
    assert found == {
        "A/0.jpg": Reason.MISSING_FILE,
        "A/1.jpg": Reason.EMPTY_FILE,
        "B/3.jpg": Reason.UNREADABLE,
    }
    facts = report.to_dict()
    assert facts["images_usable"] + facts["images_lost"] == facts["images_listed"] == 8
    assert facts["cameras"]["A"]["failed"] == 2


def test_cameras_can_be_looked_at_before_a_long_run(archive):
    table = format_cameras_found(read_archive(archive()).records).splitlines()
    assert [line.split() for line in table[1:]] == [
        [camera, split, "4", "2013-10-04", "13:31:00", "2013-10-04", "13:31:03"]
        for camera, split in (("A", "train"), ("B", "val"))
    ]


def test_threads_do_not_change_the_report(archive):
    assert validate_archive(archive(), workers=3).to_dict() == validate_archive(archive()).to_dict()


def test_progress_sees_every_image(archive):
    seen = []

    def progress(images, total):
        for image in images:
            seen.append(total)
            yield image

    validate_archive(archive(), progress=progress)
    assert seen == [8] * 8


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path, jpeg):
    (tmp_path / "a\x1b[31m").mkdir()
    (tmp_path / "a\x1b[31m" / "a.jpg").write_bytes(jpeg())
    report = validate_archive(ArchiveOptions(input_folder=str(tmp_path)), ImageOptions())
    assert "\x1b" not in report.to_text()


def test_boxes_outside_the_image_are_named_and_the_class_is_kept(tmp_path, jpeg, write_cct):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    image = {"id": "a", "file_name": "a.jpg", "location": "A"}
    box = {"id": "x", "image_id": "a", "category_id": 1, "bbox": [100, 100, 5, 5]}
    options = ArchiveOptions(
        input_json=str(write_cct([image], [box])), image_root=str(tmp_path), val_fraction=0
    )
    report = validate_archive(options)
    (failure,) = report.failures
    assert (failure.reason, failure.lost) == (Reason.BOX_OUTSIDE_IMAGE, "annotation")
    assert report.to_dict()["cameras"]["A"]["image_level"] == 1


def test_annotations_for_another_picture_are_named(tmp_path, jpeg, write_cct):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    image = {"id": "a", "file_name": "a.jpg", "location": "A", "width": 1000, "height": 48}
    box = {"id": "x", "image_id": "a", "category_id": 1, "bbox": [1, 1, 5, 5]}
    options = ArchiveOptions(
        input_json=str(write_cct([image], [box])), image_root=str(tmp_path), val_fraction=0
    )
    (failure,) = validate_archive(options).failures
    assert failure.reason is Reason.SIZE_MISMATCH
