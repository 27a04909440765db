"""MEGA against its Algorithm 1, written out in NumPy with lists."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors.two_stage import Proposals
from context_rcnn.models.mega.stream import MegaStream, sample_place
from context_rcnn.models.streaming import NO_FRAME, Frame
from tests.layers.relation_loops import Box, relate, weights_of
from tests.tolerance import SCORES, assert_close

DEPTH, HEADS, BEST, KEPT = 32, 4, 5, 2
LOCAL, PAST, ANYWHERE = 5, 3, 2
VARIANTS = ["paper", "released"]


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def detector(build, variant):
    model = build(
        "dc5",
        mega={
            "depth": DEPTH,
            "heads": HEADS,
            "variant": variant,
            "local_frames": LOCAL,
            "memory_frames": PAST,
            "reference_boxes": BEST,
            "kept_boxes": KEPT,
        },
    )
    rng = np.random.default_rng(5)
    for variable in model.box_memory.trainable_variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    return model


@pytest.fixture(scope="module")
def video():
    """Nine frames of noise, and one without any proposal."""
    rng = np.random.default_rng(6)
    return rng.integers(0, 255, (9, 64, 128, 3)).astype(np.uint8)


def shapes_of(images):
    return np.tile(np.float32([images.shape[1:3]]), (len(images), 1))


def make_stream(detector, variant, **options):
    options = {"local_frames": LOCAL, "memory_frames": PAST, "global_frames": ANYWHERE, **options}
    return MegaStream(detector, variant=variant, **options)


def frame_of(image, row, there, elsewhere=None):
    """The next frame of one video, or word that there are no more."""
    number, valid, ended = (
        tf.constant([row], tf.int64),
        tf.constant([there]),
        tf.constant([not there]),
    )
    return Frame(image, shapes_of(image), number, valid, ended=ended, elsewhere=elsewhere)


def run(stream, video, order=None, step=None):
    """Detections by number of the keyframe, and the last state; one video alone."""
    found, state = {}, stream.initial_state(1)
    step = step or tf.function(stream.step, autograph=False)
    for t in range(len(video) + stream.latency):
        there = t < len(video)
        image = video[min(t, len(video) - 1)][None]
        anywhere = None
        if order is not None and t < len(order):
            picked = video[order[t]][None]
            anywhere = frame_of(picked, 7, True)
        elif order is not None:
            anywhere = frame_of(image, 7, False)
        outputs, state = step(frame_of(image, 7, there, anywhere), state)
        number = int(outputs["frame"][0])
        if number != NO_FRAME:
            assert number not in found
            found[number] = {key: value[0].numpy() for key, value in outputs.items()}
    return found, state


class Algorithm1:
    """The paper's Algorithm 1 with lists: B_t, S, M, and f_rm from `relation_loops`."""

    def __init__(self, detector, variant, video):
        self.detector, self.released = detector, variant == "released"
        self.memory = detector.box_memory
        self.boxes = []  # B_t
        self.proposals = []
        for t, image in enumerate(video):
            looked = detector.look(image[None], shapes_of(image[None]), training=False)
            pool = detector.pool(looked, tf.constant([t]), training=False)
            rows = [Box(*(part[0, i].numpy() for part in pool[:3])) for i in self.real(pool, 100)]
            self.boxes.append(rows)
            # The best boxes are the first proposals, padding counted.
            self.proposals.append(pool)

    @staticmethod
    def real(pool, count):
        return [i for i in range(min(count, pool.valid.shape[1])) if pool.valid[0, i]]

    def best(self, t, count):
        """(position, box) of the best boxes of a frame."""
        pool = self.proposals[t]
        return [
            (i, Box(*(part[0, i].numpy() for part in pool[:3]))) for i in self.real(pool, count)
        ]

    def relation(self, layer, asking, seen):
        features = relate(
            weights_of(layer), HEADS, LOCAL + PAST, asking, seen, released=self.released
        )
        return [box._replace(feature=f) for box, f in zip(asking, features, strict=True)]

    @staticmethod
    def h(layer, boxes):
        w = weights_of(layer)
        return [
            box._replace(feature=np.maximum(box.feature @ w["kernel"] + w["bias"], 0))
            for box in boxes
        ]

    def enhance(self, boxes, anywhere):
        boxes = self.relation(self.memory._global[0], boxes, anywhere)
        return boxes if self.released else self.h(self.memory._global_transforms[0], boxes)

    def run(self, frames, order):
        """C of each keyframe."""
        reach, enhanced = LOCAL // 2, {}
        pushed = []  # M
        for k in range(frames):
            window = range(k - reach, k + reach + 1)
            if self.released:
                window = [min(max(t, 0), frames - 1) for t in window]
            else:
                window = [t for t in window if 0 <= t < frames]
            # One frame from anywhere comes with every step, and step k + reach shows keyframe k.
            seen = order[: k + reach + 1][-ANYWHERE:]
            anywhere = [box for t in seen for _, box in self.best(t, BEST)]
            key = self.enhance(self.boxes[k], anywhere)
            local = {t: self.enhance([b for _, b in self.best(t, BEST)], anywhere) for t in window}
            kept = {t: sum(i < KEPT for i, _ in self.best(t, BEST)) for t in window}
            levels = {t: [local[t]] for t in window}
            remembered = pushed[-PAST:]
            layers = self.memory._local
            for i, layer in enumerate(layers):
                last = i == len(layers) - 1
                references = [b for t in window for b in levels[t][i]]
                references += [b for level in remembered for b in level[i]]

                def step(boxes, i=i, layer=layer, last=last, references=references):
                    boxes = self.relation(layer, boxes, references)
                    if self.released and last:
                        return boxes
                    return self.h(self.memory._local_transforms[i], boxes)

                key = step(key)
                if not last:
                    for t in set(window):
                        levels[t].append(step(levels[t][i][: kept[t]]))
            # The first frame of the window, if there is one, goes into the memory.
            if self.released or k - reach >= 0:
                pushed.append(levels[window[0]])
            if self.released:
                key = self.relation(self.memory._last_global, key, anywhere)
            enhanced[k] = np.array([box.feature for box in key])
        return enhanced


