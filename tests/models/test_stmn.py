"""STMN: transfer, directions, windows and streams, against the memory's own loops and by hand."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import configs
from context_rcnn.detectors import suppression
from context_rcnn.detectors.two_stage import Proposals, Seen
from context_rcnn.models import temporal as temporal_models
from context_rcnn.models.stmn.memory import LEVEL, SpatialTemporalMemory, cells_inside
from context_rcnn.models.stmn.stream import build_stmn_stream
from context_rcnn.models.streaming import NO_FRAME, Frame
from tests.layers.stmm_loops import run as run_loops
from tests.layers.test_stmm import weights_of
from tests.models.conftest import HEIGHT, WIDTH, tiny_detector
from tests.tolerance import assert_close, assert_detections_close

CHANNELS, DEPTH = 4, 8
SETTINGS = {"channels": CHANNELS, "reach": 1, "window": 3, "stride": 2, "state": "float32"}
LENGTH = 7


def settings(**more):
    chosen = configs.Temporal(type="stmn")
    chosen.override({"stmn": {**SETTINGS, **more}})
    return chosen


def model_settings(kind="dc5"):
    model = tiny_detector(kind)
    if kind == "rfcn":
        model.boxes.hidden, model.boxes.class_agnostic = [], True
    if kind == "vgg16":
        model.backbone.depth_multiplier = 2 * CHANNELS / 512
        return model
    model.neck = configs.Neck(type="stmn", channels=6, width=2 * CHANNELS, dilation=2)
    return model


def spread(model, seed=0):
    """Weights that are large enough for detections to differ."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if any(part in variable.name for part in ("rpn-", "classes/", "boxes/kernel")):
            variable.assign(rng.normal(scale=0.1, size=variable.shape))
        elif "spatial_temporal_memory" in variable.name or "neck" in variable.name:
            variable.assign(rng.normal(scale=0.3, size=variable.shape))


def make(kind="dc5", fresh=False, **more):
    """A memory and its detector, `fresh` as they are at the start of training."""
    tf.keras.utils.set_random_seed(1)
    memory = temporal_models.make(settings(**more))
    model = temporal_models.build(memory, model_settings(kind))
    if not fresh:
        spread(model)
    return memory, model


@pytest.fixture(scope="module")
def stmn():
    return make()


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """Still-image detectors with the neck, and their checkpoints, by kind."""
    made = {}

    def get(kind):
        if kind not in made:
            still = temporal_models.make(configs.Temporal())
            model = temporal_models.build(still, model_settings(kind))
            spread(model, seed=3)
            folder = tmp_path_factory.mktemp(kind)
            made[kind] = model, tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
        return made[kind]

    return get


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(5).integers(0, 255, (LENGTH, HEIGHT, WIDTH, 3)).astype(np.uint8)


def shapes_of(images):
    return np.tile(np.float32([[HEIGHT, WIDTH]]), (len(images), 1))


# The swapped convolution becomes the memory.


@pytest.mark.parametrize(
    "kind, directions",
    [("dc5", "both"), ("dc5", "forward"), ("rfcn", "both"), ("vgg16", "both")],
)
def test_a_still_detector_becomes_one_that_answers_the_same(stills, video, kind, directions):
    """A clip of one frame, and every frame alone: port and detections."""
    still, checkpoint = stills(kind)
    memory, model = make(kind, fresh=True, directions=directions)
    memory.warm_start(model, checkpoint, "task.init_checkpoint")
    heard = {}

    def listen(maps, **_):
        heard.update(maps)
        return maps

    still.look(video[:2], shapes_of(video[:2]), port=listen)
    plain = still.neck.swapped(heard[LEVEL])
    port = model.map_memory(heard)[LEVEL]
    np.testing.assert_allclose(port, plain, rtol=1e-5, atol=1e-6)
    expected = still(video[:2], shapes_of(video[:2]))
    for given in (None, {"clip_valid": tf.ones([2, 1], tf.bool)}):
        found = model(video[:2], shapes_of(video[:2]), memory=given)
        for name in ("class_logits", "box_offsets", "detection_scores"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found["detection_classes"], expected["detection_classes"])


