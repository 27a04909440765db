"""The two-stage pass: decoding against loops, masks, independence of batch neighbours, XLA."""

import math

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.detectors.heads import DenseBoxHead
from context_rcnn.detectors.two_stage import IdentityPort, Proposals
from tests.tolerance import PIXELS, SCORES


def loop_decode(offsets, box, weights, shape):
    """Box offsets to a clipped box, one box, plain Python."""
    height, width = box[2] - box[0], box[3] - box[1]
    dy, dx, dh, dw = (o / w for o, w in zip(offsets, weights, strict=True))
    dh, dw = min(dh, math.log(1000 / 16)), min(dw, math.log(1000 / 16))
    cy, cx = box[0] + height / 2 + dy * height, box[1] + width / 2 + dx * width
    height, width = height * math.exp(dh), width * math.exp(dw)
    corners = [cy - height / 2, cx - width / 2, cy + height / 2, cx + width / 2]
    return [min(max(v, 0.0), limit) for v, limit in zip(corners, (*shape, *shape), strict=True)]


def loop_iou(a, b):
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(height, 0) * max(width, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (area - overlap) if area > overlap else 0.0


def loop_detect(logits, offsets, proposals, valid, shape, *, threshold, nms_iou, count):
    """The second stage's post-processing of one image, plain Python."""
    found = []
    for label in range(1, logits.shape[-1]):
        candidates = []
        for i in range(len(proposals)):
            if not valid[i]:
                continue
            exps = [math.exp(x - max(logits[i])) for x in logits[i]]
            score = exps[label] / sum(exps)
            if score > threshold:
                box = loop_decode(
                    offsets[i].reshape(-1, 4)[label], proposals[i], (10, 10, 5, 5), shape
                )
                candidates.append((score, box))
        kept = []
        for score, box in sorted(candidates, key=lambda c: -c[0]):
            if all(loop_iou(box, other) <= nms_iou for _, other in kept):
                kept.append((score, box))
        found += [(score, label, box) for score, box in kept]
    return sorted(found, key=lambda f: -f[0])[:count]


def test_detections_equal_the_loop(detector):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (2, 20, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 40, (2, 20, 2))], 2).astype(np.float32)
    valid = rng.random((2, 20)) < 0.7
    logits = rng.normal(size=(2, 20, 4)).astype(np.float32) * 2
    offsets = rng.normal(size=(2, 20, 16)).astype(np.float32)
    shape = np.array([[64, 128], [64, 80]], np.float32)
    found = detector.detect(
        tf.constant(logits),
        tf.constant(offsets),
        Proposals(tf.constant(boxes), tf.ones([2, 20]), tf.constant(valid)),
        tf.constant(shape),
    )
    for b in range(2):
        expected = loop_detect(
            logits[b],
            offsets[b],
            boxes[b],
            valid[b],
            shape[b],
            threshold=0.001,
            nms_iou=0.6,
            count=10,
        )
        n = int(found["num_detections"][b])
        assert n == len(expected)
        for k, (score, label, box) in enumerate(expected):
            assert float(found["detection_scores"][b, k]) == pytest.approx(score, abs=SCORES)
            assert int(found["detection_classes"][b, k]) == label
            np.testing.assert_allclose(found["detection_boxes"][b, k], box, rtol=0, atol=PIXELS)
        assert (found["detection_scores"].numpy()[b, n:] == -1).all()
        assert (found["detection_boxes"].numpy()[b, n:] == 0).all()


def test_an_image_without_valid_proposals_has_no_detections(detector):
    found = detector.detect(
        tf.random.normal([1, 20, 4]),
        tf.random.normal([1, 20, 16]),
        Proposals(tf.ones([1, 20, 4]), tf.ones([1, 20]), tf.zeros([1, 20], tf.bool)),
        tf.constant([[64.0, 128.0]]),
    )
    assert int(found["num_detections"][0]) == 0


def test_proposals_are_inside_the_image_and_not_in_its_padding(detector, batch):
    images, shape, _ = batch
    proposals = detector.look(images, shape).proposals
    boxes, valid = proposals.boxes.numpy(), proposals.valid.numpy()
    assert valid.any(axis=1).all()
    for b in range(3):
        kept = boxes[b][valid[b]]
        assert kept.min() >= 0
        assert (kept[:, 2] <= shape[b, 0] + 1e-3).all() and (kept[:, 3] <= shape[b, 1] + 1e-3).all()
        assert (kept[:, 2:] > kept[:, :2]).all()