def test_equals_algorithm_1_written_out(detector, variant, video, monkeypatch):
    seen = {}
    stream = make_stream(detector, variant)
    finish = detector.box_memory.finish
    found = []

    def listen(key, anywhere, watch):
        key = finish(key, anywhere, watch)
        found.append(key)
        return key

    monkeypatch.setattr(detector.box_memory, "finish", listen)
    order = [4, 0, 8, 2, 6, 1, 7, 3, 5]
    state = stream.initial_state(1)
    for t in range(len(video) + stream.latency):
        there = t < len(video)
        image = video[min(t, len(video) - 1)][None]
        picked = video[order[t] if there else 0][None]
        frame = frame_of(image, 7, there, frame_of(picked, 7, there))
        outputs, state = stream.step(frame, state)
        number = int(outputs["frame"][0])
        if number != NO_FRAME:
            key = found[-1]
            seen[number] = key.features[0].numpy()[key.valid[0].numpy()]
    expected = Algorithm1(detector, variant, video).run(len(video), order)
    assert sorted(seen) == sorted(expected) == list(range(len(video)))
    for k, features in expected.items():
        assert_close(seen[k], features, 2e-4)


def test_online_a_frame_before_the_window_is_remembered(detector, variant, video):
    stream = make_stream(detector, variant, online=True)
    step = tf.function(stream.step, autograph=False)
    found, _ = run(stream, video[:7], step=step)
    earlier = video[:7].copy()
    earlier[0] = 255 - earlier[0]
    changed, _ = run(stream, earlier, step=step)
    apart = changed[6]["detection_scores"] - found[6]["detection_scores"]
    assert np.abs(apart).max() > 1e-5


