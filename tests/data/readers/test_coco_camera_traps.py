"""COCO Camera Traps files as they are found."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.coco_camera_traps import read_coco_camera_traps
from context_rcnn.data.records import LabelState

IMAGE = {
    "id": "im-1",
    "file_name": "33/im-1.jpg",
    "location": "33",
    "datetime": "2013-10-04 13:31:53",
    "width": 64,
    "height": 48,
    "seq_id": "seq-a",
    "seq_num_frames": 2,
    "frame_num": 0,
}


def annotation(**changes) -> dict:
    base = {"id": "an-1", "image_id": "im-1", "category_id": 1, "bbox": [5, 6, 20, 10]}
    return {**base, **changes}


def reasons(archive) -> list[Reason]:
    return [failure.reason for failure in archive.failures]


def assert_books_balance(archive):
    lost = sum(failure.lost == "image" for failure in archive.failures)
    assert archive.images_listed == len(archive.records) + lost


def test_a_full_record_is_read(write_cct):
    archive = read_coco_camera_traps(write_cct([IMAGE], [annotation()]))
    (record,) = archive.records
    assert record.image_id == "im-1"
    assert record.camera == "33"
    assert record.seconds == 1380893513  # date -u -d '2013-10-04 13:31:53' +%s
    assert (record.seq_id, record.seq_num_frames, record.frame_num) == ("seq-a", 2, 0)
    assert record.label_state is LabelState.BOXES
    (box,) = record.boxes
    assert (box.xmin, box.ymin, box.xmax, box.ymax, box.label) == (5, 6, 25, 16, "bobcat")
    assert archive.class_names == ("bobcat", "deer")
    assert archive.failures == []


def test_old_spellings_are_read(write_cct):
    image = {
        "id": 7,
        "file_name": "a\\b.jpg",
        "location": 26,
        "sub_location": 1,
        "date_captured": "2013-10-04 13:31:53",
    }
    archive = read_coco_camera_traps(write_cct([image], [annotation(image_id=7, bbox=None)]))
    (record,) = archive.records
    assert (record.image_id, record.camera, record.file_name) == ("7", "26_1", "a/b.jpg")
    assert record.seconds == 1380893513
    assert record.label_state is LabelState.IMAGE_LEVEL


def test_every_optional_field_is_optional(write_cct):
    archive = read_coco_camera_traps(write_cct([{"id": "a", "file_name": "site/100RECNX/a.jpg"}]))
    (record,) = archive.records
    assert record.camera == "site"
    assert record.seconds is None
    assert archive.failures == []
    assert archive.notes["camera_named_by_path"] == 1


def test_empty_unlabelled_and_labelled_are_told_apart(write_cct):
    images = [{**IMAGE, "id": str(i)} for i in range(4)]
    annotations = [
        {"id": "a", "image_id": "1", "category_id": 0},
        {"id": "b", "image_id": "2", "category_id": 2},
        annotation(image_id="3"),
    ]
    archive = read_coco_camera_traps(write_cct(images, annotations))
    states = [record.label_state for record in archive.records]
    assert states == [
        LabelState.UNLABELLED,
        LabelState.EMPTY,
        LabelState.IMAGE_LEVEL,
        LabelState.BOXES,
    ]


def test_a_class_without_box_beside_boxes_says_that_boxes_are_not_complete(write_cct):
    annotations = [annotation(), annotation(id="an-2", category_id=2, bbox=None)]
    archive = read_coco_camera_traps(write_cct([IMAGE], annotations))
    (record,) = archive.records
    assert record.label_state is LabelState.IMAGE_LEVEL
    assert len(record.boxes) == 1
    assert archive.notes["images_with_boxes_of_some_classes_only"] == 1


def test_relative_boxes_are_read(write_cct):
    relative = annotation(bbox_relative=[0.25, 0.5, 0.5, 0.25])
    del relative["bbox"]
    archive = read_coco_camera_traps(write_cct([IMAGE], [relative]))
    (box,) = archive.records[0].boxes
    assert box.relative
    assert (box.xmin, box.ymin, box.xmax, box.ymax) == (0.25, 0.5, 0.75, 0.75)


@pytest.mark.parametrize(
    "bbox",
    [
        [5, 6, 0, 10],
        [5, 6, -3, 10],
        [5, 6, float("nan"), 10],
        [5, 6, float("inf"), 10],
        [5, 6, 7],
        [5, 6, 7, "8"],
        "5,6,7,8",
        {"x": 5},
        [5, 6, 10**400, 10],
    ],
)
def test_a_bad_box_is_named_and_its_class_is_kept(write_cct, bbox):
    archive = read_coco_camera_traps(write_cct([IMAGE], [annotation(bbox=bbox)]))
    (failure,) = archive.failures
    assert failure.reason is Reason.BAD_BOX
    assert (failure.image_id, failure.lost) == ("im-1", "annotation")
    assert "annotations[0]" in failure.detail and "bbox" in failure.detail
    (record,) = archive.records
    assert record.label_state is LabelState.IMAGE_LEVEL
    assert record.class_names == ("bobcat",)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("not an object", Reason.BAD_RECORD),
        ({**IMAGE, "id": None}, Reason.BAD_RECORD),
        ({**IMAGE, "id": True}, Reason.BAD_RECORD),
        ({**IMAGE, "id": "x", "file_name": 12}, Reason.BAD_RECORD),
        ({**IMAGE, "id": "x", "file_name": "\ud800.jpg"}, Reason.BAD_RECORD),
        ({**IMAGE}, Reason.DUPLICATE_IMAGE),
        ({**IMAGE, "id": "x", "corrupt": True}, Reason.MARKED_CORRUPT),
        ({**IMAGE, "id": "x", "file_name": "../../etc/passwd"}, Reason.OUTSIDE_ROOT),
        ({**IMAGE, "id": "x", "file_name": "C:\\a.jpg"}, Reason.OUTSIDE_ROOT),
    ],
)
def test_an_unusable_image_is_named_and_the_rest_is_read(write_cct, image, reason):
    archive = read_coco_camera_traps(write_cct([IMAGE, image], [annotation()]))
    assert [record.image_id for record in archive.records] == ["im-1"]
    assert reasons(archive) == [reason]
    assert archive.failures[0].lost == "image"
    assert "images[1]" in archive.failures[0].detail
    assert_books_balance(archive)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"datetime": "1970-01-01 00:00:00"}, Reason.JUNK_DATE),
        ({"datetime": "soon"}, Reason.BAD_DATE),
        ({"datetime": 12}, Reason.BAD_DATE),
        ({"width": "wide"}, Reason.BAD_FIELD),
        ({"height": -1}, Reason.BAD_FIELD),
        ({"frame_num": 1.5}, Reason.BAD_FIELD),
        ({"seq_num_frames": 10**30}, Reason.BAD_FIELD),
    ],
)
def test_a_bad_field_is_named_and_the_image_is_kept(write_cct, changes, reason):
    archive = read_coco_camera_traps(write_cct([{**IMAGE, **changes}]))
    assert len(archive.records) == 1
    assert reasons(archive) == [reason]
    assert next(iter(changes)) in archive.failures[0].detail
    assert_books_balance(archive)


def test_a_bad_date_gives_way_to_a_good_one(write_cct):
    image = {**IMAGE, "datetime": "?", "date_captured": "2013-10-04 13:31:53"}
    archive = read_coco_camera_traps(write_cct([image]))
    assert archive.records[0].seconds == 1380893513
    assert archive.failures == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_id": "nobody"}, Reason.UNKNOWN_IMAGE),
        ({"image_id": None}, Reason.UNKNOWN_IMAGE),
        ({"category_id": 99}, Reason.UNKNOWN_CATEGORY),
        ({"category_id": [1]}, Reason.UNKNOWN_CATEGORY),
        ({"id": "an-1"}, Reason.DUPLICATE_ANNOTATION),
        ({"category_id": 0, "bbox": None}, Reason.CONTRADICTORY_LABELS),
        ({"category_id": 0}, Reason.BAD_BOX),
    ],
)
def test_an_unusable_annotation_is_named_and_the_rest_is_read(write_cct, changes, reason):
    second = annotation(**{"id": "an-2", **changes})
    archive = read_coco_camera_traps(write_cct([IMAGE], [annotation(), second]))
    assert reason in reasons(archive)
    assert {failure.lost for failure in archive.failures} == {"annotation"}
    assert archive.records[0].label_state is LabelState.BOXES
    assert len(archive.records[0].boxes) == 1


def test_annotations_of_a_lost_image_are_not_reported_again(write_cct):
    archive = read_coco_camera_traps(write_cct([{**IMAGE, "corrupt": True}], [annotation()]))
    assert reasons(archive) == [Reason.MARKED_CORRUPT]


def test_categories_must_be_new_and_named(write_cct):
    categories = [(1, "bobcat"), (1, "deer"), (2, ""), ([], "bear")]
    archive = read_coco_camera_traps(write_cct([IMAGE], [], categories))
    assert reasons(archive) == [Reason.BAD_CATEGORY] * 3
    assert archive.class_names == ("bobcat",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "top level must be an object"),
        ("{}", "'images' must be a list, found nothing"),
        ('{"images": {}}', "'images' must be a list, found an object"),
        ('{"images": [], "annotations": 3}', "'annotations' must be a list"),
        ('{"images": [], "annotations": [1]}', "'categories' must be a list"),
        ("[" * 100_000, "nested too deeply"),
        ("\x00\x01", "not a JSON file"),
    ],
)
def test_an_unusable_file_is_an_error_that_names_it(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_coco_camera_traps(path)
    assert str(path) in str(error.value)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["im-1", "an-1", "../x", "2013-10-04 13:31:53", 1, 0, 10**400, "\ud800"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner)
)


def entries(*names: str):
    known = st.dictionaries(st.sampled_from(names), VALUES)
    return st.lists(known | VALUES, max_size=4) | VALUES


DOCUMENTS = VALUES | st.fixed_dictionaries(
    {
        "images": entries(*IMAGE, "corrupt", "sub_location", "date_captured"),
        "annotations": entries(*annotation(), "bbox_relative", "area"),
        "categories": entries("id", "name"),
    }
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DOCUMENTS)
def test_any_json_is_an_error_that_names_the_file_or_is_read(tmp_path, document):
    path = tmp_path / "any.json"
    path.write_text(json.dumps(document))
    try:
        archive = read_coco_camera_traps(path)
    except ValueError as error:
        assert str(path) in str(error)
        return
    assert_books_balance(archive)
    for failure in archive.failures:
        assert type(failure).from_json(failure.to_json()) == failure
    for record in archive.records:
        assert type(record).from_dict(json.loads(json.dumps(record.to_dict()))) == record