def test_channels_are_split_over_the_directions():
    port = SpatialTemporalMemory(CHANNELS, name="memory")
    port({LEVEL: tf.zeros([1, 3, 3, DEPTH])})
    kernel = np.random.default_rng(1).normal(size=(3, 3, DEPTH, 8)).astype(np.float32)
    bias = np.arange(8, dtype=np.float32)
    port.start_from(tf.constant(kernel), tf.constant(bias))
    for unit, its in ((port.forward, slice(0, 4)), (port.backward, slice(4, 8))):
        weights = weights_of(unit)
        for gate in ("", "_z", "_r"):
            np.testing.assert_array_equal(weights[f"W{gate}"], kernel[..., its])
            np.testing.assert_array_equal(weights[f"b{gate}"], bias[its])
        assert not any(weights[f"U{gate}"].any() for gate in ("", "_z", "_r"))


def test_a_checkpoint_without_the_convolution_is_named(stmn, tmp_path):
    memory, model = stmn
    bare = temporal_models.build(temporal_models.make(configs.Temporal()), tiny_detector("dc5"))
    path = tf.train.Checkpoint(model=bare).save(str(tmp_path / "ckpt"))
    with pytest.raises(
        ValueError, match="task.init_checkpoint: .*ckpt-1 has no model/neck/swapped"
    ):
        memory.warm_start(model, path, "task.init_checkpoint")


def test_a_fresh_head_is_not_the_still_detectors(stills):
    still, checkpoint = stills("dc5")
    memory, model = make(fresh_head=True, unit="conv_gru")
    before = [variable.numpy() for variable in model.box_predictor.variables]
    memory.warm_start(model, checkpoint, "task.init_checkpoint")
    for variable, value in zip(model.box_predictor.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    np.testing.assert_array_equal(model.neck.out.kernel, still.neck.out.kernel)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"channels": 5}, "stmn.channels is 5, .* half of task.model.neck.width, which is 8"),
        ({"directions": "backward"}, "task.temporal.stmn: directions must be one of both, forward"),
        ({"unit": "lstm"}, "task.temporal.stmn: unit must be one of stmm, conv_gru"),
        ({"sharpness": 0.5}, "task.temporal.stmn: sharpness must be 0, or from 1 to 1000"),
    ],
)
def test_settings_that_make_no_sense_are_named(more, message):
    with pytest.raises(ValueError, match=message):
        temporal_models.make(settings(**more)).build(model_settings())


def test_a_detector_without_the_neck_is_refused():
    model = model_settings()
    model.neck.type = "none"
    with pytest.raises(ValueError, match="model.neck.type stmn"):
        temporal_models.make(settings()).build(model)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"merge": "all"}, "stmn.merge must be one of overlap, centre, got 'all'"),
        ({"state": "int8"}, "stmn.state must be one of bfloat16, float32"),
        ({"window": 0}, "stmn.window must be at least 1, got 0"),
    ],
)
def test_streams_refuse_what_makes_no_sense(stmn, more, message):
    with pytest.raises(ValueError, match=message):
        build_stmn_stream(stmn[1], settings(**more).get())


def test_settings_of_sequences_are_named_in_full():
    memory = temporal_models.make(settings(training={"frames": 0}))
    with pytest.raises(ValueError, match="task.temporal.stmn.training.frames must be at least 1"):
        memory.training_frames(configs.Clip(), seed=0)


# Sequences.


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(6)
    return np.maximum(rng.normal(0.4, 1, (2, 5, 3, 4, DEPTH)), 0).astype(np.float32)


@pytest.fixture(scope="module")
def port():
    port = SpatialTemporalMemory(CHANNELS, name="memory")
    port({LEVEL: tf.zeros([1, 3, 4, DEPTH])})
    rng = np.random.default_rng(7)
    for variable in port.trainable_variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    return port


def test_both_directions_are_the_loops_of_the_paper(port, features):
    found = port.remember(features, tf.ones([2, 5], tf.bool)).numpy()
    for row, its in zip(found, features, strict=True):
        forward = run_loops(weights_of(port.forward), its)
        backward = run_loops(weights_of(port.backward), its[::-1])[::-1]
        expected = np.concatenate([forward, backward], axis=-1)
        assert_close(row, expected, 1e-5)


def test_a_reversed_clip_with_exchanged_units_is_the_reverse(port, features):
    there = tf.ones([2, 5], tf.bool)
    found = port.remember(features, there).numpy()
    other = SpatialTemporalMemory(CHANNELS, name="other")
    other({LEVEL: tf.zeros([1, 3, 4, DEPTH])})
    pairs = ((other.forward, port.backward), (other.backward, port.forward))
    for target, source in pairs:
        for variable, value in zip(target.variables, source.variables, strict=True):
            variable.assign(value)
    back = other.remember(features[:, ::-1], there).numpy()[:, ::-1]
    exchanged = np.concatenate([back[..., CHANNELS:], back[..., :CHANNELS]], axis=-1)
    assert_close(exchanged, found, 1e-5)


