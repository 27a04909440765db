"""MemNet and ClockNet by worked cases and loops: chains, clocks, evidence, gaps, counts."""

import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs.temporal.memory_warps import MemoryWarps as Settings
from context_rcnn.models import temporal as temporal_models
from context_rcnn.models.memory_warps.boxes import move_boxes
from context_rcnn.models.memory_warps.memory import MemoryWarps, chains
from context_rcnn.models.memory_warps.stream import MemoryStream
from context_rcnn.models.streaming import Frame
from tests.models.conftest import HEIGHT, WIDTH, tiny_detector
from tests.tolerance import FLOAT, assert_close, assert_detections_close

MAP = (4, 8)
SHAPE = tf.constant([[float(HEIGHT), float(WIDTH)]])


def settings_of(**more):
    settings = Settings()
    flow = {"width": 0.125, "levels": 4}
    settings.override({"flow": flow, "training": {"frames": 3}})
    settings.override(more)
    return settings


def port_of(channels=1, **more):
    """A port whose flow is to the right by the difference of the images' brightness."""
    port = MemoryWarps(settings_of(**more), (HEIGHT, WIDTH))
    port.build({"4": tf.TensorShape([None, *MAP, channels])})

    def flow(now, before):
        apart = tf.round(tf.reduce_mean(255.0 * (now - before), axis=[1, 2, 3]))
        right = tf.ones([1, *MAP, 1]) * apart[:, None, None, None]
        return tf.concat([tf.zeros_like(right), right], axis=-1)

    port.flow = flow
    return port


def image(brightness):
    return tf.fill([1, HEIGHT, WIDTH, 3], tf.constant(brightness, tf.uint8))


def stream_of(port, settings):
    return MemoryStream(types.SimpleNamespace(map_memory=port), settings)


def through(stream, maps, brightness, evidence=None):
    """M_t of each frame of a video, [frames, height, width], and the last state."""
    state, found = stream.initial_state(1), []
    for t, (features, light) in enumerate(zip(maps, brightness, strict=True)):
        frame = Frame(image(light), SHAPE, tf.constant([7], tf.int64), tf.constant([True]))
        sees = tf.constant([evidence is None or bool(evidence[t])])
        features = tf.constant(features, tf.float32)[None, ..., None]
        remembered = stream.remember(features, frame, state, sees)
        state |= remembered.changed | {"frame": state["frame"] + 1}
        found.append(remembered.maps[0, ..., 0].numpy())
    return found, state


def constant(*values):
    return [np.full(MAP, value, np.float32) for value in values]


@pytest.mark.parametrize(
    "values, evidence, expected",
    [((8, 4, 2), None, (8, 6, 4)), ((8, 0, 0, 2), (1, 0, 0, 1), (8, 8, 8, 5))],
)
def test_evidence_is_halved_and_what_has_none_stays(values, evidence, expected):
    stream = stream_of(port_of(), settings_of())
    found, _ = through(stream, constant(*values), [0] * len(values), evidence)
    for one, value in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, np.full(MAP, np.float32(value)))


def test_a_square_that_moves_stays_one_thing():
    """Two by two ones that go right by one, with the true flow; without it they leave a trail."""
    maps = []
    for t in range(4):
        here = np.zeros(MAP, np.float32)
        here[1:3, t : t + 2] = 1
        maps.append(here)
    port = port_of()
    found, _ = through(stream_of(port, settings_of()), maps, [9, 8, 7, 6])
    for one, expected in zip(found, maps, strict=True):
        np.testing.assert_array_equal(one, expected)
    trail, _ = through(stream_of(port, settings_of()), maps, [9, 9, 9, 9])
    np.testing.assert_array_equal(trail[3][1], np.float32([0.125, 0.25, 0.375, 0.75, 0.5, 0, 0, 0]))


@pytest.mark.parametrize("fills, expected", [(False, 0.5), (True, 1.0)])
def test_what_comes_in_over_the_edge_is_halved_unless_it_is_filled(fills, expected):
    settings = settings_of(fill_unseen=fills)
    found, _ = through(stream_of(port_of(fill_unseen=fills), settings), constant(1, 1), [9, 8])
    np.testing.assert_allclose(found[1][:, 0], expected)
    np.testing.assert_array_equal(found[1][:, 1:], 1)


def shifted(memory, right):
    """The memory at grid + (0, right), a whole number; 0 beyond the edge."""
    out = np.zeros_like(memory)
    for x in range(MAP[1]):
        if 0 <= x + right < MAP[1]:
            out[:, x] = memory[:, x + right]
    return out


