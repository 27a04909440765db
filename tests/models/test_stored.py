"""A detector sees the same in a stored image as in the image itself."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors import stored
from context_rcnn.detectors.freezing import freeze
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import Proposals, untouched
from context_rcnn.models.streaming import Frame
from context_rcnn.tasks.features import frozen_parts
from tests.tolerance import PIXELS, SCORES, assert_close

SAME = 1e-5
BOTH = {"short_term": {"window": 3, "boxes": 4}, "temperature": 1.0}
MEGA = {"depth": 32, "heads": 2, "local_frames": 3, "memory_frames": 2, "global_frames": 2}
KINDS = {
    "none": ("c4", {}),
    "paper": ("c4", {"context_rcnn": BOTH}),
    "released": ("c4", {"context_rcnn": BOTH | {"variant": "released"}}),
    "mega": ("dc5", {"mega": MEGA | {"reference_boxes": 5, "kept_boxes": 3}}),
}
TRUTH = np.float32([[[4, 8, 40, 60], [10, 70, 50, 120]]] * 6)


@pytest.fixture(scope="module", params=KINDS)
def detector(request, build, frames):
    """All of it frozen but memory and predictor."""
    kind, temporal = KINDS[request.param]
    model = build(kind, **temporal)
    images, shapes = frames
    for _ in range(6):  # its batch norms get to know the images
        model.look(images, shapes, training=True)
        seen = model.look(images, shapes, training=False)
        model.features(seen, training=True, port=untouched)
    freeze(model, frozen_parts(model), "task.freeze")
    rng = np.random.default_rng(2)
    for variable in model.box_memory.trainable_variables:
        if len(variable.shape) > 1:
            variable.assign(rng.normal(scale=0.3, size=variable.shape))
    return model


@pytest.fixture(scope="module")
def images(detector, frames):
    """Images, and the same stored."""
    images, shapes = frames
    seen = detector.look(images, shapes, training=False)
    boxes = tf.concat([seen.proposals.boxes, TRUTH], axis=1)
    there = tf.ones_like(boxes[..., 0])
    both = seen._replace(proposals=Proposals(boxes, there, there > 0))
    features = pool_boxes(detector.features(both, training=False, port=untouched))
    scores = tf.concat([seen.proposals.scores, tf.ones_like(TRUTH[..., 0])], axis=1)
    packed = tf.concat([features, boxes, scores[..., None]], axis=2)
    assert packed.shape[2] == features.shape[2] + stored.COLUMNS
    return images, packed


def memory_of(bank, frames):
    """Two clips of three frames, of which the last is not there."""
    there = tf.constant([[True, True, True], [True, True, False]])
    rows = {name: tf.constant(value[:2]) for name, value in bank.items()}
    numbers = tf.constant([[4, 3, 9], [2, 5, 2]])
    return rows | {"clip_valid": there, "clip_frames": numbers}


def test_it_detects_the_same(detector, images, frames, bank):
    _, shapes = frames
    memory = memory_of(bank, frames)
    expected, found = (detector(some, shapes, memory=memory) for some in images)
    for name in ("class_logits", "box_offsets"):
        assert_close(found[name], expected[name], SAME, name)
    np.testing.assert_allclose(
        found["detection_scores"], expected["detection_scores"], rtol=0, atol=SCORES
    )
    assert (expected["num_detections"].numpy() > 0).any()


def test_it_learns_the_same(detector, images, frames, bank):
    _, shapes = frames
    memory = memory_of(bank, frames)
    mega = detector.name.startswith("mega")
    teaching = [0, 3] if mega else range(6)
    if mega:  # a keyframe, one frame near it, and one from anywhere
        detector._clip = (1, 0, 1)
    truth = {
        "boxes": tf.constant(TRUTH[list(teaching)]),
        "classes": tf.constant([[1, 3]] * len(teaching), tf.int64),
        "valid": tf.constant([[True, True]] * len(teaching)),
    }
    found = []
    for some in images:
        tf.random.set_seed(1)  # of the samples that are drawn
        with tf.GradientTape() as tape:
            outputs = detector(some, shapes, groundtruth=truth, memory=memory, training=True)
            logits, classes = outputs["class_logits"], outputs["targets"].classes
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            loss = tf.reduce_mean(loss) + tf.reduce_mean(tf.abs(outputs["box_offsets"]))
        found.append((outputs, tape.gradient(loss, detector.trainable_variables)))
    (expected, slopes), (outputs, others) = found
    np.testing.assert_array_equal(outputs["targets"].boxes, expected["targets"].boxes)
    assert (expected["targets"].classes.numpy() > 0).any()
    assert_close(outputs["class_logits"], expected["class_logits"], SAME)
    largest = max(float(tf.reduce_max(tf.abs(slope))) for slope in slopes)
    for variable, x, y in zip(detector.trainable_variables, others, slopes, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=SAME * largest, err_msg=variable.name)


def test_no_frozen_part_is_run(detector, images, frames, bank, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a frozen part ran")

    for part in (detector.backbone, detector.rpn_head, detector.box_head):
        monkeypatch.setattr(type(part), "__call__", never, raising=False)
    _, shapes = frames
    seen = detector.look(images[1], shapes)
    assert detector.features(seen, port=untouched).shape[2:4] == [1, 1]


def test_a_stream_detects_the_same(detector, images, frames):
    from context_rcnn.models.mega.stream import MegaStream

    if not detector.name.startswith("mega"):
        pytest.skip("evaluated by clips")
    stream = MegaStream(detector, local_frames=3, memory_frames=2, global_frames=2)
    _, shapes = frames
    row, valid = tf.constant([7], tf.int64), tf.constant([True])
    found = []
    for some in images:
        state, steps = stream.initial_state(1), []
        for t in range(4):
            elsewhere = Frame(some[3 - t][None], shapes[:1], row, valid)
            frame = Frame(some[t][None], shapes[:1], row, valid, elsewhere=elsewhere)
            detections, state = stream.step(frame._replace(ended=~valid), state)
            steps.append(detections)
        found.append(steps)
    for expected, other in zip(*found, strict=True):
        scores = expected["detection_scores"]
        np.testing.assert_allclose(other["detection_scores"], scores, rtol=0, atol=SCORES)
        boxes = expected["detection_boxes"]
        # Stages of relations multiply what features lose: .0063 with the kernels of AVX2.
        np.testing.assert_allclose(other["detection_boxes"], boxes, rtol=0, atol=5 * PIXELS)