def test_directions_see_their_own_side_of_time_only(port, features):
    there = tf.ones([2, 5], tf.bool)
    found = port.remember(features, there).numpy()
    later, earlier = features.copy(), features.copy()
    later[:, 3:] += 1.0
    earlier[:, :2] += 1.0
    after = port.remember(later, there).numpy()
    np.testing.assert_array_equal(after[:, :3, ..., :CHANNELS], found[:, :3, ..., :CHANNELS])
    assert np.abs(after[:, 2, ..., CHANNELS:] - found[:, 2, ..., CHANNELS:]).max() > 1e-3
    before = port.remember(earlier, there).numpy()
    np.testing.assert_array_equal(before[:, 2:, ..., CHANNELS:], found[:, 2:, ..., CHANNELS:])
    assert np.abs(before[:, 2, ..., :CHANNELS] - found[:, 2, ..., :CHANNELS]).max() > 1e-3


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_frame_that_is_missing_is_as_if_cut_out(port, features, place):
    """In both directions, at the ends too; what stands in its place does not count."""
    there = np.ones((2, 5), bool)
    there[:, place] = False
    noisy = features.copy()
    noisy[:, place] = 50.0
    rest = [t for t in range(5) if t != place]
    found = port.remember(noisy, tf.constant(there)).numpy()[:, rest]
    assert_close(found, port.remember(features[:, rest], tf.ones([2, 4], tf.bool)), 1e-5)


def test_one_frame_costs_half_and_is_the_same(port, features):
    there = np.ones((2, 5), bool)
    there[1, 1] = there[1, 4] = False
    inside = tf.ones([2, 5, 3, 4], tf.bool)
    whole = port.remember(features, tf.constant(there), inside)
    for place in range(4):
        one = port.remember_one(features, tf.constant(there), inside, place)
        if place != 1:
            assert_close(one, whole[:, place], 1e-5)


def test_cells_in_the_padding_are_outside():
    """Of 64x128 pixels in cells of 16: an image of 40x70 has its centres up to 40 and 56."""
    inside = cells_inside(tf.constant([[40.0, 70.0], [64.0, 128.0]]), (64, 128), (4, 8)).numpy()
    assert inside[0].sum(0).tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    assert inside[1].all()


# Streams.


def run(stream, video, step=None, row=7):
    """Detections by number of the frame."""
    state, found = stream.initial_state(1), {}
    step = step or tf.function(stream.step, autograph=False)
    for t in range(len(video) + stream.latency):
        there = t < len(video)
        image = video[min(t, len(video) - 1)][None]
        valid = tf.constant([there])
        frame = Frame(image, shapes_of(image), tf.constant([row], tf.int64), valid, ended=~valid)
        outputs, state = step(frame, state)
        number = int(outputs["frame"][0])
        if number != NO_FRAME:
            assert number not in found
            found[number] = {name: value.numpy() for name, value in outputs.items()}
    assert sorted(found) == list(range(len(video)))
    return found


def answers(model, video, places, known=None):
    """Boxes and scores before suppression of each frame of a clip, by the port, as in training.

    `known` keeps those of clips that are asked for again.
    """
    known = {} if known is None else known
    if tuple(places) in known:
        return known[tuple(places)]
    images = video[list(places)]
    clip = {"clip_valid": tf.ones([1, len(places)], tf.bool)}
    seen = model.look(images, shapes_of(images), memory=clip)
    logits, offsets = model.box_predictor(model.features(seen))
    boxes, scores = model.scored(logits, offsets, seen.proposals, seen.shapes)
    known[tuple(places)] = {
        place: (boxes[i].numpy(), scores[i].numpy()) for i, place in enumerate(places)
    }
    return known[tuple(places)]


def detections(model, sets):
    """What the detector's own suppression leaves of pooled boxes."""
    boxes = np.concatenate([boxes for boxes, _ in sets])[None]
    scores = np.concatenate([scores for _, scores in sets])[None]
    return model.best(tf.constant(boxes), tf.constant(scores))


def windows(length, window, stride):
    """Of each frame, the windows that count: whole ones, or the whole phase."""
    of = {frame: [] for frame in range(length)}
    for phase in range(stride):
        frames = list(range(phase, length, stride))
        size = min(window, len(frames))
        for start in range(len(frames) - size + 1):
            its = frames[start : start + size]
            for frame in its:
                of[frame].append(its)
    return of


