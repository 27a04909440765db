"""Label Studio's JSON export, small, as versions 1.8 to 1.20 write it; and what may be wrong."""

import copy
import json

import pytest

from context_rcnn.data.failures import Reason
from context_rcnn.data.readers.drawn import file_of
from context_rcnn.data.readers.label_studio import read_label_studio
from context_rcnn.data.records import LabelState

RECTANGLE = {
    "original_width": 200,
    "original_height": 100,
    "image_rotation": 0,
    "value": {
        "x": 10.0,
        "y": 20.0,
        "width": 30.0,
        "height": 40.0,
        "rotation": 0,
        "rectanglelabels": ["red deer"],
    },
    "id": "Dx_aB91ISN",
    "from_name": "label",
    "to_name": "image",
    "type": "rectanglelabels",
    "origin": "manual",
}


def task(file="photos/site_1/100RECNX/IMG_0001.JPG", results=(RECTANGLE,), **changes):
    """A task with one annotation, or as `changes` says."""
    annotation = {
        "id": 1001,
        "completed_by": 1,
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2024-03-09T22:16:08.728353Z",
        "lead_time": 4.288,
    }
    whole = {
        "id": 1,
        "annotations": [annotation],
        "file_upload": None,
        "drafts": [],
        "predictions": [{"model_version": "m", "result": [RECTANGLE]}],
        "data": {"image": f"/data/local-files/?d={file}"},
        "meta": {},
        "inner_id": 1,
        "total_annotations": 1,
        "cancelled_annotations": 0,
        "project": 1,
    }
    return whole | changes


def shape(kind, rotation=0, **value):
    result = copy.deepcopy(RECTANGLE) | {"type": kind, "value": {kind: ["fox"], **value}}
    result["value"]["rotation"] = rotation
    return result


@pytest.fixture
def read(tmp_path):
    def run(*tasks):
        path = tmp_path / "project-1-at-2024-03-10-08-00.json"
        path.write_text(json.dumps(tasks))
        return read_label_studio(path)

    return run


def edges(box):
    return pytest.approx((box.xmin, box.ymin, box.xmax, box.ymax))


def test_rectangles_are_boxes_in_parts_of_the_image(read):
    archive = read(task())
    (record,) = archive.records
    assert record.image_id == record.file_name == "photos/site_1/100RECNX/IMG_0001.JPG"
    assert (record.camera, record.seconds) == ("photos/site_1", None)
    assert (record.width, record.height, record.label_state) == (200, 100, LabelState.BOXES)
    (box,) = record.boxes
    assert edges(box) == (0.1, 0.2, 0.4, 0.6) and box.relative and box.label == "red deer"
    assert archive.class_names == ("red deer",) and not archive.failures


def test_who_looked_decides_whether_an_image_is_empty(read):
    skipped = [{"result": [], "was_cancelled": True}]
    archive = read(
        task("a/looked.jpg", results=()),
        task("a/skipped.jpg", annotations=skipped),
        task("a/nobody.jpg", annotations=[]),
    )
    states = {r.file_name[2:]: r.label_state for r in archive.records}
    assert states == {
        "looked.jpg": LabelState.EMPTY,
        "skipped.jpg": LabelState.UNLABELLED,
        "nobody.jpg": LabelState.UNLABELLED,
    }


def test_choices_are_labels_of_the_image_and_remarks_are_none(read):
    remark = shape("textarea", text=["nice"])
    (fox,) = read(task(results=[shape("choices"), remark])).records
    assert (fox.label_state, fox.class_names) == (LabelState.IMAGE_LEVEL, ("fox",))
    empty = shape("choices") | {"value": {"choices": ["empty"]}}
    assert read(task(results=[empty])).records[0].label_state is LabelState.EMPTY
    both = read(task(results=[empty, RECTANGLE]))
    assert both.records[0].label_state is LabelState.BOXES
    assert both.failures[0].reason is Reason.CONTRADICTORY_LABELS


def test_of_several_annotations_the_ground_truth_counts_else_the_last(read):
    first = {"result": [RECTANGLE]}
    last = {"result": [shape("choices")]}
    assert read(task(annotations=[first, last])).records[0].class_names == ("fox",)
    first = first | {"ground_truth": True}
    assert read(task(annotations=[first, last])).records[0].class_names == ("red deer",)