def clock_by_hand(maps, light, stride, schedule, evidence):
    """M^k of each frame, None where it has nothing yet."""
    held: dict[int, tuple] = {}
    found = []
    for t, features in enumerate(maps):
        place = 0 if schedule == "hold" else t % stride
        if place in held:
            memory, since = held[place]
            memory = shifted(memory, light[t] - light[since])
            memory = 0.5 * (memory + features) if evidence[t] else memory
        else:
            memory = features if evidence[t] else None
        if memory is not None and (schedule == "interleaved" or t % stride == 0):
            held[place] = memory, t
        found.append(memory)
    return found


@pytest.mark.parametrize("evidence", [[1] * 10, [1, 0, 0, 1, 1, 0, 1, 0, 0, 1]])
@pytest.mark.parametrize("schedule", ["hold", "interleaved"])
def test_clocks_equal_loops(schedule, evidence):
    rng = np.random.default_rng(2)
    maps = list(rng.integers(0, 9, (10, *MAP)).astype(np.float32))
    light = [9, 10, 8, 7, 9, 11, 10, 8, 9, 7]
    clocks = [1, 2, 4]
    settings = settings_of(clocks=clocks, schedule=schedule)
    found, state = through(
        stream_of(port_of(clocks=clocks, schedule=schedule), settings), maps, light, evidence
    )
    each = [clock_by_hand(maps, light, clock, schedule, evidence) for clock in clocks]
    for t, one in enumerate(found):
        there = [memories[t] for memories in each if memories[t] is not None]
        np.testing.assert_allclose(one, np.mean(there, axis=0), rtol=0, atol=1e-5)
    assert state["memory"].shape[1] == (3 if schedule == "hold" else 7)


def test_schedules_agree_where_all_clocks_are_due():
    rng = np.random.default_rng(3)
    maps, light = list(rng.normal(size=(9, *MAP)).astype(np.float32)), [5] * 9
    found = {}
    for schedule in ("hold", "interleaved"):
        settings = settings_of(clocks=[1, 4], schedule=schedule)
        port = port_of(clocks=[1, 4], schedule=schedule)
        found[schedule], _ = through(stream_of(port, settings), maps, light)
    for t in (0, 4, 8):
        assert_close(found["hold"][t], found["interleaved"][t], 10 * FLOAT)
    assert np.abs(found["hold"][7] - found["interleaved"][7]).max() > 0.01


def test_chains_of_clocks():
    assert chains([1, 4, 8], 3, 1) == {1: (-2, -1, 0), 4: (-8, -4, 0), 8: (-16, -8, 0)}
    port = port_of(clocks=[1, 4, 8])
    assert port.offsets == (-16, -8, -4, -2, -1, 0) and port.teaching == (5,)
    assert port_of(training={"frames": 6, "stride": 4}).offsets == (-20, -16, -12, -8, -4, 0)


@pytest.mark.parametrize("clocks", [[1], [1, 2]])
def test_a_clip_is_what_the_stream_sees_last(clocks):
    """Of a video as long as its chains, the keyframe's memory is the interleaved stream's."""
    rng = np.random.default_rng(4)
    settings = settings_of(clocks=clocks, schedule="interleaved", training={"frames": 3})
    port = port_of(clocks=clocks, schedule="interleaved", training={"frames": 3})
    length = -port.offsets[0] + 1
    maps = list(rng.normal(size=(length, *MAP)).astype(np.float32))
    light = rng.integers(5, 9, length).tolist()
    places = [offset + length - 1 for offset in port.offsets]
    clip = {"4": tf.constant(np.stack([maps[p] for p in places])[..., None])}
    images = tf.concat([image(light[p]) for p in places], axis=0)
    there = {"clip_valid": tf.ones([1, len(places)], tf.bool)}
    found = port(clip, images=images, memory=there)["4"][0, ..., 0]
    # What the stream saw before a chain begins is not in the clip: begin each chain as it does.
    each = []
    for clock in clocks:
        chain = [offset + length - 1 for offset in chains([clock], 3, 1)[clock]]
        memory = maps[chain[0]]
        for before, at in zip(chain, chain[1:], strict=False):
            memory = 0.5 * (shifted(memory, light[at] - light[before]) + maps[at])
        each.append(memory)
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=0, atol=1e-5)
    if clocks == [1]:
        last, _ = through(stream_of(port, settings), maps, light)
        assert_close(found, last[-1], 10 * FLOAT)


