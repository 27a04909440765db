"""The CityCam layout and its known dirt."""

import pytest

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.citycam import read_citycam, read_citycam_splits
from context_rcnn.data.readers.xml_annotations import parse_xml
from context_rcnn.data.records import LabelState

VEHICLE = (
    "<vehicle><id>1</id><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox><type>{}</type></vehicle>"
)
GOOD = VEHICLE.format(12, 8, 31, 20, 1)


def frame(*vehicles, weather="Sunny", time="2016-02-23 09:00:01", number=1):
    return (
        f"<annotation><frame>{number}</frame><time>{time}</time><width>64</width>"
        f"<height>48</height><weather>{weather}</weather>{''.join(vehicles)}</annotation>"
    )


@pytest.fixture
def citycam(tmp_path, jpeg):
    """Writes one clip, {stem: XML or None}, and returns the root."""

    def write(frames, clip="164/164-20160223-09"):
        folder = tmp_path / clip
        folder.mkdir(parents=True, exist_ok=True)
        for stem, xml in frames.items():
            (folder / f"{stem}.jpg").write_bytes(jpeg())
            if xml is not None:
                (folder / f"{stem}.xml").write_text(xml)
        return tmp_path

    return write


def test_a_frame_is_read(citycam):
    archive = read_citycam(citycam({"000001": frame(GOOD)}))
    (record,) = archive.records
    assert record.image_id == "164/164-20160223-09/000001"
    assert record.file_name == "164/164-20160223-09/000001.jpg"
    assert (record.camera, record.seq_id, record.frame_num) == ("164", "164-20160223-09", 1)
    assert record.seconds == 1456218001  # date -u -d '2016-02-23 09:00:01' +%s
    assert (record.width, record.height) == (64, 48)
    (box,) = record.boxes
    assert (box.xmin, box.ymin, box.xmax, box.ymax, box.label) == (12, 8, 31, 20, "taxi")
    assert archive.failures == []


def test_a_raw_ampersand_is_repaired_and_a_good_one_kept(citycam):
    frames = {
        "000001": frame(GOOD, weather="Sunny & Cloudy"),
        "000002": frame(GOOD, weather="Sunny &amp; Cloudy"),
    }
    root = citycam(frames)
    archive = read_citycam(root)
    assert [record.label_state for record in archive.records] == [LabelState.BOXES] * 2
    for stem in frames:
        xml = parse_xml(root / "164/164-20160223-09" / f"{stem}.xml")
        assert xml.findtext("weather") == "Sunny & Cloudy"


def test_the_file_name_counts_where_frame_numbers_repeat(citycam):
    archive = read_citycam(citycam({stem: frame(number=290) for stem in ("000290", "000291")}))
    assert [record.frame_num for record in archive.records] == [290, 291]
    assert len({record.image_id for record in archive.records}) == 2


@pytest.mark.parametrize(
    ("vehicle", "reason"),
    [
        (VEHICLE.format(31, 8, 12, 20, 1), Reason.BAD_BOX),
        (VEHICLE.format(12, 8, 12, 20, 1), Reason.BAD_BOX),
        (VEHICLE.format("x", 8, 31, 20, 1), Reason.BAD_BOX),
        (VEHICLE.format("nan", 8, 31, 20, 1), Reason.BAD_BOX),
        (VEHICLE.format(12, 8, 31, 20, 11), Reason.UNKNOWN_CATEGORY),
        ("<vehicle/>", Reason.UNKNOWN_CATEGORY),
    ],
)
def test_a_bad_vehicle_is_named_and_the_others_are_kept(citycam, vehicle, reason):
    archive = read_citycam(citycam({"000001": frame(vehicle, GOOD)}))
    (failure,) = archive.failures
    assert (failure.reason, failure.lost) == (reason, "annotation")
    assert "000001.xml: vehicle[0]" in failure.detail
    assert len(archive.records[0].boxes) == 1


def test_boxes_beyond_the_image_are_left_to_be_clipped(citycam):
    archive = read_citycam(citycam({"000001": frame(VEHICLE.format(-5, 8, 70, 20, 10))}))
    (box,) = archive.records[0].boxes
    assert (box.xmin, box.xmax, box.label) == (-5, 70, "other")
    assert archive.failures == []


def test_big_folders_are_passed_over_and_counted(citycam):
    root = citycam({"000001": frame(GOOD)})
    citycam({"000001": frame(GOOD)}, clip="bigbus/bigbus-20160223-09")
    citycam({"000001": frame(GOOD)}, clip="164/big164-20160223-09")
    archive = read_citycam(root)
    assert len(archive.records) == 1
    assert archive.notes["big_folders_ignored"] == 2


def test_frames_without_vehicles_are_empty_and_without_xml_unlabelled(citycam):
    frames = {"000001": frame(), "000002": None, "000003": "<annotation>"}
    archive = read_citycam(citycam(frames))
    states = [record.label_state for record in archive.records]
    assert states == [LabelState.EMPTY, LabelState.UNLABELLED, LabelState.UNLABELLED]
    (failure,) = archive.failures
    assert failure.reason is Reason.BAD_ANNOTATION
    assert "ill-formed" in failure.detail


def test_xml_without_image_is_named(citycam):
    root = citycam({"000001": frame(GOOD)})
    (root / "164/164-20160223-09/000002.xml").write_text(frame(GOOD))
    archive = read_citycam(root)
    (failure,) = archive.failures
    assert (failure.reason, failure.lost) == (Reason.MISSING_FILE, "image")
    assert archive.images_listed == 2


def test_a_second_image_of_a_frame_is_named(citycam):
    root = citycam({"000001": frame(GOOD)})
    (root / "164/164-20160223-09/000001.png").touch()
    (root / "164/164-20160223-09/notes.txt").touch()
    archive = read_citycam(root)
    assert [record.file_name for record in archive.records] == ["164/164-20160223-09/000001.jpg"]
    assert [failure.reason for failure in archive.failures] == [Reason.DUPLICATE_IMAGE]
    assert archive.images_listed == 2
    assert archive.notes == {"other_files_ignored": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_expand(citycam, encoding):
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
        "<annotation>&b;</annotation>"
    )
    root = citycam({"000001": frame(GOOD)})
    (root / "164/164-20160223-09/000001.xml").write_bytes(bomb.encode(encoding))
    archive = read_citycam(root)
    assert [failure.reason for failure in archive.failures] == [Reason.BAD_ANNOTATION]
    assert archive.records[0].label_state is LabelState.UNLABELLED


def test_a_bad_time_loses_the_date_only(citycam):
    archive = read_citycam(citycam({"000001": frame(GOOD, time="noon")}))
    assert archive.records[0].seconds is None
    assert [failure.lost for failure in archive.failures] == ["date"]


def test_another_layout_is_an_error_that_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match="give the folder that holds the camera folders"):
        read_citycam(tmp_path)


def test_the_split_lists_are_read_by_camera(tmp_path):
    assert read_citycam_splits(tmp_path) is None
    folder = tmp_path / "train_test_separation"
    folder.mkdir()
    (folder / "Downtown_Train.txt").write_text("410-20160704-12\r\n511-20160704-12\n\n")
    (folder / "Parkway_Train.txt").write_text("164-20160223-09\n")
    (folder / "Downtown_Test.txt").write_text("170-20160223-09\n")
    splits = read_citycam_splits(tmp_path)
    assert splits.by_camera() == {"410": "train", "511": "train", "164": "train", "170": "test"}
    (folder / "Parkway_Test.txt").write_text("410-20160704-13\n")
    with pytest.raises(ValueError, match="camera '410' is in the splits"):
        read_citycam_splits(tmp_path)