def test_other_shapes_become_the_boxes_around_them(read):
    """On an image of 200x100; a rectangle turns about its upper left corner, in pixels.

    Of 40x20 pixels at (100, 50), by 90 degrees clockwise, it lies between (80, 50) and (100, 90).
    """
    results = [
        shape("polygonlabels", points=[[10, 10], [30, 5], [20, 40]]),
        shape("ellipselabels", x=50, y=50, radiusX=10, radiusY=20),
        shape("rectanglelabels", 90, x=50, y=50, width=20, height=20),
    ]
    (record,) = read(task(results=results)).records
    expected = [(0.1, 0.05, 0.3, 0.4), (0.4, 0.3, 0.6, 0.7), (0.4, 0.5, 0.5, 0.9)]
    assert [edges(box) for box in record.boxes] == expected


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (shape("brushlabels", rle=[1]), Reason.BAD_ANNOTATION),
        (shape("rectanglelabels", x=1, y=1, width=0, height=5), Reason.BAD_BOX),
        (shape("rectanglelabels", x=1, y=1, width="5"), Reason.BAD_BOX),
        (shape("polygonlabels", points=[[1, 2], [3]]), Reason.BAD_BOX),
        (shape("ellipselabels", 30, x=5, y=5, radiusX=1, radiusY=1), Reason.BAD_BOX),
        (RECTANGLE | {"image_rotation": 90}, Reason.BAD_BOX),
        (RECTANGLE | {"value": {"rectanglelabels": ["a", "b"]}}, Reason.BAD_ANNOTATION),
        (RECTANGLE | {"value": {"rectanglelabels": []}}, Reason.BAD_ANNOTATION),
        (RECTANGLE | {"value": 7}, Reason.BAD_ANNOTATION),
    ],
)
def test_what_is_no_box_is_named_and_does_not_make_the_image_background(read, result, reason):
    archive = read(task(results=[RECTANGLE, result]))
    (failure,) = archive.failures
    assert (failure.reason, failure.lost) == (reason, "annotation")
    assert failure.detail.startswith("tasks[0]: ") and failure.file
    labels = set(archive.records[0].class_names)
    if labels != {"red deer"}:
        assert archive.records[0].label_state is LabelState.IMAGE_LEVEL


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("/data/local-files/?d=photos/s%C3%BCd%201/a.jpg", "photos/süd 1/a.jpg"),
        ("/data/upload/4/cb0618f6-IMG_0001.JPG", "cb0618f6-IMG_0001.JPG"),
        ("/data/upload/cb0618f6-IMG_0001.JPG", "cb0618f6-IMG_0001.JPG"),
        ("https://host/photos/a%20b.jpg?token=1", "photos/a b.jpg"),
        ("s3://bucket/site/a.jpg", "site/a.jpg"),
        ("site/a.jpg", "site/a.jpg"),
        ("C:\\photos\\a.jpg", "C:\\photos\\a.jpg"),
    ],
)
def test_addresses_of_label_studio_become_paths(address, file):
    assert file_of(address) == file


def test_entries_that_are_no_images_are_counted_and_named(read):
    archive = read(
        task(),
        task(),
        task("../out.jpg"),
        {"id": 5, "data": {"text": "no image"}},
        "nonsense",
        task(data={"photo": "site/b.jpg", "note": "x"}),
        task(data={"left": "a.jpg", "right": "b.jpg"}),
    )
    reasons = [failure.reason for failure in archive.failures]
    assert reasons == [Reason.DUPLICATE_IMAGE, Reason.OUTSIDE_ROOT, *[Reason.BAD_RECORD] * 3]
    assert [r.file_name for r in archive.records][1:] == ["site/b.jpg"]
    assert archive.images_listed == 7 == len(archive.records) + len(archive.failures)


@pytest.mark.parametrize("document", [{"a": 1}, [{"image": "a.jpg", "label": []}], "no"])
def test_another_format_is_refused_with_advice(tmp_path, document):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"x.json: (the top level must be a list|no tasks .*MIN)"):
        read_label_studio(path)
