"""Explanations name the entries that really were attended to."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors.two_stage import Answer, Proposals, Seen, TwoStageDetector
from context_rcnn.models.context_rcnn.attention import detect_with_attention


@pytest.fixture(scope="module")
def attended():
    """A detector with three proposals, whose port attends as it is told."""
    logits = np.log(np.array([[[0.1, 0.7, 0.2], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]]], np.float32))
    weights = np.array([[[0.1, 0.9, 0], [0.5, 0.2, 0.3], [1, 0, 0]]], np.float32)

    class Told(tf.Module):
        box_memory = staticmethod(
            lambda features, with_weights, **_: (features, {"long_term": tf.constant(weights)})
        )

        def look(self, images, shapes, memory, training):
            valid = tf.constant([[True, True, True]])
            proposals = Proposals(tf.zeros([1, 3, 4]), tf.zeros([1, 3]), valid)
            return Seen({}, shapes, proposals, {})

        def answer(self, seen, memory, training, port):
            port(tf.zeros([1, 3, 1, 1, 2]))
            detections = {
                "detection_scores": tf.constant([[0.7, 0.6, -1.0]]),
                "detection_classes": tf.constant([[1, 2, 0]]),
                "detection_boxes": tf.zeros([1, 3, 4]),
                "num_detections": tf.constant([2]),
            }
            return Answer(seen.proposals, tf.constant(logits), tf.zeros([1, 3, 12]), detections)

    assert all(hasattr(TwoStageDetector, name) for name in ("look", "answer"))
    return detect_with_attention(Told(), None, None, {}, top=2)


def test_a_detection_has_the_weights_of_the_proposal_it_came_from(attended):
    np.testing.assert_array_equal(attended["attention_index"][0, :2], [[1, 0], [0, 2]])
    np.testing.assert_allclose(
        attended["attention_weight"][0, :2], [[0.9, 0.1], [0.5, 0.3]], rtol=1e-6
    )
    assert not attended["attention_weight"][0, 2].numpy().any()