def test_all_windows_of_a_frame_are_pooled_before_suppression(stmn, video):
    """Against clips, window by window; of videos with and without whole windows."""
    _, model = stmn
    stream = build_stmn_stream(model, settings(pooled_boxes=24).get())
    assert stream.latency == 4
    step, known = tf.function(stream.step, autograph=False), {}
    for length in (LENGTH, 3):
        found = run(stream, video[:length], step)
        for frame, its in windows(length, 3, 2).items():
            sets = [answers(model, video, window, known)[frame] for window in its]
            expected = detections(model, sets)
            for name in ("detection_boxes", "detection_scores", "detection_classes"):
                assert_detections_close({name: found[frame][name]}, {name: expected[name]})


def test_the_middle_of_a_window_is_that_of_its_clip(stmn, video):
    """At the ends of the video, the window ends there too."""
    _, model = stmn
    stream = build_stmn_stream(model, settings(merge="centre").get())
    assert stream.latency == 2
    found = run(stream, video)
    for frame in range(LENGTH):
        places = [place for place in range(frame - 2, frame + 3, 2) if 0 <= place < LENGTH]
        expected = detections(model, [answers(model, video, places)[frame]])
        for name in ("detection_boxes", "detection_scores", "detection_classes"):
            assert_detections_close({name: found[frame][name]}, {name: expected[name]})


def test_a_first_stage_that_sees_the_memory_proposes_from_it(video):
    """VGG-16: proposals of a window's middle are those of the clip."""
    _, model = make("vgg16")
    stream = build_stmn_stream(model, settings(merge="centre", stride=1).get())
    found = run(stream, video[:3])[1]
    expected = detections(model, [answers(model, video, [0, 1, 2])[1]])
    for name in ("detection_boxes", "detection_scores", "detection_classes"):
        assert_detections_close({name: found[name]}, {name: expected[name]})


def test_a_causal_model_remembers_each_phase_from_its_first_frame(video):
    """With the heads of R-FCN."""
    _, model = make("rfcn", directions="forward")
    stream = build_stmn_stream(model, settings(directions="forward").get())
    assert stream.latency == 0 and stream.inputs == ()
    found = run(stream, video)
    for frame in range(LENGTH):
        places = list(range(frame % 2, frame + 1, 2))
        expected = detections(model, [answers(model, video, places)[frame]])
        for name in ("detection_boxes", "detection_scores", "detection_classes"):
            assert_detections_close({name: found[frame][name]}, {name: expected[name]})


def test_boxes_are_fed_back_once(stmn, video):
    """Both rounds count: by hand, of a single frame."""
    _, model = stmn
    options = {"merge": "centre", "window": 1, "stride": 1, "box_rounds": 2}
    found = run(build_stmn_stream(model, settings(**options).get()), video[:1])[0]
    seen = model.look(video[:1], shapes_of(video[:1]))
    sets = []
    for _ in range(2):
        logits, offsets = model.box_predictor(model.features(seen))
        boxes, scores = (
            x.numpy() for x in model.scored(logits, offsets, seen.proposals, seen.shapes)
        )
        sets.append((boxes[0], scores[0]))
        best = scores.argmax(-1)
        again = np.take_along_axis(boxes, best[..., None, None], 2)[:, :, 0]
        valid = (scores.max(-1) >= 0.05) & (again[..., 2:] > again[..., :2]).all(-1)
        assert valid.any()
        seen = Seen(seen.maps, seen.shapes, Proposals(again, scores.max(-1), valid), {})
    expected = detections(model, sets)
    assert_detections_close(
        {"detection_boxes": found["detection_boxes"]},
        {"detection_boxes": expected["detection_boxes"]},
    )
    alone = detections(model, sets[:1])
    assert np.abs(expected["detection_scores"] - alone["detection_scores"]).max() > 1e-4


def test_short_features_are_rounded_and_half_as_large(stmn, video):
    _, model = stmn
    long, short = (
        build_stmn_stream(model, settings(merge="centre", state=state).get())
        for state in ("float32", "bfloat16")
    )
    sizes = [
        state["features"].dtype.size * state["features"].shape.num_elements()
        for state in (long.initial_state(1), short.initial_state(1))
    ]
    assert sizes[0] == 2 * sizes[1] == 4 * 5 * 4 * 8 * DEPTH
    frames = video[:2]
    exact, rounded = (run(stream, frames, stream.step) for stream in (long, short))
    for frame in exact:
        np.testing.assert_allclose(
            rounded[frame]["detection_scores"], exact[frame]["detection_scores"], atol=0.03
        )


