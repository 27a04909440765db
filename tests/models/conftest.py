"""Tiny temporal detectors, with weights spread enough that ranks do not tie."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs

ENTRY = 11  # length of a memory entry
HEIGHT, WIDTH = 64, 128


def tiny_detector(kind: str = "c4") -> configs.FasterRcnn:
    return configs.FasterRcnn(
        num_classes=3,
        image_size=[HEIGHT, WIDTH],
        backbone=configs.Backbone(
            kind=kind, model_id=10, depth_multiplier=0.125, fpn_filters=16, norm_momentum=0.5
        ),
        anchors=configs.Anchors(size=32.0 if kind == "c4" else 128.0, scales=[0.5, 1.0]),
        proposals=configs.Proposals(filters=16, pre_nms=100, count=8, anchor_samples=16),
        boxes=configs.Boxes(samples=6, hidden=[] if kind == "c4" else [32]),
        detections=configs.Detections(score_threshold=0.001, count=6),
    )


@pytest.fixture(scope="session")
def build():
    """Builds a model from temporal settings: `build("c4", context_rcnn={...})`."""
    from context_rcnn.models import temporal as temporal_models

    def build(kind: str = "c4", **temporal):
        ((name, settings),) = temporal.items() or [("none", {})]
        if name == "context_rcnn":
            settings = {"depth": 16, "initial_output": 1.0, **settings}  # to be heard untrained
            long_term = {"entry_size": ENTRY, **settings.get("long_term", {})}
            settings["long_term"] = long_term
        tf_keras.utils.set_random_seed(1)
        config = configs.Temporal(type=name)
        config.override({name: settings})
        made = temporal_models.make(config)
        model = temporal_models.build(made, tiny_detector(kind), weight_decay=4e-4)
        for variable in model.trainable_variables:
            if any(part in variable.name for part in ("rpn-", "classes/kernel", "boxes/kernel")):
                variable.assign(tf.random.normal(variable.shape, stddev=0.1))
        return model

    return build


@pytest.fixture(scope="session")
def shared(build):
    """`build`, once for the same settings: for tests that leave a model as it is."""
    made = {}

    def shared(kind: str = "c4", **temporal):
        key = kind, json.dumps(temporal, sort_keys=True)
        if key not in made:
            made[key] = build(kind, **temporal)
        return made[key]

    return shared


@pytest.fixture(scope="session")
def frames():
    """Six frames of noise, and their shapes."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 255, (6, HEIGHT, WIDTH, 3)).astype(np.uint8)
    return images, np.tile(np.float32([[HEIGHT, WIDTH]]), (6, 1))


@pytest.fixture(scope="session")
def bank():
    """Memories of six keyframes: the second is empty, the third nearly."""
    rng = np.random.default_rng(4)
    size = np.array([5, 0, 1, 5, 3, 4])
    return {
        "context_features": rng.normal(size=(6, 5, ENTRY)).astype(np.float32),
        "context_valid": np.arange(5) < size[:, None],
    }