def test_online_global_frames_are_a_fair_sample_of_all_before():
    kept = np.zeros(40)
    for seed in range(500):
        held = {}
        for number, place in enumerate(sample_place(tf.range(40), 4, seed).numpy()):
            held[place] = number
        kept[[held[place] for place in range(4)]] += 1
    # 50 expected of each frame, standard deviation below 7.
    assert kept.sum() == 2000 and kept.min() > 25 and kept.max() < 80


def training_clip(video, places):
    images = video[list(places)]
    count = len(images)
    groundtruth = {
        "boxes": np.float32([[[5, 5, 40, 60], [20, 70, 60, 110]]]),
        "classes": np.ones((1, 2), np.int64),
        "valid": np.ones((1, 2), bool),
    }
    memory = {
        "clip_valid": tf.ones([1, count], tf.bool),
        "clip_frames": tf.constant([list(places)], tf.int32),
    }
    return images, shapes_of(images), groundtruth, memory


def test_training_on_a_few_frames_equals_the_algorithm_on_them(
    detector, variant, video, monkeypatch
):
    """Section 4.3: keyframe 5, two frames near, two before, two from anywhere."""
    places = [5, 4, 7, 1, 2, 8, 0]
    images, shapes, groundtruth, memory = training_clip(video, places)
    drawn = {}
    finish = detector.box_memory.finish

    def listen(key, anywhere):
        drawn["asked"] = key
        return finish(key, anywhere)

    sample = detector.sample

    def remember_sample(proposals, groundtruth):
        drawn["proposals"], targets = sample(proposals, groundtruth)
        return drawn["proposals"], targets

    monkeypatch.setattr(detector.box_memory, "finish", listen)
    monkeypatch.setattr(detector, "sample", remember_sample)
    detector(images, shapes, groundtruth, memory, training=False)

    oracle = Algorithm1(detector, variant, video)
    anywhere = [box for t in (8, 0) for _, box in oracle.best(t, BEST)]

    def levels_of(frames, past):
        levels = [
            {t: oracle.enhance([b for _, b in oracle.best(t, BEST)], anywhere) for t in frames}
        ]
        kept = {t: sum(i < KEPT for i, _ in oracle.best(t, BEST)) for t in frames}
        for i, layer in enumerate(oracle.memory._local[:-1]):
            seen = [b for t in frames for b in levels[i][t]] + (past[i] if past else [])
            levels.append({})
            for t in frames:
                boxes = oracle.relation(layer, levels[i][t][: kept[t]], seen)
                levels[i + 1][t] = oracle.h(oracle.memory._local_transforms[i], boxes)
        return [[b for t in frames for b in level[t]] for level in levels]

    past = levels_of([1, 2], None)
    near = levels_of([5, 4, 7], past)
    looked = detector.look(images[:1], shapes[:1], training=False)
    looked = looked._replace(proposals=drawn["proposals"])
    pool = detector.pool(looked, tf.constant([5]), training=False)
    key = [Box(*(part[0, i].numpy() for part in pool[:3])) for i in range(pool.valid.shape[1])]
    key = oracle.enhance(key, anywhere)
    for i, layer in enumerate(oracle.memory._local):
        key = oracle.relation(layer, key, near[i] + past[i])
        if variant == "paper" or i < len(oracle.memory._local) - 1:
            key = oracle.h(oracle.memory._local_transforms[i], key)
    expected = np.array([box.feature for box in key])
    valid = drawn["asked"].valid[0].numpy()
    found = drawn["asked"].features[0].numpy()
    assert_close(found[valid], expected[valid], 2e-4)


