"""Journals for the tests of the result formats, and the checks of MegaDetector's validator."""

import pytest

from context_rcnn.results.journal import JournalWriter
from context_rcnn.results.records import Detection, Header, ImageResult

LABELS = {1: "bobcat", 2: "coyote", 3: "person", 4: "truck"}
NOON = 1380893513  # 2013-10-04 13:31:53


@pytest.fixture
def header():
    return Header(
        model="context_rcnn_resnet101",
        model_version="0.1",
        extractor_hash="8a1f",
        label_map=LABELS,
        created="2026-05-26T19:11:27Z",
        settings={"max_side": 1024},
    )


@pytest.fixture
def make_journal(tmp_path, header):
    """Writes a journal and returns its path."""

    def make(images, name="run.jsonl", header=header):
        path = tmp_path / name
        with JournalWriter(path, header) as journal:
            for image in images:
                journal.append(image)
        return path

    return make


@pytest.fixture
def small_run():
    """The images of the public examples: a bobcat, an empty image, an unreadable one; and a person
    with a truck, of another camera.

    The bobcat's box is x .2925, y .2724, width .1084, height .1212.
    """
    shared = {"camera": "loc_33", "width": 2048, "height": 1494}
    return [
        ImageResult("loc_33/broken.jpg", "im-3", failure="truncated", failure_text="ends early"),
        ImageResult(
            "loc_33/im-0001.jpg",
            "im-0001",
            seconds=NOON,
            burst="seq-a",
            detections=(Detection((0.2724, 0.2925, 0.3936, 0.4009), 1, 0.926),),
            **shared,
        ),
        ImageResult("loc_33/im-0002.jpg", "im-0002", seconds=NOON + 1, burst="seq-a", **shared),
        ImageResult(
            "road/im-0003.jpg",
            "im-0003",
            camera="road",
            seconds=NOON + 90,
            width=640,
            height=480,
            detections=(
                Detection((0.0, 0.0, 0.5, 0.25), 4, 0.4),
                Detection((0.25, 0.5, 1.0, 1.0), 3, 0.75),
                Detection((0.5, 0.5, 0.75, 0.625), 2, 0.1),
            ),
        ),
    ]


@pytest.fixture
def check_megadetector():
    """What the format's own validator checks, from its description: the first error or None.

    https://lila.science/megadetector-output-format; where that package is installed, a test holds
    this to it.
    """
    return _first_error


def _first_error(document):
    try:
        _check(document)
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _check(document):
    version = document["info"]["format_version"]
    assert isinstance(version, str) and float(version) >= 1.3, "format_version"
    classes = document.get("classification_categories", {})
    for names in (document["detection_categories"], classes):
        for key, name in names.items():
            assert isinstance(key, str) and int(key) >= 0, f"category id {key!r}"
            assert isinstance(name, str) and name.strip(), f"category name {name!r}"
    assert isinstance(document["images"], list)
    for image in document["images"]:
        name = image["file"]
        if image.get("failure") is None:
            assert isinstance(image["detections"], list), f"{name}: detections"
        else:
            assert isinstance(image["failure"], str), f"{name}: failure"
            assert image["detections"] is None, f"{name}: detections of a failure"
        for detection in image["detections"] or ():
            assert isinstance(detection["conf"], float), f"{name}: conf"
            assert len(detection["bbox"]) == 4, f"{name}: bbox"
            assert detection["category"] in document["detection_categories"], f"{name}: category"
            for class_id, score in detection.get("classifications", ()):
                assert class_id in classes, f"{name}: classification {class_id!r}"
                assert isinstance(score, float | int), f"{name}: classification score"