def test_proposals_are_suppressed_as_a_loop_would(detector, batch):
    """Level by level, then the best of all levels. (C4 has a single level.)"""
    images, shape, _ = batch
    seen = detector.look(images, shape)
    proposals, rpn = seen.proposals, seen.rpn
    anchors = detector.anchors.numpy()
    sizes = [anchor.size // 4 for _, anchor in sorted(detector._anchors)]
    starts = np.cumsum([0, *sizes])
    for b in range(3):
        scores = 1 / (1 + np.exp(-rpn["objectness"].numpy()[b]))
        boxes = [
            loop_decode(o, a, (1, 1, 1, 1), shape[b])
            for o, a in zip(rpn["box_offsets"].numpy()[b], anchors, strict=True)
        ]
        found = []
        for start, size in zip(starts, sizes, strict=False):
            members = np.arange(start, start + size)
            kept = []
            for i in members[np.argsort(-scores[members], kind="stable")][:200]:
                side = min(boxes[i][2] - boxes[i][0], boxes[i][3] - boxes[i][1])
                if side > 1 and all(loop_iou(boxes[i], boxes[j]) < 0.7 for j in kept):
                    kept.append(i)
            found += kept[:20]
        expected = sorted(found, key=lambda i: -scores[i])[:20]
        valid = proposals.valid.numpy()[b]
        assert valid.sum() == len(expected)
        np.testing.assert_allclose(
            proposals.scores.numpy()[b][valid], scores[expected], rtol=0, atol=SCORES
        )
        np.testing.assert_allclose(
            proposals.boxes.numpy()[b][valid], [boxes[i] for i in expected], rtol=0, atol=PIXELS
        )


def test_batch_neighbours_do_not_change_detections(detector, batch):
    images, shape, _ = batch
    together = detector(images, shape, training=False)
    for b in range(3):
        alone = detector(images[b : b + 1], shape[b : b + 1], training=False)
        np.testing.assert_allclose(
            together["detection_scores"][b], alone["detection_scores"][0], rtol=0, atol=SCORES
        )


def test_any_batch_size_runs_in_one_graph(detector, batch):
    images, shape, _ = batch
    detect = tf.function(
        lambda i, s: detector(i, s, training=False)["detection_scores"],
        input_signature=[
            tf.TensorSpec([None, 64, 128, 3], tf.uint8),
            tf.TensorSpec([None, 2], tf.float32),
        ],
        autograph=False,
    )
    eager = detector(images, shape, training=False)["detection_scores"]
    np.testing.assert_allclose(detect(images, shape), eager, rtol=0, atol=SCORES)
    np.testing.assert_allclose(detect(images[:1], shape[:1]), eager[:1], rtol=0, atol=SCORES)


def test_compiles_under_xla_with_the_same_scores(detector, batch):
    images, shape, _ = batch
    compiled = tf.function(
        lambda i, s: detector(i, s, training=False), jit_compile=True, autograph=False
    )
    plain = detector(images, shape, training=False)
    np.testing.assert_allclose(
        compiled(images, shape)["detection_scores"], plain["detection_scores"], rtol=0, atol=SCORES
    )


def test_box_features_are_seven_by_seven_or_one_vector(detector, batch):
    images, shape, _ = batch
    seen = detector.look(images, shape)
    sides = (1, 1) if type(detector.box_head) is DenseBoxHead else (7, 7)
    assert detector.features(seen).shape[:4] == (3, 20, *sides)


def test_ports_are_the_identity_without_a_memory(detector, batch):
    assert isinstance(detector.map_memory, IdentityPort)
    assert isinstance(detector.box_memory, IdentityPort)
    features = tf.random.normal([2, 3])
    assert detector.box_memory(features, proposals=None, memory=None) is features


def test_a_box_memory_sees_proposals_and_changes_detections(detector, batch):
    import tf_keras

    seen = {}

    class Shout(tf_keras.layers.Layer):
        def call(self, features, *, proposals=None, memory=None, training=None):
            seen["valid"], seen["memory"] = proposals.valid, memory
            return features + memory["bias"]

    images, shape, _ = batch
    plain = detector(images, shape, training=False)["class_logits"]
    identity, detector.box_memory = detector.box_memory, Shout()
    try:
        changed = detector(images, shape, memory={"bias": tf.constant(3.0)}, training=False)
    finally:
        detector.box_memory = identity
    assert seen["valid"].shape == (3, 20)
    assert np.abs(changed["class_logits"].numpy() - plain.numpy()).max() > 1e-3


def test_an_unknown_backbone_is_named():
    from context_rcnn import configs
    from context_rcnn.detectors.faster_rcnn import build_faster_rcnn

    config = configs.FasterRcnn(num_classes=2, backbone=configs.Backbone(model_id=51))
    with pytest.raises(ValueError, match="model_id 51"):
        build_faster_rcnn(config)
    tiny = configs.Backbone(model_id=10, depth_multiplier=0.125)
    config = configs.FasterRcnn(num_classes=2, image_size=[100, 640], backbone=tiny)
    with pytest.raises(ValueError, match="not a multiple of 16"):
        build_faster_rcnn(config)


def test_classes_that_share_their_offsets_have_boxes_alike():
    """Shared offsets are as offsets of each class that happen to be equal."""
    from context_rcnn import configs
    from context_rcnn.detectors.faster_rcnn import build_faster_rcnn

    config = configs.FasterRcnn(
        num_classes=3,
        image_size=[64, 128],
        backbone=configs.Backbone(model_id=10, depth_multiplier=0.125),
        proposals=configs.Proposals(filters=8, pre_nms=40, count=6),
        boxes=configs.Boxes(class_agnostic=True),
    )
    detector = build_faster_rcnn(config)
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 128, 3)).astype(np.uint8)
    shapes = tf.constant([[64.0, 128.0]] * 2)
    answer = detector.answer(detector.look(images, shapes))
    assert answer.offsets.shape == (2, 6, 4)
    shared = answer.offsets + tf.random.stateless_normal([2, 6, 4], [1, 2])
    one_by_one = tf.tile(shared, [1, 1, 4])
    found = detector.detect(answer.logits, shared, answer.proposals, shapes)
    expected = detector.detect(answer.logits, one_by_one, answer.proposals, shapes)
    np.testing.assert_array_equal(found["detection_boxes"], expected["detection_boxes"])
    # By hand, of the first proposal: the centre moves by dy / 10 of its height.
    y1, x1, y2, x2 = answer.proposals.boxes[0, 0].numpy()
    dy, _, dh, _ = shared[0, 0].numpy()
    box = detector.class_boxes(shared, answer.proposals, 3)[0, 0]
    height = (y2 - y1) * np.exp(dh / 5)
    centre = (y1 + y2) / 2 + dy / 10 * (y2 - y1)
    for of_class in box.numpy():
        np.testing.assert_allclose(
            of_class[[0, 2]], [centre - height / 2, centre + height / 2], rtol=0, atol=PIXELS
        )
