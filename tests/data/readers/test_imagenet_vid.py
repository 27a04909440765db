"""The ImageNet VID layout: videos as cameras, tracks, splits, and damage."""

import json

import pytest

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.imagenet_vid import (
    CLASS_NAMES,
    read_imagenet_vid,
    read_imagenet_vid_splits,
)
from context_rcnn.data.records import ImageRecord, LabelState, Visibility

OBJECT = (
    "<object><trackid>{}</trackid><name>{}</name><bndbox><xmax>{}</xmax><xmin>{}</xmin>"
    "<ymax>{}</ymax><ymin>{}</ymin></bndbox><occluded>0</occluded><generated>0</generated></object>"
)
LIZARD = OBJECT.format(3, "n01674464", 31, 12, 20, 8)
SNIPPET = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"


def annotation(*objects):
    size = "<size><width>64</width><height>48</height></size>"
    return f"<annotation><folder>f</folder>{size}{''.join(objects)}</annotation>"


@pytest.fixture
def vid(tmp_path, jpeg):
    """Writes one video, {stem: XML or None}, and returns the root."""

    def write(frames, video=SNIPPET):
        images, labels = (tmp_path / part / "VID" / video for part in ("Data", "Annotations"))
        for folder in (images, labels):
            folder.mkdir(parents=True, exist_ok=True)
        for stem, xml in frames.items():
            (images / f"{stem}.JPEG").write_bytes(jpeg())
            if xml is not None:
                (labels / f"{stem}.xml").write_text(xml)
        return tmp_path

    return write


def test_a_frame_is_read(vid):
    root = vid({"000000": annotation(LIZARD), "000001": annotation(), "000002": None})
    archive = read_imagenet_vid(root)
    record, empty, unlabelled = archive.records
    assert record.image_id == "train/ILSVRC2015_train_00000000/000000"
    assert record.file_name == f"Data/VID/{SNIPPET}/000000.JPEG"
    assert record.camera == record.seq_id == "train/ILSVRC2015_train_00000000"
    assert (record.frame_num, record.seq_num_frames) == (0, 3)
    assert record.seconds == 1420070400 and empty.seconds == 1420070401
    assert (record.width, record.height) == (64, 48)
    (box,) = record.boxes
    assert (box.xmin, box.ymin, box.xmax, box.ymax, box.label, box.track) == (
        *(12, 8, 31, 20),
        "lizard",
        "3",
    )
    assert empty.label_state == LabelState.EMPTY
    assert unlabelled.label_state == LabelState.UNLABELLED
    assert archive.failures == [] and archive.images_listed == 3


def test_classes_keep_the_order_of_the_data_set():
    names = list(CLASS_NAMES.values())
    assert len(set(names)) == 30 and names[0] == "airplane" and names[-1] == "zebra"
    # Alphabetical but for the last three, as published.
    assert names[:27] == sorted(names[:27])


def test_splits_are_those_of_the_folders_and_their_videos_do_not_mix(vid):
    vid({"000000": annotation(LIZARD)})
    vid({"000000": annotation()}, "val/ILSVRC2015_val_00000000")
    root = vid({"000000": None}, "test/ILSVRC2015_val_00000000")  # names may repeat
    splits = read_imagenet_vid_splits(root)
    assert splits.cameras == {
        "train": {"train/ILSVRC2015_train_00000000"},
        "val": {"val/ILSVRC2015_val_00000000"},
        "test": {"test/ILSVRC2015_val_00000000"},
    }
    assert {record.camera for record in read_imagenet_vid(root).records} == set().union(
        *splits.cameras.values()
    )


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (OBJECT.format(0, "n00000000", 31, 12, 20, 8), Reason.UNKNOWN_CATEGORY),
        (OBJECT.format(0, "n01674464", 12, 31, 20, 8), Reason.BAD_BOX),
        (OBJECT.format(0, "n01674464", "x", 12, 20, 8), Reason.BAD_BOX),
        ("<object/>", Reason.UNKNOWN_CATEGORY),
    ],
)
def test_a_bad_object_is_named_and_the_others_stay(vid, element, reason):
    archive = read_imagenet_vid(vid({"000000": annotation(element, LIZARD)}))
    (failure,) = archive.failures
    assert failure.reason == reason and failure.lost == "annotation"
    assert failure.detail.startswith("000000.xml: object[0]: ")
    assert [box.label for box in archive.records[0].boxes] == ["lizard"]
    alone = read_imagenet_vid(vid({"000000": annotation(element)}))
    assert alone.records[0].label_state == LabelState.UNLABELLED


def test_broken_xml_costs_the_labels_and_an_xml_alone_is_named(vid):
    root = vid({"000000": "<annotation><object>", "000001": annotation(LIZARD)})
    (root / "Data" / "VID" / SNIPPET / "000001.JPEG").unlink()
    archive = read_imagenet_vid(root)
    assert [f.reason for f in archive.failures] == [Reason.BAD_ANNOTATION, Reason.MISSING_FILE]
    assert [r.label_state for r in archive.records] == [LabelState.UNLABELLED]
    assert archive.images_listed == 2


