"""Frames of a video that come with proposals of another detector."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.models import temporal
from tests.models.conftest import HEIGHT, WIDTH
from tests.models.test_laws import frames_of, make
from tests.tolerance import assert_detections_close

PARTS = ("backbone", "neck", "map_memory", "box_head", "box_predictor")


@pytest.mark.parametrize("directions", ["both", pytest.param("forward", marks=pytest.mark.slow)])
def test_an_stmn_detects_in_given_proposals_as_in_those_of_its_first_stage(directions):
    """The first stage sees no memory, so what it proposes of a frame can be given."""
    tf_keras.utils.set_random_seed(1)
    memory, model = make("stmn", directions=directions, merge="centre")
    whole = temporal.build(memory, model)
    model.proposals.source = "given"
    second = temporal.build(memory, model)
    for part in PARTS:
        getattr(second, part).set_weights(getattr(whole, part).get_weights())
    own, given = memory.stream(whole), memory.stream(second)
    assert given.inputs == (*own.inputs, "proposals")
    video = np.random.default_rng(5).integers(0, 255, (4, 1, HEIGHT, WIDTH, 3)).astype(np.uint8)
    states = [stream.initial_state(1) for stream in (own, given)]
    step, step_given = (tf.function(s.step, autograph=False) for s in (own, given))
    found = 0
    for frame in frames_of(own, video, (7,)):
        expected, states[0] = step(frame, states[0])
        proposals = whole.look(frame.image, frame.shape).proposals
        outputs, states[1] = step_given(frame._replace(proposals=proposals), states[1])
        assert_detections_close(
            {name: value.numpy() for name, value in outputs.items()},
            {name: value.numpy() for name, value in expected.items()},
        )
        found += int(outputs["num_detections"][0])
    assert found