def test_one_checkpoint_runs_with_windows_of_any_length(stmn, video):
    _, model = stmn
    scores = []
    for window in (2, 5):
        stream = build_stmn_stream(model, settings(merge="centre", window=window).get())
        assert stream.latency == (window - 1 - window // 2) * 2
        scores.append(run(stream, video)[3]["detection_scores"])
    assert np.abs(scores[0] - scores[1]).max() > 1e-4


def test_labelled_boxes_are_suppressed_within_their_class():
    """The same boxes as rows of classes, and as a list of labelled ones."""
    rng = np.random.default_rng(9)
    start = rng.uniform(0, 40, (2, 12, 3, 2))
    boxes = np.concatenate([start, start + 30], -1).astype(np.float32)
    scores = rng.uniform(0, 1, (2, 12, 3)).astype(np.float32)
    options = {"score_threshold": 0.2, "iou_threshold": 0.4, "count": 20}
    expected = suppression.best_detections(tf.constant(boxes), tf.constant(scores), **options)
    labels = np.tile(np.arange(3, dtype=np.int32), (2, 12))
    found = suppression.best_labelled(
        tf.reshape(boxes, [2, 36, 4]), tf.reshape(scores, [2, 36]), tf.constant(labels), **options
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (expected[3].numpy() < 20).all() and (expected[3].numpy() > 5).all()


@pytest.mark.slow
def test_a_whole_training_step_compiles(stmn, video):
    """Gradients of clips by XLA are those without."""
    _, model = stmn
    images, clip = video[:6], {"clip_valid": tf.constant([[True] * 3, [True, True, False]])}
    groundtruth = {
        "boxes": np.tile(np.float32([[[5, 5, 40, 60]]]), (6, 1, 1)),
        "classes": np.ones((6, 1), np.int64),
        "valid": np.ones((6, 1), bool),
    }
    variables = model.map_memory.trainable_variables

    def gradients():
        tf.random.set_seed(1)
        with tf.GradientTape() as tape:
            seen = model.look(images, shapes_of(images), clip, False)
            loss = tf.reduce_mean(seen.maps[LEVEL] ** 2)
        return tape.gradient(loss, variables)

    expected = gradients()
    found = tf.function(gradients, jit_compile=True, autograph=False)()
    for one, other in zip(found, expected, strict=True):
        assert np.abs(other).max() > 0
        assert_close(one, other, 1e-3)
    outputs = tf.function(model.learn, jit_compile=True, autograph=False)(
        images, shapes_of(images), groundtruth, clip, True
    )
    assert np.isfinite(outputs["class_logits"]).all()


def bytes_by_hand(cells, channels, stride, window=0, pooled=0, proposals=8):
    """Of the state of one video; without a window, of the causal stream."""
    if not window:
        return stride * (cells * channels * (4 + 2) + 1) + 8 + 4
    span = (window - 1) * stride + 1
    frame = cells * channels * 2 + 1 + 2 * 4 + proposals * (4 * 4 + 1)
    return span * (frame + window * (pooled * (4 * 4 + 4 + 4) + 4 * bool(pooled))) + 8 + 4


def test_the_page_tells_how_large_the_state_is():
    sizes = {}
    for name, more in (
        ("forward", {"directions": "forward"}),
        ("centre", {"merge": "centre"}),
        ("overlap", {"merge": "overlap", "pooled_boxes": 12}),
    ):
        chosen = settings(state="bfloat16", **more)
        memory = temporal_models.make(chosen)
        stream = memory.stream(temporal_models.build(memory, model_settings()))
        state = stream.initial_state(1)
        sizes[name] = sum(part.dtype.size * part.shape.num_elements() for part in state.values())
    cells = 4 * 8
    assert sizes["forward"] == bytes_by_hand(cells, DEPTH, 2)
    assert sizes["centre"] == bytes_by_hand(cells, DEPTH, 2, window=3)
    assert sizes["overlap"] == bytes_by_hand(cells, DEPTH, 2, window=3, pooled=12)
    page = (pathlib.Path(__file__).parents[2] / "docs" / "video.md").read_text()
    for way, options in (
        ("`directions: forward`", {}),
        ("`merge: centre`", {"window": 11}),
        ("`merge: overlap`", {"window": 11, "pooled": 300}),
    ):
        small, large = (
            bytes_by_hand(cells, 1024, 10, proposals=300, **options) / 2**20
            for cells in (23 * 38, 38 * 63)
        )
        assert f"| `stmn`, {way} | {small:.0f} MiB | {large:.0f} MiB |" in page
