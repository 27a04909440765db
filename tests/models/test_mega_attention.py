"""What a detection of MEGA draws on, by hand."""

import numpy as np
import tensorflow as tf

from context_rcnn.detectors.two_stage import Answer, Proposals
from context_rcnn.layers.relation import Pool
from context_rcnn.models.mega.attention import References, most_attended
from context_rcnn.models.streaming import NO_FRAME


def pool(frames, valid, first):
    """A pool of boxes of these frames; box i of all has its number as its upper edge."""
    boxes = np.zeros([1, len(frames), 4], np.float32)
    boxes[0, :, 0] = first + np.arange(len(frames))
    return Pool(
        tf.zeros([1, len(frames), 2]),
        tf.constant(boxes),
        tf.constant([frames]),
        tf.constant([valid]),
    )


def two_boxes(*weights):
    """Weights [1, heads, 2 proposals, references] of the first proposal; of the second, zeros."""
    heads = np.array(weights, np.float32)
    return tf.constant(np.stack([heads, 0 * heads], axis=1)[None])


def test_weights_are_the_mean_of_heads_and_of_stages_that_saw_something():
    # Frames 4 and 5 around the keyframe and frame 1 of the memory, two boxes each, and two frames
    # from anywhere that came in steps 7 and 9, one box each; the last one is padding.
    near = [(pool([4, 4, 5, 5], [True] * 4, 0), 2), (pool([1, 1], [True, True], 4), 1)]
    references = References(near, (pool([7, 9], [True, False], 6), 2))
    watch = {
        "global_0": two_boxes([1.0, 0.0], [1.0, 0.0]),
        "local_0": two_boxes([0.1, 0.2, 0.3, 0.0, 0.4, 0.0], [0.3, 0.0, 0.3, 0.0, 0.4, 0.0]),
        # One box of each frame is left.
        "local_1": two_boxes([0.5, 0.0, 0.5], [0.1, 0.0, 0.9]),
    }
    proposals = Proposals(tf.zeros([1, 2, 4]), tf.zeros([1, 2]), tf.constant([[True, True]]))
    answer = Answer(
        proposals,
        tf.math.log(tf.constant([[[0.2, 0.8], [0.4, 0.6]]])),
        tf.zeros([1, 2, 4]),
        {
            "detection_scores": tf.constant([[0.8, 0.6, -1.0]]),
            "detection_classes": tf.constant([[1, 1, 0]]),
        },
    )
    found = {
        name: value.numpy() for name, value in most_attended(answer, watch, references, 9).items()
    }
    # By hand: a third of each of (global) .., (local 0) .2 .1 .3 0 .4 0, (local 1) .3 . 0 . .7 .
    by_box = {0: (0.2 + 0.3) / 3, 1: 0.1 / 3, 2: 0.3 / 3, 4: (0.4 + 0.7) / 3, 6: 1 / 3}
    frames = {0: 4, 1: 4, 2: 5, 4: 1, 6: 7}
    order = sorted(by_box, key=lambda box: -by_box[box])
    np.testing.assert_allclose(
        found["attention_weight"][0, 0], [by_box[box] for box in order] + [0] * 3, atol=1e-6
    )
    np.testing.assert_array_equal(found["attention_box"][0, 0, :5, 0], order)
    np.testing.assert_array_equal(
        found["attention_frame"][0, 0, :5], [frames[box] for box in order]
    )
    np.testing.assert_array_equal(
        found["attention_anywhere"][0, 0, :5], [box == 6 for box in order]
    )
    assert NO_FRAME in found["attention_frame"][0, 0, 5:]  # the padding
    assert not found["attention_weight"][0, 1:].any()  # saw nothing; no detection
    np.testing.assert_array_equal(found["attention_frame"][0, 2], [NO_FRAME] * 8)
