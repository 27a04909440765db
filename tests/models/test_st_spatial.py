"""ST Spatial: the average of crops in one place, written out; and whom it listens to."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import configs
from context_rcnn.configs.temporal.st_spatial import StSpatial
from context_rcnn.models.st_spatial import average_over_window
from context_rcnn.models.temporal import make
from tests.tolerance import FLOAT, assert_close

CLIPS = {"clip_valid": np.array([[True, True, False], [True, True, True]])}
THERE = [0, 1, 3, 4, 5]


def outputs_of(model, images, shapes, **options):
    outputs = model(images, shapes, **options)
    return np.concatenate([outputs[name] for name in ("class_logits", "box_offsets")], axis=-1)


def np_weights(valid, window, decay):
    """Weights [clips, keyframes, frames] of one frame for another."""
    clips, frames = valid.shape
    weights = np.zeros((clips, frames, frames))
    for clip in range(clips):
        for i in range(frames):
            for k in range(frames):
                if valid[clip, k] and abs(i - k) <= window // 2:
                    weights[clip, i, k] = decay ** abs(i - k)
            if valid[clip, i]:
                weights[clip, i] /= weights[clip, i].sum()
    return weights


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_frames_are_averaged_by_their_distance(window, decay):
    rng = np.random.default_rng(0)
    valid = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]], bool)
    maps = rng.normal(size=(3, 4, 2, 3, 5)).astype(np.float32)
    maps[~valid] = np.nan
    flat = maps.reshape(12, 2, 3, 5)
    got = average_over_window(flat, tf.constant(valid), window=window, decay=decay)
    weights = np_weights(valid, window, decay)
    expected = np.einsum("ikf,ifhwc->ikhwc", weights, np.nan_to_num(maps))
    np.testing.assert_allclose(
        got.numpy().reshape(maps.shape)[valid], expected[valid], rtol=FLOAT, atol=FLOAT
    )
    # What is not there stays as it is.
    np.testing.assert_array_equal(got.numpy().reshape(maps.shape)[~valid], maps[~valid])


@pytest.mark.parametrize("kind", ["c4", "fpn"])
def test_it_is_the_average_of_crops_at_the_keyframes_boxes(shared, frames, kind):
    """The paper's words, taken literally: crop every frame at the boxes of the keyframe."""
    images, shapes = frames
    model = shared(kind, st_spatial={"window": 3, "decay": 0.25})
    looked = model.look(images, shapes)
    maps, proposals = looked.maps, looked.proposals
    got = model.features(looked, CLIPS)
    weights = np_weights(CLIPS["clip_valid"], 3, 0.25)
    for i in THERE:
        clip, frame = divmod(i, 3)
        crops = [
            model.box_head._align(
                {level: value[3 * clip + k : 3 * clip + k + 1] for level, value in maps.items()},
                proposals.boxes[i : i + 1],
            )
            for k in range(3)
        ]
        crop = sum(w * c for w, c in zip(weights[clip, frame], crops, strict=True))
        if kind == "c4":
            crop = model.box_head._pool(crop[0])[None]
        expected = model.box_head(crop)
        assert_close(got[i : i + 1], expected)
    # And it is not what a single frame would give.
    assert (
        np.abs(got[1] - model.box_head(model.box_head.crop(maps, proposals.boxes))[1]).max() > 0.01
    )


def test_where_there_is_nothing_to_average_it_is_exactly_the_single_frame_detector(build, frames):
    images, shapes = frames
    model, plain = build(st_spatial={}), build()
    for target, source in zip(plain.variables, model.variables, strict=True):
        target.assign(source)
    expected = outputs_of(plain, images, shapes)
    one = {"clip_valid": np.ones((6, 1), bool)}
    for memory in (None, {}, one):
        np.testing.assert_array_equal(outputs_of(model, images, shapes, memory=memory), expected)
    assert np.abs(outputs_of(model, images, shapes, memory=CLIPS) - expected)[THERE].max() > 0.01


def test_a_scene_that_does_not_change_is_seen_as_by_a_single_frame(shared, frames):
    images, shapes = np.repeat(frames[0][:1], 6, axis=0), frames[1]
    model = shared(st_spatial={})
    assert_close(outputs_of(model, images, shapes, memory=CLIPS), outputs_of(model, images, shapes))


def test_the_batch_and_absent_frames_change_nothing(shared, frames):
    images, shapes = frames
    model = shared(st_spatial={})
    both = outputs_of(model, images, shapes, memory=CLIPS)
    for i in (0, 1):
        part = slice(3 * i, 3 * i + 3)
        alone = {"clip_valid": CLIPS["clip_valid"][i : i + 1]}
        one = outputs_of(model, images[part], shapes[part], memory=alone)
        assert_close(one, both[part])
    other = images.copy()
    other[2] = 255 - other[2]
    got = outputs_of(model, other, shapes, memory=CLIPS)
    assert_close(got[THERE], both[THERE])


def test_a_frame_of_a_long_clip_is_the_keyframe_of_its_own_window(shared, frames):
    """What is learned on clips is what is evaluated on windows."""
    images, shapes = frames
    model = shared(st_spatial={})
    clip = outputs_of(model, images, shapes, memory={"clip_valid": np.ones((1, 6), bool)})
    for i in (0, 2, 5):
        near = [k if 0 <= k < 6 else i for k in (i - 1, i, i + 1)]
        valid = [[0 <= k < 6 for k in (i - 1, i, i + 1)]]
        memory = {"clip_valid": np.array(valid)}
        window = outputs_of(model, images[near], shapes[near], memory=memory)
        assert_close(window[1], clip[i])


def test_gradients_reach_the_frames_of_the_window_alone(shared, frames):
    images, shapes = frames
    model = shared(st_spatial={})
    pixels = tf.cast(images, tf.float32)
    memory = {"clip_valid": np.array([[True, True, True, False, True, True]])}
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        logits = model(pixels, shapes, memory=memory)["class_logits"]
        loss = tf.reduce_sum(logits[2] ** 2)
    gradients = tape.gradient(loss, pixels).numpy()
    assert np.isfinite(gradients).all()
    assert list(np.abs(gradients).max((1, 2, 3)) > 0) == [False, True, True, False, False, False]


def test_every_variable_learns(build, frames):
    images, shapes = frames
    model = build(st_spatial={})
    with tf.GradientTape() as tape:
        outputs = model(images, shapes, memory=CLIPS, training=True)
        loss = sum(
            tf.reduce_sum(value**2)
            for value in (outputs["class_logits"], outputs["box_offsets"], *outputs["rpn"].values())
        )
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)


def test_xla_computes_the_same(shared, frames):
    images, shapes = frames
    model = shared(st_spatial={})
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
        ({"window": 2}, "task.temporal.st_spatial.window must be odd"),
        ({"window": -1}, "task.temporal.st_spatial.window must be odd"),
        ({"decay": 1.5}, r"task.temporal.st_spatial.decay must lie in 0..1, got 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_named(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(st_spatial=settings)


def test_the_window_of_the_settings_is_that_of_the_clips():
    assert make(configs.Temporal(type="st_spatial")).window == 3
    five = configs.Temporal.with_settings("st_spatial", StSpatial(window=5))
    assert make(five).window == 5
    assert make(configs.Temporal()).window == 1
    with pytest.raises(ValueError, match="task.temporal.type must be one of none, context_rcnn"):
        make(configs.Temporal(type="stspatial"))
