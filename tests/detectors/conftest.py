"""Tiny detectors, built once a session."""

import numpy as np
import pytest

from context_rcnn import configs


def tiny_config(kind: str) -> configs.FasterRcnn:
    """A detector of 64x96 images that runs in milliseconds."""
    return configs.FasterRcnn(
        num_classes=3,
        image_size=[64, 128],
        backbone=configs.Backbone(
            kind=kind, model_id=10, depth_multiplier=0.125, fpn_filters=16, norm_momentum=0.5
        ),
        anchors=configs.Anchors(size=128.0 if kind == "fpn" else 32.0, scales=[0.5, 1.0]),
        proposals=configs.Proposals(filters=16, pre_nms=200, count=20, anchor_samples=32),
        boxes=configs.Boxes(samples=12, hidden=[32] if kind in ("dc5", "fpn") else []),
        detections=configs.Detections(score_threshold=0.001, count=10),
    )


@pytest.fixture(scope="session", params=["c4", "dc5", "fpn", "rfcn"])
def detector(request):
    """A built detector of each kind, with scores spread enough that ranks do not tie."""
    import tensorflow as tf
    import tf_keras

    from context_rcnn.detectors.faster_rcnn import build_faster_rcnn

    tf_keras.utils.set_random_seed(1)
    model = build_faster_rcnn(tiny_config(request.param), weight_decay=4e-4)
    model(tf.zeros([1, 64, 128, 3]), tf.constant([[64.0, 128.0]]))
    for variable in model.trainable_variables:
        if any(part in variable.name for part in ("rpn-", "classes/kernel", "boxes/kernel")):
            variable.assign(tf.random.normal(variable.shape, stddev=0.1))
    return model


@pytest.fixture(scope="session")
def batch():
    """Three images with noise; the second is padded at the right."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 255, (3, 64, 128, 3)).astype(np.uint8)
    images[1, :, 80:] = 0
    shape = np.array([[64, 128], [64, 80], [64, 128]], np.float32)
    groundtruth = {
        "boxes": np.array(
            [
                [[5, 5, 40, 60], [20, 70, 60, 110]],
                [[10, 10, 50, 50], [0, 0, 0, 0]],
                [[0, 0, 0, 0], [0, 0, 0, 0]],
            ],
            np.float32,
        ),
        "classes": np.array([[1, 3], [2, 0], [0, 0]], np.int64),
        "valid": np.array([[1, 1], [1, 0], [0, 0]], bool),
    }
    return images, shape, groundtruth