def test_it_starts_as_the_detector_that_it_was_given(build, variant):
    """What its layers hand on at first is nearly what they get."""
    memory = build("dc5", mega={"depth": DEPTH, "heads": HEADS, "variant": variant}).box_memory
    rng = np.random.default_rng(8)
    features = np.maximum(rng.normal(size=(2, 8, 1, 1, DEPTH)), 0).astype(np.float32)
    corners = rng.uniform(0, 60, (2, 8, 2))
    boxes = np.concatenate([corners, corners + 20], -1).astype(np.float32)
    proposals = Proposals(boxes, np.ones((2, 8), np.float32), np.ones((2, 8), bool))
    handed_on = memory(features, proposals=proposals)
    assert 0 < np.abs(handed_on - features).max() < 0.1 * features.max()


def test_without_local_modules_only_frames_from_anywhere_count(build, video):
    """Table 4, N_g 4, N_l 0."""
    settings = {"local_modules": 0, "global_modules": 2, "local_frames": 1, "memory_frames": 0}
    model = build("dc5", mega={"depth": DEPTH, "heads": HEADS, "reference_boxes": BEST, **settings})
    rng = np.random.default_rng(5)
    for variable in model.box_memory.trainable_variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    stream = MegaStream(model, local_frames=1, memory_frames=0, global_frames=ANYWHERE)
    order = [2, 0, 1]
    found, _ = run(stream, video[:3], order)
    written = Algorithm1(model, "paper", video[:3])
    for k, outputs in found.items():
        anywhere = [box for t in order[: k + 1][-ANYWHERE:] for _, box in written.best(t, BEST)]
        boxes = written.boxes[k]
        for i in range(2):
            boxes = written.relation(model.box_memory._global[i], boxes, anywhere)
            boxes = written.h(model.box_memory._global_transforms[i], boxes)
        features = np.array([box.feature for box in boxes], np.float32)
        logits, _ = model.box_predictor(features[None, :, None, None])
        best = tf.nn.softmax(logits)[0, :, 1:].numpy().max()
        np.testing.assert_allclose(outputs["detection_scores"][0], best, rtol=0, atol=SCORES)


def test_no_gradient_flows_into_the_memory(detector, video):
    images, shapes, groundtruth, memory = (
        # Two clips: of an odd number of images with as few channels, oneDNN's gradient crashes.
        tf.nest.map_structure(lambda part: np.concatenate([part, part]), part)
        for part in training_clip(video, [5, 4, 7, 1, 2, 8, 0])
    )
    images = tf.Variable(tf.cast(images, tf.float32))
    with tf.GradientTape() as tape:
        outputs = detector(images, shapes, groundtruth, memory, training=False)
        loss = tf.reduce_sum(outputs["class_logits"] ** 2)
    moved = np.abs(tape.gradient(loss, images).numpy()).max(axis=(1, 2, 3)) > 0
    assert moved.tolist() == [True, True, True, False, False, True, True] * 2


def test_missing_frames_of_a_clip_change_nothing(detector, video):
    places = [5, 4, 7, 1, 2, 8, 0]
    outputs = []
    for noise in (0, 1):
        images, shapes, groundtruth, memory = training_clip(video, places)
        memory["clip_valid"] = tf.constant([[True, True, False, True, False, True, False]])
        if noise:
            images[[2, 4, 6]] = 255 - images[[2, 4, 6]]
        tf.random.set_seed(3)
        outputs.append(
            detector(images, shapes, groundtruth, memory, training=False)["class_logits"]
        )
    assert_close(*outputs, 1e-5)


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"variant": "other"}, "paper, released"),
        ({"heads": 5}, "multiple of heads"),
        ({"global_frames": 0}, "mega.global_modules is 1, but without global_frames"),
        ({"training": {"global_frames": 0}}, "nothing to look at; set it to 0"),
    ],
)
def test_settings_that_make_no_sense_are_named(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build("dc5", mega={"depth": DEPTH, "heads": HEADS, **settings})


def test_a_pyramid_is_refused(build):
    with pytest.raises(ValueError, match="kind must be dc5"):
        build("fpn", mega={"depth": DEPTH, "heads": HEADS})
