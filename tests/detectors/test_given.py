"""Fast R-CNN: a detector whose proposals come with the images."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.detectors import freezing
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import Proposals
from tests.detectors.conftest import tiny_config
from tests.tolerance import assert_detections_close

SHAPE = tf.constant([[64.0, 128.0], [64.0, 80.0], [64.0, 128.0]])


@pytest.fixture(scope="module")
def pair():
    """The same detector with a first stage and without."""
    made = []
    for source in ("first_stage", "given"):
        config = tiny_config("dc5")
        config.proposals.source = source
        config.boxes.positive_fraction = 1.0
        tf_keras.utils.set_random_seed(1)
        made.append(build_faster_rcnn(config))
    box = tf.constant([[[0.0, 0.0, 9.0, 9.0]]])
    one = Proposals(box, tf.ones([1, 1]), tf.ones([1, 1]) > 0)
    image = tf.zeros([1, 64, 128, 3])
    whole, second = made
    whole(image, SHAPE[:1])
    second(image, SHAPE[:1], given=one)
    for part in ("backbone", "box_head", "box_predictor"):
        getattr(second, part).set_weights(getattr(whole, part).get_weights())
    return whole, second


def test_it_detects_in_the_proposals_of_another_what_that_one_does(pair, batch):
    whole, second = pair
    images, shape, _ = batch
    proposals = whole.look(images, shape).proposals
    expected = whole(images, shape)
    found = tf.function(
        lambda: second(images, shape, given=proposals), jit_compile=True, autograph=False
    )()
    names = [name for name in expected if name.startswith("detection")]
    assert_detections_close(
        {name: found[name] for name in names}, {name: expected[name] for name in names}
    )
    assert found["rpn"] == {}


def test_it_has_no_first_stage_and_learns_from_given_boxes(pair, batch):
    _, second = pair
    assert not any("rpn" in v.name for v in second.variables)
    assert "first_stage" not in freezing.parts_of(second)
    assert not freezing.first_stage_learns(second)
    images, shape, groundtruth = batch
    boxes = tf.constant([[[0.0, 0.0, 60.0, 60.0], [4.0, 4.0, 41.0, 61.0]]] * 3)
    valid = tf.constant([[True, True], [True, False], [False, False]])
    given = Proposals(boxes, tf.ones([3, 2]), valid)
    outputs = second(images, shape, groundtruth=groundtruth, training=True, given=given)
    drawn = outputs["targets"]
    # Of each image its valid proposals and its labels.
    assert drawn.valid.numpy().sum(axis=1).tolist() == [4, 2, 0]
    row = np.flatnonzero((drawn.boxes[0].numpy() == [4, 4, 41, 61]).all(axis=1))[0]
    assert drawn.classes[0, row] == 1


def test_proposals_go_with_a_detector_without_a_first_stage_alone(pair, batch):
    whole, second = pair
    images, shape, _ = batch
    with pytest.raises(ValueError, match="needs proposals with its images"):
        second.look(images, shape)
    with pytest.raises(ValueError, match="no other takes them"):
        whole.look(images, shape, given=whole.look(images, shape).proposals)
    config = tiny_config("dc5")
    config.proposals.source = "rpn"
    with pytest.raises(ValueError, match="must be one of first_stage, given, got 'rpn'"):
        build_faster_rcnn(config)
