"""S3D-style convolutions over a window: which frames they see, and what they leave alone."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.s3d import S3d
from context_rcnn.models.s3d import WindowConvolutions, windows_of
from context_rcnn.models.temporal import make
from tests.tolerance import assert_close

CLIPS = {"clip_valid": np.array([[True, True, False], [True, True, True]])}
THERE = [0, 1, 3, 4, 5]


def outputs_of(model, images, shapes, **options):
    outputs = model(images, shapes, **options)
    return np.concatenate([outputs[name] for name in ("class_logits", "box_offsets")], axis=-1)


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(0).normal(size=(6, 3, 4, 8)).astype(np.float32)


def make_port(maps, **options):
    """A port whose statistics all matter."""
    tf_keras.utils.set_random_seed(2)
    port = WindowConvolutions(**{"window": 3, "blocks": 2, **options})
    port({"4": tf.constant(maps)})
    for variable in port.variables:
        if "moving" in variable.name or "beta" in variable.name:
            variable.assign(tf.random.uniform(variable.shape, 0.2, 1.0))
    return port


def of(port, maps, valid, training=False):
    out = port({"4": tf.constant(maps)}, memory={"clip_valid": valid}, training=training)
    assert list(out) == ["4"]
    return out["4"].numpy()


@pytest.mark.parametrize("window", [1, 3, 5])
def test_windows_are_each_frame_between_its_neighbours(window):
    frames = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    got = windows_of(tf.constant(frames), window).numpy()
    there = windows_of(tf.ones([2, 4], tf.bool), window).numpy()
    for i in range(4):
        for j in range(window):
            k = i + j - window // 2
            inside = 0 <= k < 4
            np.testing.assert_array_equal(got[:, i, j], frames[:, k] if inside else 0.0)
            assert (there[:, i, j] == inside).all()


@pytest.mark.parametrize(
    "training, gating",
    [
        *((False, False), (True, True)),
        *(pytest.param(one, not one, marks=pytest.mark.slow) for one in (False, True)),
    ],
)
def test_a_frame_becomes_what_the_blocks_make_of_its_window(maps, gating, training):
    port = make_port(maps, gating=gating)
    valid = np.array([[True, True, False], [True, True, True]])
    got = of(port, maps, valid, training)
    port = make_port(maps, gating=gating)
    clips = maps.reshape(2, 3, 3, 4, 8)
    windows, there = np.zeros((6, 3, 3, 4, 8), np.float32), np.zeros((6, 3), bool)
    for n, (clip, i) in enumerate(np.ndindex(2, 3)):
        for j, k in enumerate((i - 1, i, i + 1)):
            if 0 <= k < 3 and valid[clip, i] and valid[clip, k]:
                windows[n, j], there[n, j] = clips[clip, k], True
    for block in port._blocks:
        windows = block(windows, there, training=training)
    expected = windows.numpy()[:, 1]
    assert_close(got[THERE], expected[THERE], 1e-4)
    # In the place of a frame that is not there stands the clip's middle one.
    np.testing.assert_array_equal(got[2], got[1])


@pytest.mark.parametrize(
    "training, garbage",
    [
        *((True, 1e6), (False, np.nan)),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((False, 1e6), (True, np.nan))),
    ],
)
def test_what_absent_frames_hold_changes_nothing(maps, garbage, training):
    valid = CLIPS["clip_valid"]
    junk = maps.copy()
    junk[2] = garbage
    ports = [make_port(maps, gating=True) for _ in range(2)]
    clean, dirty = (of(p, m, valid, training) for p, m in zip(ports, (maps, junk), strict=True))
    np.testing.assert_array_equal(clean, dirty)
    for a, b in zip(ports[0].variables, ports[1].variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_clip_without_frames_is_finite_and_moves_nothing(maps):
    port = make_port(maps)
    before = [v.numpy() for v in port.variables]
    assert np.isfinite(of(port, maps, np.zeros((2, 3), bool), training=True)).all()
    for a, b in zip(before, port.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_single_image_is_a_clip_of_one_frame(maps):
    port = make_port(maps)
    alone = port({"4": tf.constant(maps)})["4"].numpy()
    np.testing.assert_array_equal(of(port, maps, np.ones((6, 1), bool)), alone)
    # And of a longer clip of which nothing else is there.
    one = np.array([[False, True, False], [True, False, False]])
    assert_close(of(port, maps, one)[[1, 3]], alone[[1, 3]], 1e-4)


def test_a_frame_of_a_long_clip_is_the_keyframe_of_its_own_window(shared, frames):
    """What is learned on clips is what is evaluated on windows."""
    images, shapes = frames
    model = shared(s3d={"window": 3, "blocks": 2})
    clip = outputs_of(model, images, shapes, memory={"clip_valid": np.ones((1, 6), bool)})
    for i in (0, 2, 5):
        near = [k if 0 <= k < 6 else i for k in (i - 1, i, i + 1)]
        memory = {"clip_valid": np.array([[0 <= k < 6 for k in (i - 1, i, i + 1)]])}
        window = outputs_of(model, images[near], shapes[near], memory=memory)
        assert_close(window[1], clip[i])


def test_the_batch_changes_nothing(shared, frames):
    images, shapes = frames
    model = shared(s3d={"gating": True})
    both = outputs_of(model, images, shapes, memory=CLIPS)
    for i in (0, 1):
        part = slice(3 * i, 3 * i + 3)
        memory = {"clip_valid": CLIPS["clip_valid"][i : i + 1]}
        one = outputs_of(model, images[part], shapes[part], memory=memory)
        assert_close(one, both[part])


def test_gradients_reach_the_frames_of_the_window_alone(shared, frames):
    images, shapes = frames
    model = shared(s3d={"window": 3, "blocks": 2, "gating": True})
    pixels = tf.cast(images, tf.float32)
    memory = {"clip_valid": np.array([[True, True, True, False, True, True]])}
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        logits = model(pixels, shapes, memory=memory)["class_logits"]
        loss = tf.reduce_sum(logits[2] ** 2)
    gradients = tape.gradient(loss, pixels).numpy()
    assert np.isfinite(gradients).all()
    assert list(np.abs(gradients).max((1, 2, 3)) > 0) == [False, True, True, False, False, False]


@pytest.mark.parametrize("gating", [False, True])
def test_every_variable_learns(build, frames, gating):
    images, shapes = frames
    model = build(s3d={"gating": gating})
    with tf.GradientTape() as tape:
        outputs = model(images, shapes, memory=CLIPS, training=True)
        loss = sum(
            tf.reduce_sum(value**2)
            for value in (outputs["class_logits"], outputs["box_offsets"], *outputs["rpn"].values())
        )
    named = model.trainable_variables
    gradients = tape.gradient(loss, named)
    without = [
        v.name
        for v, g in zip(named, gradients, strict=True)
        if g is None or not np.isfinite(g).all() or not np.abs(g).max() > 0
    ]
    assert not without
    gates = [v.name for v in named if "gate" in v.name]
    assert len(gates) == (8 if gating else 0)  # kernel and bias, two a block


def test_its_kernels_decay(shared):
    model = shared(s3d={})
    penalised = len(model.losses)
    assert penalised - len(shared().losses) == 16  # eight convolutions a block


@pytest.mark.slow
def test_xla_computes_the_same(shared, frames):
    images, shapes = frames
    model = shared(s3d={"gating": True})
    memory = {name: tf.constant(value) for name, value in CLIPS.items()}
    compiled = tf.function(
        lambda i, s, m: model(i, s, memory=m)["class_logits"], jit_compile=True, autograph=False
    )
    got = compiled(tf.constant(images), tf.constant(shapes), memory)
    expected = model(images, shapes, memory=memory)["class_logits"]
    assert_close(got, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 4}, "task.temporal.s3d.window must be odd"),
        ({"blocks": 0}, "task.temporal.s3d.blocks must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_named(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(s3d=settings)


def test_a_pyramid_is_refused(build):
    with pytest.raises(ValueError, match="s3d needs task.model.backbone.kind c4.* got 'fpn'"):
        build("fpn", s3d={})


def test_the_window_of_the_settings_is_that_of_the_clips():
    assert make(configs.Temporal.with_settings("s3d", S3d(window=5))).window == 5
