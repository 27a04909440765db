"""Explanations name the entries that really were attended to."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.explanations.attention import detect_with_attention


@pytest.fixture(scope="module")
def attended():
    """A detector with three proposals, whose port attends as it is told."""
    logits = np.log(np.array([[[0.1, 0.7, 0.2], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]]], np.float32))
    weights = np.array([[[0.1, 0.9, 0], [0.5, 0.2, 0.3], [1, 0, 0]]], np.float32)

    class Told(tf.Module):
        box_memory = staticmethod(
            lambda features, with_weights, **_: (features, {"long_term": tf.constant(weights)})
        )

        def maps(self, images, training):
            return {}

        def propose(self, maps, shapes, training):
            from context_rcnn.detectors.two_stage import Proposals

            valid = tf.constant([[True, True, True]])
            return Proposals(tf.zeros([1, 3, 4]), tf.zeros([1, 3]), valid), {}

        def box_features(self, maps, proposals, memory, training, port):
            return port(tf.zeros([1, 3, 1, 1, 2]))

        def box_predictor(self, features):
            return tf.constant(logits), tf.zeros([1, 3, 12])

        def detect(self, logits, offsets, proposals, shapes):
            return {
                "detection_scores": tf.constant([[0.7, 0.6, -1.0]]),
                "detection_classes": tf.constant([[1, 2, 0]]),
                "detection_boxes": tf.zeros([1, 3, 4]),
                "num_detections": tf.constant([2]),
            }

    assert set(dir(Told)) > {"maps", "propose", "box_features", "box_predictor", "detect"}
    assert all(hasattr(TwoStageDetector, n) for n in ("maps", "propose", "box_features", "detect"))
    return detect_with_attention(Told(), None, None, {}, top=2)


def test_a_detection_has_the_weights_of_the_proposal_it_came_from(attended):
    np.testing.assert_array_equal(attended["attention_index"][0, :2], [[1, 0], [0, 2]])
    np.testing.assert_allclose(attended["attention_weight"][0, :2], [[0.9, 0.1], [0.5, 0.3]])
    assert not attended["attention_weight"][0, 2].numpy().any()
