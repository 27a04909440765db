"""Online is offline with the past alone; which entries a full memory keeps."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.export.extractor import Extractor
from context_rcnn.memory_bank import encoding
from context_rcnn.memory_bank.window import Timeline, WindowOptions, window
from context_rcnn.models.context_rcnn.stream import ContextStream
from context_rcnn.models.streaming import Frame
from tests.tolerance import PIXELS, SCORES

DEPTH = 64  # of the tiny extractor's features
LONG = {"long_term": {"entry_size": DEPTH + encoding.SIZE}}
MINUTE, START = 60, 1_500_000_000
SECONDS = START + np.cumsum([0, 1, 1, 40 * 86400, 1, MINUTE])  # a long pause before the fourth


@pytest.fixture(scope="module")
def extractor(build):
    return Extractor(
        build(),
        image_size=(64, 128),
        keep_aspect_ratio=False,
        source="detections",
        class_names={1: "a", 2: "b", 3: "c"},
        max_boxes=2,
    )


@pytest.fixture(scope="module")
def models(build):
    return {
        "long": build(context_rcnn=LONG),
        "short": build(context_rcnn={"short_term": {"window": 3}, "long_term": {"enabled": False}}),
        "both": build(
            context_rcnn={**LONG, "short_term": {"window": 3, "boxes": 5}, "variant": "released"}
        ),
    }


@pytest.fixture(scope="module")
def stream(models, extractor):
    """`stream("long", capacity=5)`, made once for the same arguments."""
    made = {}

    def extract(frame):
        return extractor.extract_from_images(frame.image, frame.shape)

    def make(kind, **options):
        key = (kind, *sorted(options.items()))
        if key not in made:
            made[key] = ContextStream(models[kind], extract, **{"capacity": 8, **options})
            made[key].compiled = tf.function(made[key].step, autograph=False)
        return made[key]

    return make


def run(stream, images, seconds=SECONDS, cameras=None, state=None, valid=None):
    """Runs images [frames, batch, ...] one frame after the other."""
    images = images if images.ndim == 5 else images[:, None]
    batch = images.shape[1]
    state = stream.initial_state(batch) if state is None else state
    outputs = []
    for t, frame in enumerate(images):
        out, state = stream.compiled(
            Frame(
                tf.constant(frame),
                tf.tile(tf.constant([[64.0, 128.0]]), [batch, 1]),
                tf.constant([7] * batch if cameras is None else cameras[t], tf.int64),
                tf.constant([True] * batch if valid is None else valid[t]),
                seconds=tf.constant(np.broadcast_to(seconds[t], [batch]), tf.int64),
            ),
            state,
        )
        outputs.append({name: value.numpy() for name, value in out.items()})
    return outputs, state


@pytest.mark.parametrize(
    ("kind", "top_k", "capacity", "options"),
    [
        ("both", 2, 8, {"horizon": "day"}),
        ("long", 2, 12, {"horizon": "minute", "calendar": True}),
        *(
            pytest.param(*settings, marks=pytest.mark.slow)
            for settings in (
                ("long", 1, 3, {"horizon": "any", "include_keyframe": False}),
                ("long", 1, 8, {"horizon": "day"}),
                ("long", 1, 8, {"horizon": "minute", "include_keyframe": False}),
                ("long", 2, 4, {"horizon": "any"}),
            )
        ),
    ],
)
def test_each_frame_is_detected_as_with_a_bank_of_its_past(
    stream, models, extractor, frames, kind, top_k, capacity, options
):
    images, shapes = frames
    one = stream(kind, top_k=top_k, capacity=capacity, **options)
    online, state = run(one, images)
    found = {k: v.numpy() for k, v in extractor.extract_from_images(images, shapes).items()}
    assert (found["scores"][:, :top_k] >= 0).all()  # so that all are kept
    when = np.repeat(SECONDS, top_k)
    boxes, features = (
        found[name][:, :top_k].reshape(6 * top_k, -1) for name in ("boxes", "features")
    )
    bank = np.concatenate([features, encoding.encode(boxes, when, when > 0)], axis=1)
    names = np.array([f"frame {t}" for t in range(6)], object)
    timeline = Timeline(when, when > 0, np.repeat(names, top_k))
    for t in range(6):
        past = WindowOptions(causal=True, policy="newest", **options)
        seen = window(timeline, int(SECONDS[t]), names[t], past, capacity)
        memory = {
            "context_features": bank[None].astype(np.float32),
            "context_valid": np.isin(np.arange(6 * top_k), seen)[None],
        }
        if kind == "long":
            offline = models[kind](images[t : t + 1], shapes[:1], memory=memory)
        else:
            # The clip of the frame and the two before it, as far as they are of the same burst.
            clip = [j for j in range(max(0, t - 2), t + 1) if SECONDS[t] - SECONDS[j] < 3600]
            offline = in_clip(models[kind], images[clip], memory)
        for name, value in detections(online[t]).items():
            apart = PIXELS if "boxes" in name else SCORES
            np.testing.assert_allclose(value, offline[name][-1:], rtol=0, atol=apart, err_msg=name)
    assert int(np.sum(state["entry_valid"])) == min(len(bank), capacity)
    assert int(state["frame"][0]) == 6


def detections(outputs):
    """Without the number and the size of the frame."""
    return {name: value for name, value in outputs.items() if "detection" in name}


def in_clip(model, images, memory):
    """Detections of the last frame, with the others as `recent` memory worked out by hand."""
    from context_rcnn.detectors.heads import pool_boxes

    shapes = tf.tile(tf.constant([[64.0, 128.0]]), [len(images), 1])
    looked = model.look(images, shapes, training=False)
    proposals = looked.proposals
    crops = model.box_head.crop(looked.maps, proposals.boxes)
    pooled = pool_boxes(model.box_head(crops, training=False))
    if len(images) > 1:
        memory = memory | {
            "recent_features": tf.reshape(pooled[:-1, :5], [1, -1, pooled.shape[-1]]),
            "recent_valid": tf.reshape(proposals.valid[:-1, :5], [1, -1]),
        }
    return model(images[-1:], shapes[:1], memory=memory)


@pytest.mark.parametrize("eviction", ["oldest", "similar"])
def test_a_full_memory_stays_full(stream, frames, eviction):
    one = stream("long", capacity=2, eviction=eviction)
    _, state = run(one, np.tile(frames[0], (2, 1, 1, 1)), START + np.arange(12))
    assert np.sum(state["entry_valid"]) == 2
    if eviction == "oldest":
        assert sorted(state["entry_frame"][0].numpy()) == [10, 11]


def test_the_most_similar_entry_makes_room(stream, frames):
    one = stream("long", capacity=2, eviction="similar")
    a, b = frames[0][0], frames[0][1]
    _, state = run(one, np.stack([a, b, a, a, a]), START + np.arange(5))
    assert 1 in state["entry_frame"][0].numpy()  # b stays, a takes the place of a
    _, state = run(stream("long", capacity=2), np.stack([a, b, a, a, a]), START + np.arange(5))
    assert 1 not in state["entry_frame"][0].numpy()


def test_undated_frames_see_all_and_are_seen(stream, frames):
    one = stream("long", horizon="minute")
    seconds = np.array([START, -1, START + 10_000, START + 10_001])
    _, state = run(one, frames[0][:4], seconds)
    seen = one._seen(tf.constant([START + 10_001], tf.int64), state)["context_valid"].numpy()
    assert list(seen[0, :4]) == [False, True, True, True]
    assert one._seen(tf.constant([-1], tf.int64), state)["context_valid"].numpy()[0, :4].all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"eviction": "random"}, "eviction must be one of oldest, similar"),
        ({"horizon": "year"}, "horizon must be one of"),
        ({"top_k": 9}, "capacity 8 must hold the top_k 9"),
        ({"variant": "own"}, "variant 'own'"),
    ],
)
def test_options_that_make_no_sense_are_named(models, extractor, wrong, message):
    with pytest.raises(ValueError, match=message):
        ContextStream(models["long"], extractor.extract_from_images, **{"capacity": 8, **wrong})
    with pytest.raises(ValueError, match="needs an extractor"):
        ContextStream(models["long"], None)