def test_frames_that_are_missing_or_dropped_are_not_seen():
    port = port_of(training={"frames": 4, "drop_evidence": 1.0})
    maps = {"4": tf.reshape(tf.repeat([9.0, 4.0, 2.0, 1.0], 32), [4, *MAP, 1])}
    images = tf.concat([image(5)] * 4, axis=0)

    def found(there, training):
        memory = {"clip_valid": tf.constant([there]) == 1}
        return port(maps, images=images, memory=memory, training=training)["4"].numpy().mean()

    assert found([0, 1, 1, 1], False) == 2.0  # ((4 + 2) / 2 + 1) / 2
    assert found([1, 1, 1, 1], True) == 9.0
    assert found([0, 0, 1, 1], True) == 2.0  # the first that is there is seen
    kept = port_of(training={"frames": 4, "drop_evidence": 1.0, "drop_last": False})
    memory = {"clip_valid": tf.ones([1, 4], tf.bool)}
    assert kept(maps, images=images, memory=memory, training=True)["4"].numpy().mean() == 5.0


def test_a_frame_is_dropped_with_its_probability():
    port = port_of(training={"frames": 6, "drop_evidence": 0.8})
    tf.random.set_seed(1)
    seen = port._evidence(tf.ones([4000, 6], tf.bool)).numpy()
    np.testing.assert_allclose(seen.mean(0), 0.2, atol=0.03)


def test_boxes_go_against_the_flow_within_them():
    flow = np.zeros((1, 4, 8, 2), np.float32)
    flow[0, 1, 2], flow[0, 1, 3] = (0.0, -1.0), (-0.5, -2.0)
    boxes = tf.constant([[[16.0, 32, 32, 64], [20, 34, 22, 36], [0, 0, 16, 16]]])
    found = move_boxes(boxes, tf.constant(flow), 16)[0]
    np.testing.assert_allclose(
        found, [[20, 56, 36, 88], [20, 50, 22, 52], [0, 0, 16, 16]], rtol=FLOAT
    )


@pytest.fixture(scope="module")
def built():
    """A tiny R-FCN with FGFA's neck and a memory, and its stream by settings."""
    made = {}

    def build(**more):
        key = repr(more)
        if key not in made:
            tf_keras.utils.set_random_seed(1)
            config = configs.Temporal.with_settings("memory_warps", settings_of(**more))
            memory = temporal_models.make(config)
            model = tiny_detector("rfcn")
            model.boxes.hidden, model.boxes.class_agnostic = [], True
            model.neck = configs.Neck(type="fgfa", width=12, dilation=2)
            detector = temporal_models.build(memory, model)
            for variable in detector.trainable_variables:
                if any(p in variable.name for p in ("rpn-", "classes/", "boxes/")):
                    variable.assign(tf.random.normal(variable.shape, stddev=0.1))
            made[key] = memory, detector
        return made[key]

    return build


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(6).integers(0, 255, (6, HEIGHT, WIDTH, 3)).astype(np.uint8)


def frame_of(pixels, **more):
    there = tf.constant([True])
    return Frame(tf.constant(pixels[None]), SHAPE, tf.constant([7], tf.int64), there, **more)


def test_propagation_is_a_step_without_evidence_and_never_runs_the_trunk(built, video, monkeypatch):
    memory, detector = built(clocks=[1, 2])
    stream = memory.stream(detector)
    state = stream.initial_state(1)
    _, state = stream.step(frame_of(video[0]), state)
    _, state = stream.step(frame_of(video[1]), state)
    blind = tf.constant([False])
    expected, after = stream.step(frame_of(video[2], evidence=blind), state)
    monkeypatch.setattr(detector, "backbone", None)
    found, then = stream.propagate(frame_of(video[2]), state)
    assert_detections_close(found, expected)
    for name, part in after.items():
        assert_close(tf.cast(then[name], tf.float32), tf.cast(part, tf.float32), 1e-4, name)
    # A video cannot begin with it.
    nothing, _ = stream.propagate(frame_of(video[0]), stream.initial_state(1))
    assert int(nothing["num_detections"][0]) == 0


