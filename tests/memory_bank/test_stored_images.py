"""A store gives back what was put into it, image by image."""

import numpy as np
import pytest

from context_rcnn.memory_bank import maintenance
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.manifest import BankInfo
from context_rcnn.memory_bank.stored_images import ImageStore, StoredImage, store_info
from context_rcnn.memory_bank.writer import BankWriter

DEPTH = 5


def image(name, proposals, labelled, mirrored=False, seconds=None):
    rng = np.random.default_rng([proposals, labelled, mirrored])
    count = proposals + labelled
    left = rng.uniform(0, 0.5, (count, 2))
    return StoredImage(
        name,
        np.concatenate([left, left + 0.4], axis=1).astype(np.float32),
        np.sort(rng.uniform(0.1, 1, count))[::-1].astype(np.float32),
        rng.normal(size=(count, DEPTH)).astype(np.float32),
        np.array([0] * proposals + [2] * labelled, np.int32),
        mirrored,
        seconds,
    )


def write(folder, images, **options):
    with BankWriter(str(folder), store_info("abc", DEPTH, "float32", **options), 2) as writer:
        for some in images:
            writer.add(*some.record())
    return ImageStore(folder)


def test_images_come_back_proposals_first_and_labelled_boxes_behind(tmp_path):
    images = [
        image("a", 3, 2, seconds=70),
        image("b", 2, 0),
        image("c", 0, 1),
        image("c", 4, 1, True),
    ]
    store = write(tmp_path / "store", images, mirrored=True)
    assert store.mirrored
    for some in images:
        found = store.read(some.image_id, some.mirrored)
        for name in ("boxes", "scores", "features", "classes"):
            np.testing.assert_array_equal(getattr(found, name), getattr(some, name), name)
        assert (found.seconds, found.mirrored) == (some.seconds, some.mirrored)
        for labelled in (False, True):
            rows = np.flatnonzero((some.classes > 0) == labelled)
            boxes, scores, features = found.part(labelled)
            np.testing.assert_array_equal(boxes, some.boxes[rows])
            np.testing.assert_array_equal(scores, some.scores[rows])
            np.testing.assert_array_equal(features, some.features[rows])
    assert maintenance.verify(str(tmp_path / "store")) == []


def test_an_image_without_boxes_was_seen(tmp_path):
    store = write(tmp_path / "store", [image("empty", 0, 0)])
    assert not store.mirrored and not len(store.read("empty").scores)
    for name, mirrored in (("empty", True), ("other", False)):
        with pytest.raises(ValueError, match=f"image '{name}' is not in this store"):
            store.read(name, mirrored)


def test_a_bank_of_cameras_is_no_store(tmp_path):
    with BankWriter(str(tmp_path / "bank"), BankInfo("abc", "detections", DEPTH), 1) as writer:
        writer.add(
            "camera",
            Entries.make(
                image_ids=["a"], seconds=[1], boxes=np.ones([1, 4]), features=np.ones([1, DEPTH])
            ),
        )
    with pytest.raises(ValueError, match="is a memory bank of detections, not a store of images"):
        ImageStore(tmp_path / "bank")
