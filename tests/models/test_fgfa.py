"""FGFA: windows, missing frames, flows put together, and what is counted."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.fgfa import Fgfa as Settings
from context_rcnn.layers.warp import compose, warp
from context_rcnn.models import temporal as temporal_models
from context_rcnn.models.streaming import Frame
from tests.models.conftest import HEIGHT, WIDTH, tiny_detector
from tests.tolerance import assert_close

SHAPE = tf.constant([[float(HEIGHT), float(WIDTH)]])


def build(**more):
    tf_keras.utils.set_random_seed(1)
    settings = Settings()
    settings.override({"flow": {"width": 0.125, "levels": 4}, "embedding": [8, 8, 8]})
    settings.override(more)
    memory = temporal_models.make(configs.Temporal.with_settings("fgfa", settings))
    model = tiny_detector("rfcn")
    model.boxes.hidden, model.boxes.class_agnostic = [], True
    model.neck = configs.Neck(type="fgfa", width=12, dilation=2)
    return memory, temporal_models.build(memory, model)


@pytest.fixture(scope="module")
def causal():
    return build(before=3, after=0)


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(6).integers(0, 255, (5, HEIGHT, WIDTH, 3)).astype(np.uint8)


def frame_of(pixels):
    there = tf.constant([True])
    return Frame(tf.constant(pixels[None]), SHAPE, tf.constant([7], tf.int64), there)


def by_hand(port, maps, images, key, others, flows):
    """The window's mean in NumPy: moved maps and embeddings, weighted by cosines."""
    embedded = [port.embed(part[None])[0].numpy() for part in maps]
    shown, marks = [maps[key].numpy()], [embedded[key]]
    for other in others:
        shown.append(warp(maps[other][None], flows[other])[0].numpy())
        marks.append(warp(tf.constant(embedded[other][None]), flows[other])[0].numpy())
    unit = [m / np.maximum(np.linalg.norm(m, axis=-1, keepdims=True), 1e-9) for m in marks]
    logits = np.stack([(u * unit[0]).sum(-1) for u in unit])
    shares = np.exp(logits) / np.exp(logits).sum(0)
    return (shares[..., None] * np.stack(shown)).sum(0)


@pytest.mark.parametrize("accumulates", [False, True])
def test_a_window_is_moved_and_weighted(causal, video, accumulates, monkeypatch):
    memory, detector = causal
    settings = memory.settings.replace(accumulate_flow=accumulates)
    stream = memory.with_settings(settings).stream(detector)
    port, seen = detector.map_memory, {}
    original = stream.see
    monkeypatch.setattr(
        stream, "see", lambda maps, shapes: seen.update(maps) or original(maps, shapes)
    )
    state, maps, halves = stream.initial_state(1), [], []
    for t, pixels in enumerate(video):
        _, state = stream.step(frame_of(pixels), state)
        maps.append(state["maps"][0, -1])
        halves.append(state["images"][:, -1])
        others = range(max(t - 3, 0), t)
        flows = {s: port.flow(halves[t], halves[s]) for s in others}
        if accumulates:
            for s in reversed(others):
                flows[s] = port.flow(halves[s + 1], halves[s])
                for between in range(s + 2, t + 1):
                    step = port.flow(halves[between], halves[between - 1])
                    flows[s] = compose(step, flows[s])
        expected = by_hand(port, maps, halves, t, others, flows)
        assert_close(seen["5"][0], expected, 1e-3)


def test_one_flow_is_computed_a_frame_where_flows_are_put_together(causal, video, monkeypatch):
    memory, detector = causal
    port, counts = detector.map_memory, {"flow": 0, "move": 0}
    for name in counts:
        call = getattr(port, name)

        def counted(first, *rest, name=name, call=call):
            counts[name] += int(first.shape[0])
            return call(first, *rest)

        monkeypatch.setattr(port, name, counted)
    for accumulates, expected in ((False, {"flow": 3, "move": 3}), (True, {"flow": 1, "move": 3})):
        settings = memory.settings.replace(accumulate_flow=accumulates)
        stream = memory.with_settings(settings).stream(detector)
        counts.update(flow=0, move=0)
        stream.step(frame_of(video[0]), stream.initial_state(1))
        assert counts == expected


def test_a_clip_without_other_frames_is_its_keyframe(causal, video):
    _, detector = causal
    port, images = detector.map_memory, tf.constant(video[:3])
    maps = {"5": tf.random.stateless_uniform([3, *port.map_shape], [1, 2])}
    for there, same in (([True, False, False], True), ([True, True, False], False)):
        found = port(maps, images=images, memory={"clip_valid": tf.constant([there])})["5"]
        assert found.shape[0] == 1
        assert (np.abs(found[0] - maps["5"][0]).max() < 1e-5) == same
    # With another frame, the keyframe's own map takes no part in training.
    changed = {"5": tf.concat([maps["5"][:1] * 2.0, maps["5"][1:]], axis=0)}
    clip = {"clip_valid": tf.constant([[True, True, False]])}
    pair = [port(part, images=images, memory=clip)["5"] for part in (maps, changed)]
    assert_close(*pair, 1e-4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"before": 0, "after": 0}, "there is nothing to average"),
        ({"accumulate_flow": True}, "accumulate_flow needs after 0"),
        ({"border": "mirror"}, "border must be one of zero, clamp, got 'mirror'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)