def test_flows_and_warps_are_counted(built, video, monkeypatch):
    """One of each a frame and clock, whatever the history; the trunk once, or never."""
    for clocks in ([1], [1, 2, 4]):
        memory, detector = built(clocks=clocks)
        stream, port, counts = memory.stream(detector), detector.map_memory, {}
        original = {name: getattr(port, name) for name in ("flow", "move")}

        def counting(name, call, counts=counts):
            def counted(first, *rest, **given):
                counts[name] = counts.get(name, 0) + int(first.shape[0])
                return call(first, *rest, **given)

            return counted

        for name, call in original.items():
            monkeypatch.setattr(port, name, counting(name, call))
        backbone = detector.backbone
        detector.backbone = counting("trunk", backbone)
        state, sizes = stream.initial_state(1), set()
        for t, pixels in enumerate(np.concatenate([video, video])):
            counts.clear()
            step = stream.propagate if t % 3 == 2 else stream.step
            _, state = step(frame_of(pixels), state)
            trunk = {} if t % 3 == 2 else {"trunk": 1}
            assert counts == {"flow": len(clocks), "move": len(clocks)} | trunk
            sizes.add(sum(int(tf.size(part)) * part.dtype.size for part in state.values()))
        assert len(sizes) == 1
        detector.backbone = backbone
        monkeypatch.undo()


@pytest.mark.parametrize("gap", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_exact_gap_is_as_many_propagations(built, video, gap):
    memory, detector = built(clocks=[1, 2], schedule="interleaved")
    plain = memory.stream(detector)
    settings = settings_of(clocks=[1, 2], schedule="interleaved", without_evidence={"gap": gap})
    gapped = memory.with_settings(settings).stream(detector)
    state, states = gapped.initial_state(1), []
    fresh = plain.initial_state(1)
    for t, pixels in enumerate(video):
        found, state = gapped.step(frame_of(pixels), state)
        expected, fresh = plain.step(frame_of(pixels), fresh)
        states.append(fresh)
        begun = max(t - gap, 0)
        then = states[begun]
        for later in range(begun + 1, t + 1):
            expected, then = plain.propagate(frame_of(video[later]), then)
        assert_detections_close(found, expected)


def test_boxes_and_anticipations_at_a_gap(built, video):
    """Against the plain stream's own detections, moved, and its own forecast."""
    memory, detector = built()
    plain, gap = memory.stream(detector), 2
    streams = {
        by: memory.with_settings(settings_of(without_evidence={"gap": gap, "by": by})).stream(
            detector
        )
        for by in ("boxes", "anticipation")
    }
    states = {by: stream.initial_state(1) for by, stream in streams.items()}
    fresh, seen, after, flows = plain.initial_state(1), [], [], []
    for t, pixels in enumerate(video):
        expected, fresh = plain.step(frame_of(pixels), fresh)
        seen.append(expected)
        after.append(fresh)
        flows.append(fresh["flows"][:, 0])
        found = {}
        for by, stream in streams.items():
            found[by], states[by] = stream.step(frame_of(pixels), states[by])
        begun = max(t - gap, 0)
        boxes = seen[begun]["detection_boxes"]
        for later in range(begun + 1, t + 1):
            boxes = tf.clip_by_value(
                move_boxes(boxes, flows[later], 16),
                0.0,
                tf.constant([HEIGHT, WIDTH] * 2, tf.float32),
            )
        np.testing.assert_allclose(found["boxes"]["detection_boxes"], boxes, rtol=0, atol=1e-2)
        np.testing.assert_array_equal(
            found["boxes"]["detection_scores"], seen[begun]["detection_scores"]
        )
        if t:
            foretold = plain.anticipate(after[begun], t - begun)
            assert int(foretold["frame"][0]) == t
            expected = {name: foretold[name] for name in found["anticipation"]}
            assert_detections_close(found["anticipation"], expected)


def test_every_second_frame_is_propagated(built, video):
    memory, detector = built()
    cycle = memory.with_settings(settings_of(without_evidence={"every": 2})).stream(detector)
    plain = memory.stream(detector)
    state, other = cycle.initial_state(1), plain.initial_state(1)
    for t, pixels in enumerate(video[:4]):
        found, state = cycle.step(frame_of(pixels), state)
        step = plain.propagate if t % 2 else plain.step
        expected, other = step(frame_of(pixels), other)
        assert_detections_close(found, expected)


def test_halves_are_seen_apart(built, video):
    """What is in the right half alone changes no box in the left one."""
    memory, detector = built()
    halves = memory.with_settings(settings_of(without_evidence={"halves": True})).stream(detector)
    found, _ = halves.step(frame_of(video[0]), halves.initial_state(1))
    boxes = found["detection_boxes"].numpy()[0][found["detection_scores"].numpy()[0] > 0]
    middle = WIDTH / 2
    assert ((boxes[:, 3] <= middle) | (boxes[:, 1] >= middle)).all()
    assert (boxes[:, 1] >= middle).any() and (boxes[:, 3] <= middle).any()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"clocks": [2, 4]}, r"clocks must ascend from 1, as \[1, 4, 8\] do, got \[2, 4\]"),
        ({"aggregation": "lstm"}, "aggregation must be one of average, weights, adaptive, newest"),
        ({"schedule": "skip"}, "schedule must be one of hold, interleaved, got 'skip'"),
        ({"training": {"drop_evidence": 1.5}}, "drop_evidence must be in 0..1, got 1.5"),
        ({"clocks": [1, 2], "training": {"supervise": "all"}}, "supervise all is for one clock"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        port_of(**change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"every": 0}, "without_evidence.every must be at least 1, got 0"),
        ({"every": 2, "gap": 1}, "every is 2 and gap 1: choose one"),
        ({"by": "anticipation"}, "anticipation needs a gap"),
        ({"by": "hope", "gap": 1}, "by must be one of features, boxes, anticipation"),
        ({"halves": True, "gap": 1}, "halves goes with neither"),
    ],
)
def test_evaluations_that_mean_nothing_are_refused(built, change, message):
    memory, detector = built()
    with pytest.raises(ValueError, match=message):
        memory.with_settings(settings_of(without_evidence=change)).stream(detector)


