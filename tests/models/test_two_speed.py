"""The two-speed detector: what comes from the strong one, when, and what of it learns."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.two_speed import TwoSpeed as Settings
from context_rcnn.layers.flow_net import half
from context_rcnn.models import temporal as temporal_models
from context_rcnn.models.memory_warps.boxes import move_boxes
from context_rcnn.models.memory_warps.stream import MemoryStream
from context_rcnn.models.streaming import Frame, Help
from tests.models.conftest import HEIGHT, WIDTH, tiny_detector
from tests.tolerance import assert_close, assert_detections_close

SHAPE = tf.constant([[float(HEIGHT), float(WIDTH)]])
WARPS = {"flow": {"width": 0.125, "levels": 4}, "training": {"frames": 2}, "clocks": [1, 2]}


def detector_settings(width=12):
    model = tiny_detector("rfcn")
    model.boxes.hidden, model.boxes.class_agnostic = [], True
    model.neck = configs.Neck(type="fgfa", width=width, dilation=2)
    return model


def make(fast=None, **more):
    settings = Settings()
    settings.override({"model": detector_settings().as_dict(), "memory": WARPS})
    settings.override(more)
    memory = temporal_models.make(configs.Temporal.with_settings("two_speed", settings))
    return memory, temporal_models.build(memory, fast or detector_settings())


@pytest.fixture(scope="module")
def built():
    tf_keras.utils.set_random_seed(2)
    memory, detector = make(every=2, delay=2)
    for variable in detector.variables:
        if any(part in variable.name for part in ("rpn-", "classes/", "boxes/")):
            variable.assign(tf.random.normal(variable.shape, stddev=0.1))
    return memory, detector


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(6).integers(0, 255, (6, HEIGHT, WIDTH, 3)).astype(np.uint8)


def frame_of(pixels, **more):
    there = tf.constant([True])
    return Frame(tf.constant(pixels[None]), SHAPE, tf.constant([7], tf.int64), there, **more)


def strong_states(memory, detector, video):
    """What the strong detector alone has of each frame, looking at every second one."""
    stream = MemoryStream(detector.map_memory.strong, memory.settings.memory)
    state, helps, flows, found = stream.initial_state(1), [], [], []
    for t, pixels in enumerate(video):
        step = stream.propagate if t % 2 else stream.step
        _, state = step(frame_of(pixels), state)
        maps = stream.current(state)
        helps.append(Help(maps, half(pixels[None]), tf.constant([True])))
        flows.append(state["flows"][:, 0])
        found.append(stream.scored(stream.see(stream.port.split(maps), SHAPE)))
    return helps, flows, found


def test_features_come_late_by_the_delay(built, video):
    memory, detector = built
    stream = memory.stream(detector)
    helps, _, _ = strong_states(memory, detector, video)
    state = stream.initial_state(1)
    for t, pixels in enumerate(video):
        found, state = stream.step(frame_of(pixels), state)
        expected = stream.detect_fast(frame_of(pixels), helps[t - 2] if t >= 2 else None)
        assert_detections_close({name: found[name] for name in expected}, expected)


def test_help_is_moved_and_averaged(built, video):
    _, detector = built
    port = detector.map_memory
    inner = port.strong.map_memory
    now, before = (half(video[t : t + 1]) for t in (3, 1))
    features, late = (tf.random.stateless_uniform([1, *inner.map_shape], [1, n]) for n in (1, 2))
    given = Help(late, before, tf.constant([True]))
    found = port.combine({"5": features}, now, given)["5"]
    expected = 0.5 * (features + inner.move(late, inner.flow(now, before)))
    assert_close(found, expected, 1e-5)
    alone = port.combine({"5": features}, now, given._replace(there=tf.constant([False])))["5"]
    np.testing.assert_array_equal(alone, features)


def test_boxes_come_late_and_are_moved(built, video):
    memory, detector = built
    settings = memory.settings.replace(by="boxes")
    stream = memory.with_settings(settings).stream(detector)
    _, flows, found = strong_states(memory, detector, video)
    state = stream.initial_state(1)
    for t, pixels in enumerate(video):
        result, state = stream.step(frame_of(pixels), state)
        seen = detector.look(frame_of(pixels).image, SHAPE, training=False)
        boxes, scores = stream.scored(seen)
        if t >= 2:
            late, late_scores = found[t - 2]
            moved = tf.reshape(late, [1, -1, 4])
            for s in (t - 1, t):
                moved = move_boxes(moved, flows[s], 16)
                moved = tf.clip_by_value(moved, 0.0, tf.tile(SHAPE, [1, 2])[:, None])
            boxes = tf.concat([boxes, tf.reshape(moved, late.shape)], axis=1)
            scores = tf.concat([scores, late_scores], axis=1)
        expected = detector.best(boxes, scores)
        assert_detections_close({name: result[name] for name in expected}, expected)


def test_a_clip_is_a_late_look_and_only_the_fast_one_learns(built, video):
    """The keyframe is frame 4; the strong detector has seen frames 2, 1 and 0."""
    memory, detector = built
    assert memory.training_frames(configs.Clip(), 0).offsets == (-4, -3, -2, 0)
    images = tf.constant(video[[0, 1, 2, 4]])
    clip = {"clip_valid": tf.ones([1, 4], tf.bool)}
    strong = detector.map_memory.strong
    variables = [*detector.backbone.trainable_variables, *strong.variables]
    count = len(detector.backbone.trainable_variables)

    def look():
        return detector.look(images, tf.tile(SHAPE, [4, 1]), clip, training=False)

    # By XLA: the gradients of convolutions on 8 channels abort in TensorFlow with two threads.
    @tf.function(jit_compile=True, autograph=False)
    def gradients_of_look():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(look().maps["5"] ** 2)
        return tape.gradient(loss, variables)

    seen, gradients = look(), gradients_of_look()
    assert seen.shapes.shape == [1, 2]
    assert any(g is not None for g in gradients[:count])
    assert all(g is None for g in gradients[count:]) and not strong.trainable_variables
    late = strong.look(
        images[:3], tf.tile(SHAPE, [3, 1]), {"clip_valid": clip["clip_valid"][:, :3]}
    )
    maps = tf.concat([late.maps["4"], late.maps["5"]], axis=-1)
    given = Help(maps, half(images[2:3]), tf.constant([True]))

    def port(maps, **_):
        return detector.map_memory.combine(maps, half(images[3:]), given)

    expected = detector.look(images[3:], SHAPE, training=False, port=port)
    assert_close(seen.maps["5"], expected.maps["5"], 1e-4)


def test_detectors_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="both detectors need maps of one size"):
        make(fast=detector_settings(width=16))
    smaller = detector_settings()
    smaller.image_size = [32, 64]
    with pytest.raises(ValueError, match="both detectors see the same images"):
        make(fast=smaller)
    for change, message in (
        ({"every": 0}, "every must be at least 1"),
        ({"by": "hope"}, "by must be one of features, boxes"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**change)
