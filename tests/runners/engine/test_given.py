"""Boxes of another detector, image by image, and models that want them or do not."""

import json

import numpy as np
import pytest

from context_rcnn.runners.engine.given import GivenBoxes, check_takes_boxes

RESULTS = {
    "detection_categories": {"1": "animal", "2": "person"},
    "images": [
        {
            "file": "cam\\a.jpg",
            "detections": [
                {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4]},
                {"category": "2", "conf": 0.8, "bbox": [0, 0, 1, 1]},
                {"category": "1", "conf": 0.3, "bbox": [0.5, 0.5, 0.25, 0.25]},
            ],
        },
        {"file": "cam/b.jpg", "detections": []},
        {"file": "cam/c.jpg", "failure": "image access failure"},
    ],
}


class Model:
    def __init__(self, proposals):
        self.description = {"proposals": proposals}


def write(tmp_path, results=RESULTS):
    path = tmp_path / "md.json"
    path.write_text(json.dumps(results))
    return str(path)


def test_an_image_gets_its_animals(tmp_path):
    given = GivenBoxes(write(tmp_path))
    image = given.of("cam/a.jpg", b"bytes")
    assert image.encoded == b"bytes"
    np.testing.assert_allclose(image.boxes, [[0.2, 0.1, 0.6, 0.4], [0.5, 0.5, 0.75, 0.75]])
    np.testing.assert_allclose(image.scores, [0.9, 0.3])
    for file in ("cam/b.jpg", "cam/unknown.jpg"):
        assert given.of(file, b"").boxes.shape == (0, 4)
    assert [failure.file for failure in given.failures] == ["cam/c.jpg"]


def test_images_that_the_results_do_not_name_are_counted(tmp_path):
    given = GivenBoxes(write(tmp_path))
    assert given.unnamed(["cam/a.jpg", "cam/b.jpg"]) == ""
    line = given.unnamed(["cam/a.jpg", "new/x.jpg", "new/y.jpg"])
    assert "2 of 3 images" in line and "new/x.jpg" in line and "md.json" in line
    with pytest.raises(ValueError, match="names none of the images: it has 'cam/a.jpg', .*'a.jpg'"):
        given.unnamed(["a.jpg", "b.jpg"])


def test_other_results_are_other_settings(tmp_path):
    first = GivenBoxes(write(tmp_path)).hash
    assert GivenBoxes(write(tmp_path)).hash == first
    assert GivenBoxes(write(tmp_path, RESULTS | {"info": {}})).hash != first


def test_a_model_that_wants_no_boxes_gets_none_and_the_other_way_round():
    check_takes_boxes(Model(8), True)
    check_takes_boxes(Model(0), False)
    with pytest.raises(ValueError, match="give MegaDetector's results with --detections"):
        check_takes_boxes(Model(8), False)
    with pytest.raises(ValueError, match="this model finds its boxes itself"):
        check_takes_boxes(Model(0), True)
