"""Boxes for image-level labels."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.megadetector import (
    box_image_labels,
    check_overlap,
    read_megadetector,
)
from context_rcnn.data.records import Box, ImageRecord, LabelState


def detection(conf=0.95, category="1", bbox=(0.1, 0.2, 0.3, 0.4)):
    return {"category": category, "conf": conf, "bbox": list(bbox)}


@pytest.fixture
def read(tmp_path):
    def write_and_read(*images, categories=None):
        categories = categories or {"1": "animal", "2": "person"}
        document = {
            "info": {"format_version": "1.6"},
            "detection_categories": categories,
            "images": list(images),
        }
        path = tmp_path / "md.json"
        path.write_text(json.dumps(document))
        return read_megadetector(path)

    return write_and_read


def image_level(*names, file_name="a.jpg"):
    state = LabelState.IMAGE_LEVEL
    return ImageRecord("a", file_name, "A", label_state=state, class_names=names, width=9, height=9)


def test_a_certain_animal_gets_the_one_species_of_its_image(read):
    results = read({"file": "a.jpg", "detections": [detection(), detection(0.9), detection(0.89)]})
    (record,), counts = box_image_labels([image_level("deer")], results)
    assert record.label_state is LabelState.BOXES
    assert [(box.label, box.score) for box in record.boxes] == [("deer", 0.95), ("deer", 0.9)]
    box = record.boxes[0]
    edges = (box.xmin, box.ymin, box.xmax, box.ymax)
    assert edges == pytest.approx((0.1, 0.2, 0.4, 0.6))
    assert box.relative
    assert record.width is None, "MegaDetector's boxes are upright, whatever the JSON says"
    assert counts == {"boxed": 1}


@pytest.mark.parametrize(
    "detections",
    [
        [detection(category="2")],
        [detection(0.5)],
        [],
    ],
)
def test_images_without_a_certain_animal_stay_as_they_are(read, detections):
    results = read({"file": "a.jpg", "detections": detections})
    records, counts = box_image_labels([image_level("deer")], results)
    assert records == [image_level("deer")]
    assert counts == {"no_certain_animal": 1}


def test_detections_removed_by_repeat_detection_elimination_stay_removed(read):
    results = read({"file": "a.jpg", "detections": [detection(-0.95), detection(0.05)]})
    assert [animal.score for animal in results.animals["a.jpg"]] == [0.05]
    assert results.failures == []


def test_several_species_cannot_be_told_apart(read):
    results = read({"file": "a.jpg", "detections": [detection()]})
    records, counts = box_image_labels([image_level("bear", "deer")], results)
    assert records == [image_level("bear", "deer")]
    assert counts == {"several_classes": 1}


@pytest.mark.parametrize("state", [LabelState.UNLABELLED, LabelState.EMPTY, LabelState.BOXES])
def test_other_images_are_left_alone(read, state):
    boxes = (Box(1, 2, 3, 4, "deer"),) if state is LabelState.BOXES else ()
    record = ImageRecord("a", "a.jpg", "A", label_state=state, boxes=boxes)
    results = read({"file": "a.jpg", "detections": [detection()]})
    counted = {"found_but_no_label": 1} if state is LabelState.UNLABELLED else {}
    assert box_image_labels([record], results) == ([record], counted)


def test_the_animal_category_is_found_by_name_and_paths_are_normalised(read):
    results = read(
        {"file": "x\\a.jpg", "detections": [detection(category="7")]}, categories={"7": "Animal"}
    )
    assert list(results.animals) == ["x/a.jpg"]
    assert len(results.animals["x/a.jpg"]) == 1


def test_failures_of_the_detector_and_bad_entries_are_named(read):
    results = read(
        {"file": "a.jpg", "failure": "image access failure", "detections": None},
        {"file": "b.jpg", "detections": [detection(conf="high"), detection(bbox=(1, 2)), 3]},
        {"file": "b.jpg", "detections": []},
        {"file": "c.jpg", "detections": [detection(bbox=(100, 200, 30, 40))]},
        {"file": "../d.jpg", "detections": []},
        {"detections": []},
        7,
    )
    assert [failure.reason for failure in results.failures] == [
        Reason.DETECTOR_FAILURE,
        *[Reason.BAD_DETECTION] * 5,
        Reason.OUTSIDE_ROOT,
        *[Reason.BAD_DETECTION] * 2,
    ]
    assert "image access failure" in results.failures[0].detail
    assert {failure.lost for failure in results.failures} == {"annotation"}


def test_results_of_another_folder_are_an_error(read):
    results = read({"file": "photos/a.jpg", "detections": []})
    with pytest.raises(ValueError, match="'photos/a.jpg', the archive has 'a.jpg'"):
        check_overlap([image_level("deer")], results)
    check_overlap([image_level("deer", file_name="photos/a.jpg")], results)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "top level"),
        ("{}", "'images'"),
        ('{"images": []}', "'detection_categories' must be an object"),
        ('{"images": [], "detection_categories": {"1": "car"}}', "no category named 'animal'"),
    ],
)
def test_an_unusable_file_is_an_error_that_names_it(tmp_path, text, message):
    path = tmp_path / "md.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_megadetector(path)
    assert str(path) in str(error.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)
IMAGES = st.lists(st.dictionaries(st.sampled_from(["file", "detections"]), VALUES) | VALUES)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES | st.fixed_dictionaries({"images": IMAGES}))
def test_any_json_is_an_error_that_names_the_file_or_is_read(tmp_path, document):
    path = tmp_path / "any.json"
    if isinstance(document, dict):
        document["detection_categories"] = {"1": "animal"}
    path.write_text(json.dumps(document))
    try:
        results = read_megadetector(path)
    except ValueError as error:
        assert str(path) in str(error)
        return
    named = len(results.animals) + len(results.failures)
    assert named >= len(document["images"])
