"""Classes of boxes by what they show, counted by hand."""

import numpy as np

from context_rcnn.evaluation import evidence
from context_rcnn.evaluation.groundtruth import Image

LEFT, RIGHT = [0.1, 0.1, 0.5, 0.4], [0.1, 0.6, 0.5, 0.9]


def image(key, shows, tracks=("1", "2"), classes=(1, 2), camera="video", burst="v"):
    return Image(
        id=str(key),
        key=key,
        camera=camera,
        width=100,
        height=100,
        boxes=np.array([LEFT, RIGHT]),
        classes=np.array(classes),
        burst=burst,
        place=key,
        tracks=tracks,
        shows=shows,
    )


def detected(*rows):
    """Boxes, scores and classes."""
    boxes, scores, classes = zip(*rows, strict=True)
    return np.array(boxes, np.float32), np.array(scores, np.float32), np.array(classes)


def test_a_box_is_clear_or_its_object_shows_itself_elsewhere_or_never():
    images = [image(1, (1, 0)), image(2, (0, 0)), image(3, (0, -1))]
    clear, elsewhere, never = evidence.GROUPS
    assert evidence.groups_of(images) == [[clear, never], [elsewhere, never], [elsewhere, ""]]


def test_at_cameras_the_species_is_the_object():
    nobody = {"tracks": ("", ""), "burst": "b"}
    images = [
        image(1, (1, 0), **nobody),
        image(2, (0, 0), classes=(2, 1), **nobody | {"burst": "c"}),
        image(3, (0, 0), camera="other", **nobody),
    ]
    clear, elsewhere, never = evidence.GROUPS
    assert evidence.groups_of(images) == [[clear, never], [never, elsewhere], [never, never]]


def test_the_best_detection_on_a_box_names_it():
    images = [image(1, (1, 1)), image(2, (0, 0)), image(3, (0, 0), tracks=("8", "9"))]
    shifted = [0.1, 0.65, 0.5, 0.95]  # overlaps RIGHT by 5/7
    beside = [0.1, 0.75, 0.5, 1.05]  # by a third
    detections = {
        # Both found; the left one's better detection has the wrong class.
        1: detected((LEFT, 0.9, 2), (LEFT, 0.8, 1), (shifted, 0.3, 2)),
        # The left one is right, and the right one is not found.
        2: detected((LEFT, 0.2, 1), (beside, 0.9, 2)),
    }
    measured = evidence.measure_evidence(images, detections)
    assert measured == {
        "clear": {"boxes": 2, "found": 1.0, "right": 0.5},
        "seen elsewhere": {"boxes": 2, "found": 0.5, "right": 1.0},
        "hidden throughout": {"boxes": 2, "found": 0.0, "right": None},
    }


def test_without_such_labels_there_is_nothing_to_measure():
    unknown = [image(1, (-1, -1)), image(2, ())]
    assert evidence.measure_evidence(unknown, {}) is None
    mixed = [*unknown, image(3, (1, 0))]
    assert evidence.measure_evidence(mixed, {})["clear"]["boxes"] == 1
