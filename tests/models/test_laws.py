"""Laws that hold for every memory there is, the recipe of CONTRIBUTING.md among them.

A memory that is registered without tiny settings here fails, so that none is left out.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal import registered
from context_rcnn.models import temporal
from context_rcnn.models.streaming import NO_FRAME, Frame
from tests import recipe
from tests.models.conftest import ENTRY, HEIGHT, WIDTH, tiny_detector
from tests.tolerance import assert_close, assert_detections_close, assert_same_bits

recipe.register()

# Of each memory: the detector's kind, its settings, and whether with an empty memory it is exactly
# the single-frame detector of the same weights.
MEGA = {
    "depth": 16,
    "heads": 2,
    "local_modules": 2,
    "local_frames": 3,
    "memory_frames": 2,
    "global_frames": 2,
    "reference_boxes": 5,
    "kept_boxes": 3,
}
STMN = {"channels": 4, "reach": 1, "window": 3, "stride": 2, "pooled_boxes": 12}
WARPS = {
    "flow": {"width": 0.125, "levels": 4},
    "channels": [4, 4],
    "embedding": [8, 8, 8],
    "training": {"frames": 3},
}
FGFA = {"before": 2, "after": 1, "flow": WARPS["flow"], "embedding": [8, 8, 8]}
TWO_SPEED = {
    "model": tiny_detector("c4").as_dict(),
    "memory": WARPS,
    "every": 2,
    "delay": 2,
}
TINY = {
    "none": ("c4", {}, True),
    "context_rcnn": (
        "c4",
        {"depth": 16, "initial_output": 1.0, "long_term": {"entry_size": ENTRY}},
        True,
    ),
    "st_spatial": ("c4", {"window": 3}, True),
    "s3d": ("c4", {"window": 3, "blocks": 1}, False),
    "mega": ("dc5", MEGA, False),
    "stmn": ("dc5", STMN, False),
    "memory_warps": ("c4", WARPS, True),
    "fgfa": ("c4", FGFA, True),
    "two_speed": ("c4", TWO_SPEED, True),
    "last_maps": ("c4", {"frames": 3}, True),
}
LENGTH = 5  # of the video


# Of some memories other bases than the tiny one, where they are alike as well.
BASES = [("context_rcnn", "dc5"), ("context_rcnn", "vgg16"), ("last_maps", "rfcn")]


def make(name, base=None, **more):
    kind, settings, _ = TINY[name]
    kind = base or kind
    chosen = configs.Temporal(type=name)
    chosen.override({name: {**settings, **more}})
    model = tiny_detector(kind)
    model.boxes.hidden = [16] if kind in ("dc5", "vgg16") else []
    if kind == "rfcn":  # with a single map, which has both halves
        model.neck = configs.Neck(type="fgfa", width=8, dilation=2)
    if name == "stmn":
        model.neck = configs.Neck(type="stmn", channels=6, width=8, dilation=2)
    return temporal.make(chosen, configs.Memory(max_entries=6)), model


@pytest.fixture(scope="module")
def built():
    """Each memory and its detector, built once."""
    made = {}

    def build(name, **more):
        key = name, json.dumps(more, sort_keys=True)
        if key not in made:
            tf_keras.utils.set_random_seed(1)
            memory, model = make(name, **more)
            detector = temporal.build(memory, model)
            for variable in detector.trainable_variables:
                if any(part in variable.name for part in ("rpn-", "classes/", "boxes/kernel")):
                    variable.assign(tf.random.normal(variable.shape, stddev=0.1))
            made[key] = memory, detector
        return made[key]

    return build


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(5).integers(0, 255, (LENGTH, HEIGHT, WIDTH, 3)).astype(np.uint8)


def extract(frame):
    """Stands for the frozen extractor: two boxes of every frame, as its pixels are."""
    rows = tf.shape(frame.image)[0]
    mean = tf.reduce_mean(tf.cast(frame.image, tf.float32), axis=[1, 2, 3])[:, None, None] / 255.0
    features = mean * tf.range(1.0, ENTRY - 8)[None, None]
    return {
        "features": tf.tile(features, [1, 2, 1]),
        "boxes": tf.tile(tf.constant([[[0.1, 0.1, 0.6, 0.5], [0.3, 0.4, 0.9, 0.8]]]), [rows, 1, 1]),
        "scores": tf.tile(tf.constant([[0.9, 0.4]]), [rows, 1]),
    }


NAMES = sorted(registered())
# Streams by a name of their own: the memory, and settings besides the tiny ones.
STREAMS = {
    name: (name, {})
    for name in NAMES
    if type(make(name)[0]).stream is not temporal.TemporalModel.stream
}
# Of the memories with several mechanisms the others too.
STREAMS["context_rcnn, both"] = (
    "context_rcnn",
    {"variant": "released", "short_term": {"window": 3, "boxes": 5}},
)
STREAMS["stmn, centre"] = ("stmn", {"merge": "centre", "variant": "released", "box_rounds": 2})
STREAMS["stmn, forward"] = ("stmn", {"directions": "forward"})
STREAMS["last_maps, on R-FCN"] = ("last_maps", {"base": "rfcn"})
STREAMS["fgfa, causal"] = ("fgfa", {"after": 0, "accumulate_flow": True})
STREAMS["two_speed, boxes"] = ("two_speed", {"by": "boxes", "delay": 1})
STREAMS["memory_warps, clocks"] = (
    "memory_warps",
    {"clocks": [1, 2, 3], "schedule": "interleaved", "without_evidence": {"gap": 2}},
)
STREAMS["memory_warps, foretold"] = (
    "memory_warps",
    {
        "clocks": [1, 2],
        "aggregation": "weights",
        "without_evidence": {"gap": 1, "by": "anticipation"},
    },
)
STREAMS["memory_warps, halves"] = (
    "memory_warps",
    {"aggregation": "adascan", "without_evidence": {"every": 2, "halves": True}},
)
STREAMS["mega, online"] = ("mega", {"variant": "released", "online": True})


def of_all_streams(slow):
    """Of each stream; what another one of the same memory nearly holds is among the slow tests."""
    marks = {True: [pytest.mark.slow], False: []}
    kinds = [pytest.param(kind, marks=marks[kind in slow]) for kind in STREAMS]
    return pytest.mark.parametrize("kind", kinds)


of_streams = of_all_streams(
    slow={
        *("stmn, centre", "stmn, forward", "fgfa, causal"),
        *("memory_warps, halves", "memory_warps, clocks", "memory_warps, foretold"),
        *("last_maps, on R-FCN", "two_speed, boxes"),
    }
)


@pytest.fixture(scope="module")
def streams(built):
    """The stream of each memory that has one, and its compiled step."""
    made = {}

    def stream(kind):
        if kind not in made:
            name, more = STREAMS[kind]
            memory, detector = built(name, **more)
            one = memory.stream(detector, extract)
            made[kind] = one, tf.function(one.step, autograph=False)
        return made[kind]

    return stream


def frames_of(stream, images, names, seconds=1_500_000_000):
    """Frames [time, rows] of videos side by side, and steps without one at their ends."""
    rows = images.shape[1]
    for t in range(len(images) + stream.latency):
        there = t < len(images)
        image = tf.constant(images[min(t, len(images) - 1)])
        shape = tf.tile(tf.constant([[float(HEIGHT), float(WIDTH)]]), [rows, 1])
        row, valid = tf.constant(names, tf.int64), tf.fill([rows], there)
        frame = Frame(image, shape, row, valid)
        if "ended" in stream.inputs:
            frame = frame._replace(ended=~valid)
        if "seconds" in stream.inputs:
            frame = frame._replace(seconds=tf.fill([rows], tf.constant(seconds + t, tf.int64)))
        if "elsewhere" in stream.inputs:
            frame = frame._replace(elsewhere=Frame(image[:, ::-1], shape, row, valid))
        yield frame


def run(streams, images, names=(7,), state=None, steps=slice(None), between=lambda state: state):
    """Detections step by step as arrays, and the last state."""
    stream, step = streams
    images = images[:, None] if images.ndim == 4 else images
    state = stream.initial_state(len(names)) if state is None else state
    found = []
    for frame in list(frames_of(stream, images, names))[steps]:
        outputs, state = step(frame, between(state))
        found.append({name: value.numpy() for name, value in outputs.items()})
    return found, state


def assert_same_steps(found, expected, same=assert_same_bits):
    for one, other in zip(found, expected, strict=True):
        same(one, other)


def test_every_memory_is_held_to_the_laws():
    assert set(TINY) == set(NAMES)


@pytest.mark.parametrize(
    "name, base", [(name, None) for name in NAMES if TINY[name][2]] + BASES, ids=str
)
def test_an_empty_memory_is_the_single_frame_detector(built, video, name, base):
    memory, detector = built(name, base=base)
    own = {id(v) for part in (detector.map_memory, detector.box_memory) for v in part.variables}
    weights = [v for v in detector.variables if id(v) not in own]
    still = built("none", base=base)[1]
    for target, source in zip(still.variables, weights, strict=True):
        target.assign(source)
    shapes = tf.tile(tf.constant([[float(HEIGHT), float(WIDTH)]]), [2, 1])
    empty = {
        part: tf.zeros([2, *(size or 3 for size in spec.shape[1:])], spec.dtype)
        for part, spec in memory.memory_spec(1).items()
    }
    empty["clip_valid"] = tf.ones([2, 1], tf.bool)
    for given in (None, empty):
        found = detector(video[:2], shapes, memory=given)
        expected = still(video[:2], shapes)
        for part in ("class_logits", "box_offsets"):
            assert_close(found[part], expected[part], err_msg=part)


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_told_by_its_names(built, name):
    """Every part has a first axis of clips, and shapes that are known but for entries."""
    for frames in (1, 3):
        spec = built(name)[0].memory_spec(frames)
        assert spec["clip_valid"].shape.as_list() == [None, frames]
        assert all(part.shape[0] is None for part in spec.values())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_evaluated_by_a_window_or_by_a_stream(name):
    memory, _ = make(name)
    window = memory.evaluation_window(configs.Clip())
    assert window is None or window.keyframe in range(window.frames)
    assert window is not None or name in STREAMS


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_never_written_to(built, name):
    memory, model = make(name)
    before = memory.settings.as_dict()
    bound = memory.bound_to(temporal.BankFacts("bank", ENTRY, "abc", 2))
    bound.stream(built(name)[1], extract)
    assert memory.settings.as_dict() == before


@of_streams
def test_later_frames_do_not_change_earlier_detections(streams, video, kind):
    found, _ = run(streams(kind), video)
    later = video.copy()
    later[3:] = 255 - later[3:]
    changed, _ = run(streams(kind), later)
    assert_same_steps(found[:3], changed[:3])
    # And what was detected in the changed frames is of them.
    assert any(
        np.abs(a["detection_scores"] - b["detection_scores"]).max() > 1e-5
        for a, b in zip(found[3:], changed[3:], strict=True)
    )
    numbers = [int(step["frame"][0]) for step in found]
    latency = streams(kind)[0].latency
    assert numbers == [NO_FRAME] * latency + list(range(LENGTH))


@of_streams
def test_the_state_never_grows(streams, video, kind):
    stream, _ = streams(kind)
    fresh = stream.initial_state(1)
    _, state = run(streams(kind), video)
    assert {k: (v.shape, v.dtype) for k, v in state.items()} == {
        k: (v.shape, v.dtype) for k, v in fresh.items()
    }


@of_streams
def test_a_run_in_pieces_is_the_whole_run(streams, video, kind, tmp_path):
    """The state is saved to a file and read back between any two frames."""

    def through_a_file(state):
        np.savez(tmp_path / "state.npz", **{k: v.numpy() for k, v in state.items()})
        with np.load(tmp_path / "state.npz") as file:
            return {name: tf.constant(file[name]) for name in file.files}

    whole, last = run(streams(kind), video)
    pieces, end = run(streams(kind), video, between=through_a_file)
    assert_same_steps(whole, pieces)
    assert_same_bits(end, last)


@of_streams
def test_rows_know_nothing_of_each_other(streams, video, kind):
    """A row beside it in which videos rest and begin anew changes nothing, nor one before it."""
    stream, step = streams(kind)
    alone, _ = run((stream, step), video)
    side_by_side = np.stack([255 - video, video], axis=1)
    state, of_row = stream.initial_state(2), []
    for t, frame in enumerate(frames_of(stream, side_by_side, (8, 7))):
        restless = tf.constant([t % 3, 7], tf.int64)
        resting = frame.valid & tf.constant([t % 2 == 0, True])
        outputs, state = step(frame._replace(row=restless, valid=resting), state)
        of_row.append({name: value[1:].numpy() for name, value in outputs.items()})
    assert_same_steps(of_row, alone, assert_detections_close)
    dirty = {k: v[:1] for k, v in state.items()}
    again, _ = run((stream, step), video, state=dirty)
    assert_same_steps(again, alone)


@of_streams
def test_a_row_without_a_frame_rests(streams, video, kind):
    one = streams(kind)
    _, state = run(one, video[:2], steps=slice(0, 2))
    (frame,) = list(frames_of(one[0], video[:1, None], (7,)))[:1]
    rest = frame._replace(valid=tf.constant([False]))
    rest = rest if frame.ended is None else rest._replace(ended=tf.constant([False]))
    outputs, after = one[0].step(rest, state)
    assert int(outputs["frame"][0]) == NO_FRAME and int(outputs["num_detections"][0]) == 0
    assert (outputs["detection_scores"].numpy() == -1).all()
    assert_same_bits(after, state)


@of_all_streams(slow=set(STREAMS) - set(NAMES))
def test_a_step_compiles(streams, video, kind):
    stream, step = streams(kind)
    compiled = tf.function(stream.step, jit_compile=True, autograph=False)
    state = stream.initial_state(1)
    for frame in list(frames_of(stream, video[:2, None], (7,)))[:2]:
        expected, after = step(frame, state)
        found, state = compiled(frame, state)
        np.testing.assert_allclose(
            found["detection_scores"], expected["detection_scores"], rtol=0, atol=2e-3
        )
        assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in after.items()}


@pytest.mark.parametrize("name", NAMES)
def test_single_images_are_refused_where_a_window_is_needed(built, name):
    memory, detector = built(name)
    if memory.window > 1 and memory.stream(detector, extract) is None:
        with pytest.raises(ValueError, match=f"{name} looks at {memory.window} frames at once"):
            memory.check_single_images("it is asked about one")
    else:
        memory.check_single_images("it is asked about one")
