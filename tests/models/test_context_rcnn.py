"""Context R-CNN: what its memories add, and what they leave alone."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import configs
from context_rcnn.configs.temporal.context_rcnn import ContextRcnn, LongTerm, ShortTerm
from context_rcnn.detectors.two_stage import Proposals
from context_rcnn.models.context_rcnn.memory import ContextMemory
from context_rcnn.models.temporal import make
from tests.tolerance import LOGITS, PIXELS, assert_close, assert_same_bits

ENTRY = 11
LONG = {}
SHORT = {"short_term": {"window": 3}, "long_term": {"enabled": False}}
BOTH = {"short_term": {"window": 3}}
RELEASED = {"variant": "released", "short_term": {"window": 1}}
GROUNDTRUTH = {
    "boxes": np.tile(np.float32([[10, 20, 40, 60]]), (6, 1, 1)),
    "classes": np.full((6, 1), 2),
    "valid": np.ones((6, 1), bool),
}
KINDS = [LONG, SHORT, BOTH, RELEASED, {**BOTH, "combine": "parallel"}]


def detections(outputs):
    return {k: v.numpy() for k, v in outputs.items() if k in ("class_logits", "box_offsets")}


def assert_same(found, expected, share=LOGITS):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert_close(found[name], value, share, err_msg=name)


def assert_differ(a, b):
    assert any(np.abs(a[name] - b[name]).max() > 1e-3 for name in a)


def plain_weights(context, plain):
    """Gives a single-frame detector the weights that it shares with a model that remembers."""
    memory = {id(v) for v in context.box_memory.variables}
    shared = [v for v in context.variables if id(v) not in memory]
    for target, source in zip(plain.variables, shared, strict=True):
        assert target.shape == source.shape
        target.assign(source)


@pytest.mark.parametrize(
    ("kind", "position", "variant"),
    [
        ("c4", "features", "paper"),
        ("c4", "crops", "released"),
        pytest.param("fpn", "features", "released", marks=pytest.mark.slow),
    ],
)
def test_without_memory_it_is_exactly_the_single_frame_detector(
    build, frames, bank, kind, position, variant
):
    images, shapes = frames[0][:2], frames[1][:2]
    model = build(kind, context_rcnn={"variant": variant, "position": position})
    plain = build(kind)
    plain_weights(model, plain)
    expected = detections(plain(images, shapes))
    assert_same_bits(detections(model(images, shapes)), expected)
    empty = {
        "context_features": bank["context_features"][:2],
        "context_valid": np.zeros((2, 5), bool),
    }
    assert_same_bits(detections(model(images, shapes, memory=empty)), expected)
    full = {name: value[:2] for name, value in bank.items()}
    remembering = detections(model(images, shapes, memory=full))
    assert_differ(remembering, expected)
    # The second frame has an empty memory.
    second = {name: value[1] for name, value in remembering.items()}
    assert_same(second, {k: v[1] for k, v in expected.items()}, 1e-4)


@pytest.mark.parametrize("settings", KINDS)
def test_the_batch_and_what_padding_holds_change_nothing(build, frames, bank, settings):
    images, shapes = frames
    model = build(context_rcnn=settings)
    clips = {name: value[:2] for name, value in bank.items()}
    clips["clip_valid"] = np.array([[True, True, False], [True, True, True]])
    both = detections(model(images, shapes, memory=clips))
    for i in (0, 1):
        part = slice(3 * i, 3 * i + 3)
        alone = {name: value[i : i + 1] for name, value in clips.items()}
        one = detections(model(images[part], shapes[part], memory=alone))
        assert_same(one, {name: value[part] for name, value in both.items()})
    junk = dict(clips)
    junk["context_features"] = np.where(
        clips["context_valid"][..., None], clips["context_features"], np.nan
    ).astype(np.float32)
    other = images.copy()
    other[2] = 255 - other[2]  # the frame that is not there
    got = detections(model(other, shapes, memory=junk))
    there = [0, 1, 3, 4, 5]
    assert_same({k: v[there] for k, v in got.items()}, {k: v[there] for k, v in both.items()}, 1e-4)


def test_a_frame_sees_its_neighbours_within_the_window_and_no_others(build, frames):
    images, shapes = frames
    model = build(context_rcnn={**SHORT, "temperature": 1.0})  # weights that are far from 0 and 1
    clip = {"clip_valid": np.ones((1, 6), bool)}
    before = detections(model(images, shapes, memory=clip))
    changed = images.copy()
    changed[3] = 255 - changed[3]
    after = detections(model(changed, shapes, memory=clip))
    for i in (0, 1, 5):
        assert_same({k: v[i] for k, v in after.items()}, {k: v[i] for k, v in before.items()}, 1e-4)
    for i in (2, 4):
        assert_differ({k: v[i] for k, v in after.items()}, {k: v[i] for k, v in before.items()})


def test_attention_within_the_frame_sees_no_other_frame(build, frames):
    images, shapes = frames
    model = build(context_rcnn={"short_term": {"window": 1}, "long_term": {"enabled": False}})
    alone = detections(model(images, shapes))
    clip = detections(model(images, shapes, memory={"clip_valid": np.ones((2, 3), bool)}))
    assert_same(clip, alone, 1e-4)
    plain = build()
    plain_weights(model, plain)
    assert_differ(alone, detections(plain(images, shapes)))


def test_in_training_it_remembers_the_best_proposals_whatever_their_labels(
    build, frames, monkeypatch
):
    images, shapes = frames
    model = build(context_rcnn={**SHORT, "short_term": {"window": 3, "boxes": 4}})
    best = model.look(images, shapes, training=True).proposals
    seen = {}
    attend = model.box_memory._attend_to_neighbours

    def spy(boxes, valid, remembered, *rest):
        seen["remembered"] = remembered
        return attend(boxes, valid, remembered, *rest)

    def crop(maps, boxes):
        seen["boxes"] = boxes
        return type(model.box_head).crop(model.box_head, maps, boxes)

    monkeypatch.setattr(model.box_memory, "_attend_to_neighbours", spy)
    monkeypatch.setattr(model.box_head, "crop", crop)
    clip = {"clip_valid": np.array([[True, True, False], [True, True, True]])}
    outputs = model(images, shapes, groundtruth=GROUNDTRUTH, memory=clip, training=True)
    assert outputs["class_logits"].shape[1] == 6  # those to learn from
    remembered = seen["remembered"].numpy().reshape(6, 10)
    assert not remembered[:, :6].any() and not remembered[2].any()
    there = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(remembered[there, 6:], best.valid.numpy()[there, :4])
    assert remembered[there, 6:].sum() > 10
    np.testing.assert_allclose(seen["boxes"][:, 6:], best.boxes[:, :4], rtol=0, atol=PIXELS)


def test_all_proposals_are_remembered_where_their_number_is_not_given(build, frames, monkeypatch):
    images, shapes = frames
    model = build(context_rcnn=SHORT)
    best = model.look(images, shapes, training=True).proposals
    seen = []
    attend = model.box_memory._attend_to_neighbours

    def spy(boxes, valid, remembered, *rest):
        seen.append(remembered.numpy())
        return attend(boxes, valid, remembered, *rest)

    monkeypatch.setattr(model.box_memory, "_attend_to_neighbours", spy)
    model(images, shapes, groundtruth=GROUNDTRUTH, training=True)
    np.testing.assert_array_equal(seen[0].sum(axis=1), best.valid.numpy().sum(axis=1))


def test_inference_remembers_as_many_proposals_as_training(build, frames):
    images, shapes = frames
    few = build(context_rcnn={**SHORT, "short_term": {"window": 3, "boxes": 4}})
    everything = build(context_rcnn=SHORT)
    looked = few.look(images, shapes, training=False)
    proposals = looked.proposals
    assert proposals.valid.numpy().sum(axis=1).min() > 4
    clips = {"clip_valid": np.ones((2, 3), bool)}
    found = few.features(looked, clips, training=False)
    everything(images, shapes)  # makes its weights
    few(images, shapes)
    for target, source in zip(everything.variables, few.variables, strict=True):
        target.assign(source)
    best = tf.tile(tf.range(proposals.boxes.shape[1])[None] < 4, [6, 1])
    by_hand = looked._replace(proposals=proposals._replace(remembered=best))
    expected = everything.features(by_hand, clips, training=False)
    assert_close(found, expected, 1e-4)
    of_all = everything.features(looked, clips, training=False)
    assert np.abs(found - of_all).max() > 1e-3


@pytest.mark.parametrize("combine", ["sequence", "parallel"])
@pytest.mark.parametrize("repeat_input", [False, True])
def test_short_and_long_term_meet_as_figure_3_shows(combine, repeat_input):
    """The port against the same blocks, put together by hand."""
    rng = np.random.default_rng(0)
    config = ContextRcnn(
        depth=8,
        combine=combine,
        repeat_input=repeat_input,
        variant="released" if repeat_input else "paper",
        short_term=ShortTerm(window=3),
        long_term=LongTerm(heads=2, layers=2),
    )
    port = ContextMemory(config)
    features = rng.random((4, 3, 2, 2, 5)).astype(np.float32)
    valid = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]], bool)
    proposals = Proposals(tf.zeros([4, 3, 4]), tf.zeros([4, 3]), tf.constant(valid))
    memory = {
        "clip_valid": np.array([[True, True], [True, False]]),
        "context_features": rng.normal(size=(2, 6, 7)).astype(np.float32),
        "context_valid": np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]], bool),
    }
    got = port(features, proposals=proposals, memory=memory).numpy()

    pooled = features.mean((2, 3)).reshape(2, 6, 5)
    here = (valid.reshape(2, 2, 3) & memory["clip_valid"][..., None]).reshape(2, 6)
    short = port.short_term(pooled, here, port.short_term.project(pooled, here))[0]
    asking = pooled
    if combine == "sequence":
        asking = (pooled + short) / 2 if repeat_input else pooled + short
    bank = port.long_term.project(memory["context_features"], memory["context_valid"])
    long = port.long_term(asking, here, bank)[0]
    if repeat_input:
        long = long + 2 * asking
    total = long if repeat_input and combine == "sequence" else short + long
    expected = features + tf.reshape(total, [4, 3, 1, 1, 5])
    assert_close(got, expected, 1e-5)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_projected_banks_give_the_same_and_grow_entry_by_entry(build, frames, bank, variant):
    images, shapes = frames
    model = build(context_rcnn={"variant": variant, "long_term": {"heads": 2, "layers": 2}})
    for variable in model.box_memory.variables:
        if "moving_" in variable.name or "beta" in variable.name:
            variable.assign(tf.random.uniform(variable.shape, 0.5, 1.5))
    plain = detections(model(images, shapes, memory=bank))
    features, valid = bank["context_features"], bank["context_valid"]
    whole = model.box_memory.project(features, valid)
    assert_same(detections(model(images, shapes, memory=whole)), plain, 1e-4)
    pieces = [
        model.box_memory.project(features[:, i : i + 1], valid[:, i : i + 1]) for i in range(5)
    ]
    grown = {
        name: tf.concat([piece[name] for piece in pieces], axis=1 if name == "context_valid" else 2)
        for name in whole
    }
    assert_same(detections(model(images, shapes, memory=grown)), plain, 1e-4)


@pytest.mark.parametrize("settings", KINDS)
def test_gradients_reach_what_learns_and_nothing_else(build, frames, bank, settings):
    images, shapes = frames
    model = build(context_rcnn=settings)
    features = tf.constant(bank["context_features"][:2])
    memory = {
        "context_features": features,
        "context_valid": bank["context_valid"][[0, 3]],
        "clip_valid": np.array([[True, True, False], [True, True, True]]),
    }
    pixels = tf.cast(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        outputs = model(pixels, shapes, memory=memory, training=True)
        loss = tf.reduce_sum(outputs["class_logits"][1] ** 2)  # of the second frame alone
    of_weights, of_pixels = tape.gradient(loss, [model.box_memory.trainable_variables, pixels])
    assert of_weights and all(g is not None for g in of_weights)
    named = zip(model.box_memory.trainable_variables, of_weights, strict=True)
    without = {v.name for v, g in named if not np.abs(g).max() > 0}
    # A bias of the keys shifts all logits of a softmax alike.
    assert all("key/dense/bias" in name or "released" in str(settings) for name in without), without
    reached = np.abs(of_pixels).max((1, 2, 3)) > 0
    # Batch statistics of the backbone join all frames in training; frozen ones do not.
    assert reached[1]
    model.trainable = False
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        outputs = model(pixels, shapes, memory=memory)
        loss = tf.reduce_sum(outputs["class_logits"][1] ** 2)
    reached = np.abs(tape.gradient(loss, pixels)).max((1, 2, 3)) > 0
    neighbours = make(configs.Temporal(type="context_rcnn")).window > 1 or settings in (
        SHORT,
        BOTH,
        KINDS[-1],
    )
    assert list(reached) == [neighbours, True, False, False, False, False]


@pytest.mark.slow  # that clips compile, tests/tpu holds; what a compiled step computes, the laws
def test_xla_computes_the_same(build, frames, bank):
    images, shapes = frames
    model = build(context_rcnn=BOTH)
    memory = {name: tf.constant(value[:2]) for name, value in bank.items()}
    memory["clip_valid"] = tf.constant([[True, True, False], [True, True, True]])
    plain = detections(model(images, shapes, memory=memory))
    compiled = tf.function(lambda i, s, m: model(i, s, memory=m), jit_compile=True, autograph=False)
    assert_same(detections(compiled(tf.constant(images), tf.constant(shapes), memory)), plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"short_term": {"window": 2}}, "short_term.window must be 0 .* or odd"),
        ({"short_term": {"boxes": -1}}, "short_term.boxes must be 0 .* or more, got -1"),
        ({"long_term": {"enabled": False}}, "attends to nothing"),
        ({"combine": "both"}, "combine must be one of sequence, parallel"),
        ({"position": "rpn"}, "position must be one of features, crops, pooled_crops"),
        ({"repeat_input": True}, "repeat_input belongs to the variant released"),
        ({"variant": "mine"}, "variant must be one of"),
        ({"long_term": {"entry_size": 0}}, "entry_size must be set"),
    ],
)
def test_settings_that_make_no_sense_are_named(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(context_rcnn=settings)


def test_an_unknown_temporal_model_is_named():
    with pytest.raises(ValueError, match="task.temporal.type must be one of none, context_rcnn"):
        make(configs.Temporal(type="memory"))