def test_another_folder_is_refused_with_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"no video Data/VID/<train \| val \| test>"):
        read_imagenet_vid(tmp_path)


@pytest.fixture
def det(vid, jpeg):
    """Adds still images to one video, {name: XML or None}, and returns the root."""

    def write(stills):
        root = vid({"000000": annotation(LIZARD)})
        for name, xml in stills.items():
            image, labels = (
                root / part / "DET" / "train" / name for part in ("Data", "Annotations")
            )
            image.parent.mkdir(parents=True, exist_ok=True)
            image.with_suffix(".JPEG").write_bytes(jpeg())
            if xml is not None:
                labels.parent.mkdir(parents=True, exist_ok=True)
                labels.with_suffix(".xml").write_text(xml)
        return root

    return write


OTHER = OBJECT.format(0, "n07697537", 31, 12, 20, 8)  # a hotdog is of DET alone
STILL = "ILSVRC2013_train/n01674464/n01674464_5"


def test_still_images_of_the_same_classes_are_a_split_of_their_own(det):
    root = det(
        {
            STILL: annotation(OTHER, LIZARD),
            "ILSVRC2013_train/n07697537/n07697537_1": annotation(OTHER),
            "ILSVRC2014_train_0001/ILSVRC2014_train_00010001": annotation(LIZARD),
        }
    )
    archive = read_imagenet_vid(root)
    frame, *stills = archive.records
    assert [still.image_id for still in stills] == [
        f"det/{STILL}",
        "det/ILSVRC2014_train_0001/ILSVRC2014_train_00010001",
    ]
    assert stills[0].file_name == f"Data/DET/train/{STILL}.JPEG"
    assert (root / stills[0].file_name).exists()
    assert [box.label for box in stills[0].boxes] == ["lizard"]
    assert not stills[0].seq_id and stills[0].seconds is None
    assert archive.images_listed == 4 and archive.failures == []
    assert archive.notes["objects_of_other_classes"] == 2
    splits = read_imagenet_vid_splits(root).cameras
    assert {still.camera for still in stills} <= splits["det"]
    assert splits["train"] == {frame.camera}


@pytest.mark.parametrize("folder", ["ImageSets", "ImageSets/VID"])
def test_a_list_chooses_the_still_images(det, folder):
    root = det({STILL: annotation(LIZARD), f"{STILL}6": annotation(LIZARD)})
    (root / folder).mkdir(parents=True)
    lines = f"train/{STILL}6 1\ntrain/{STILL}6 1\ntrain/ILSVRC2013_train/n01674464/gone 1\n"
    (root / folder / "DET_train_30classes.txt").write_text(lines)
    archive = read_imagenet_vid(root)
    ids = {record.image_id for record in archive.records}
    assert f"det/{STILL}6" in ids and f"det/{STILL}" not in ids
    (failure,) = archive.failures
    assert failure.reason == Reason.BAD_ANNOTATION and "gone" in failure.image_id


def test_a_list_cannot_name_what_lies_elsewhere(det):
    root = det({STILL: annotation(LIZARD)})
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "DET_train_30classes.txt").write_text("train/../../../etc/passwd 1\n")
    with pytest.raises(ValueError, match="DET_train_30classes.txt.*passwd"):
        read_imagenet_vid(root)


def test_a_damaged_annotation_of_a_still_image_is_named(det):
    root = det({STILL: "<annotation><object>"})
    archive = read_imagenet_vid(root)
    (failure,) = archive.failures
    assert failure.image_id == f"det/{STILL}" and "ill-formed" in failure.detail
    assert archive.records[-1].label_state == LabelState.UNLABELLED


def side_file(root, text):
    path = root / "Visibility" / "VID" / f"{SNIPPET}.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_what_boxes_show_comes_from_the_side_file(vid):
    other = OBJECT.format(4, "n02391049", 60, 40, 20, 8)
    root = vid({"000000": annotation(other, LIZARD), "000001": annotation(LIZARD)})
    line = {"trackid": "3", "look": "blur", "shows": False, "blur": 2, "occluded": 0.5,
            "speed": 0.25}  # fmt: skip
    side_file(root, json.dumps({"frames": {"000000": [line]}}))
    archive = read_imagenet_vid(root)
    assert archive.failures == []
    zebra, lizard = archive.records[0].boxes
    assert zebra.seen is None and archive.records[1].boxes[0].seen is None
    assert lizard.seen == Visibility("blur", False, 2.0, 0.5, 0.25)
    for record in archive.records:
        assert ImageRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"frames": []}', '{"frames": {"000000": [{"trackid": "3", "look": "blur"}]}}'],
)
def test_a_broken_side_file_is_named_and_costs_no_frame(vid, text):
    root = vid({"000000": annotation(LIZARD)})
    side_file(root, text)
    archive = read_imagenet_vid(root)
    (failure,) = archive.failures
    assert failure.file == f"Visibility/VID/{SNIPPET}.json"
    assert (failure.reason, failure.lost) == (Reason.BAD_ANNOTATION, "annotation")
    assert archive.records[0].boxes[0].seen is None