def test_a_clip_teaches_its_keyframe_all_parts_learn_and_it_compiles(built, video):
    memory, detector = built(aggregation="weights", training={"frames": 3, "drop_evidence": 0.0})
    port = detector.map_memory
    images = tf.constant(np.concatenate([video[:3], video[3:6]]))
    shapes = tf.tile(SHAPE, [6, 1])
    clip = {"clip_valid": tf.constant([[True] * 3, [False, True, True]])}
    variables = [*port.trainable_variables, detector.neck.trainable_variables[0]]

    def gradients():
        with tf.GradientTape() as tape:
            seen = detector.look(images, shapes, clip, training=False)
            loss = tf.reduce_sum(seen.maps["5"] ** 2) + tf.reduce_sum(seen.maps["4"] ** 2)
        assert seen.shapes.shape == [2, 2] and seen.proposals.boxes.shape[0] == 2
        return tape.gradient(loss, variables)

    expected = gradients()
    found = tf.function(gradients, jit_compile=True, autograph=False)()
    learned = 0
    for one, other, variable in zip(found, expected, variables, strict=True):
        if other is None:  # of coarse levels whose predictions only the flow's own training needs
            continue
        learned += np.abs(other).max() > 0
        assert_close(one, other, 1e-2, variable.name)
    assert learned > len(variables) // 2


def bytes_by_hand(size, channels, memories, clocks):
    """Of the state of one video: memories with half images, two flows, and the mean of clocks."""
    (height, width), (rows, columns) = size, (-(-side // 16) for side in size)
    half = -(-height // 2) * -(-width // 2) * 3
    maps = rows * columns * channels
    return (
        memories * (4 * (maps + half) + 1 + 4)
        + 4 * maps * (clocks > 1)
        + (4 * rows * columns * 4 + 2 * 4 + 8 + 4)
    )


def test_the_page_tells_how_large_the_state_is():
    words = []
    for clocks, schedule, memories in (
        ([1], "hold", 1),
        ([1, 4, 8], "hold", 3),
        ([1, 4, 8], "interleaved", 13),
    ):
        chosen = {"clocks": clocks, "schedule": schedule}
        state = stream_of(port_of(**chosen), settings_of(**chosen)).initial_state(1)
        found = sum(part.dtype.size * part.shape.num_elements() for part in state.values())
        assert found == bytes_by_hand((HEIGHT, WIDTH), 1, memories, len(clocks))
        words.append(bytes_by_hand((608, 1008), 1024, memories, len(clocks)) / 2**20)
    page = (pathlib.Path(__file__).parents[2] / "docs" / "video.md").read_text()
    memnet, hold, interleaved = (f"{size:.0f} MiB" for size in words)
    assert f"a state of {memnet}, and a ClockNet of three clocks one of {hold} (`hold`) or" in page
    assert f"{interleaved} (`interleaved`)" in page
