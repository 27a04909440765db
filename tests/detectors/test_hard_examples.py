"""Hard examples against loops, and that nothing else is learned from."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import configs
from context_rcnn.detectors import hard_examples
from context_rcnn.detectors.targets import AnchorTargets, ProposalTargets, proposal_targets
from context_rcnn.tasks.detection import DetectionTask
from tests.detectors.test_two_stage import loop_iou


def loop_hardest(boxes, loss, valid, count, iou):
    """Greedy, plain Python."""
    kept = []
    for i in sorted(np.flatnonzero(valid), key=lambda i: -loss[i]):
        alone = iou >= 1 or all(loop_iou(boxes[i], boxes[j]) < iou for j in kept)
        if len(kept) < count and alone:
            kept.append(i)
    return [i in kept for i in range(len(boxes))]


@pytest.fixture(scope="module")
def case():
    """Boxes in heaps, so that many overlap; a quarter is padding."""
    rng = np.random.default_rng(0)
    corner = rng.choice([0, 30, 60], (3, 40, 2)) + rng.uniform(0, 4, (3, 40, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(18, 22, (3, 40, 2))], 2)
    valid = rng.random((3, 40)) < 0.75
    return boxes.astype(np.float32), rng.exponential(size=(3, 40)).astype(np.float32), valid


@pytest.mark.parametrize("count", [4, 12, 100])
@pytest.mark.parametrize("iou", [0.5, 0.7, 1.0])
def test_the_hardest_equal_the_loop(case, count, iou):
    boxes, loss, valid = case
    hardest = tf.function(hard_examples.hardest, jit_compile=True, autograph=False)
    found = hardest(boxes, loss, valid, count, iou).numpy()
    expected = [loop_hardest(*row, count, iou) for row in zip(*case, strict=True)]
    np.testing.assert_array_equal(found, expected)


def test_by_hand_a_near_copy_of_a_harder_box_is_left_out():
    """IoU of the first two is 8/12; the third lies apart; the last is padding."""
    boxes = [[0, 0, 1, 10], [0, 2, 1, 12], [5, 5, 9, 9], [20, 20, 30, 30]]
    boxes = tf.constant([boxes], tf.float32)
    loss, valid = tf.constant([[1.0, 3.0, 2.0, 9.0]]), tf.constant([[True, True, True, False]])
    for count, iou, expected in (
        (2, 0.6, [False, True, True, False]),
        (3, 0.6, [False, True, True, False]),
        (3, 0.7, [True, True, True, False]),
        (1, 0.7, [False, True, False, False]),
    ):
        found = hard_examples.hardest(boxes, loss, valid, count, iou)
        assert found.numpy().tolist() == [expected]


def test_balanced_takes_positives_at_random_and_the_hardest_negatives(case):
    _, loss, valid = case
    positive = np.random.default_rng(1).random((3, 40)) < 0.4
    positive[2, 2:] = False
    counts = []
    for _ in range(20):
        chosen = hard_examples.balanced(positive, loss, valid, 16, 4).numpy()
        assert not chosen[~valid].any()
        for row in range(3):
            drawn = np.flatnonzero(chosen[row] & positive[row])
            assert len(drawn) == min(4, (positive & valid)[row].sum())
            negatives = np.flatnonzero(valid[row] & ~positive[row])
            hardest = sorted(negatives, key=lambda i: -loss[row, i])[: 16 - len(drawn)]  # noqa: B023
            assert sorted(np.flatnonzero(chosen[row] & ~positive[row])) == sorted(hardest)
            counts.append(tuple(drawn))
    # Other positives each time, not always those of highest loss.
    assert len(set(counts[::3])) > 5


def test_losses_of_boxes_by_hand():
    drawn = ProposalTargets(
        boxes=tf.zeros([1, 2, 4]),
        valid=tf.ones([1, 2], tf.bool),
        classes=tf.constant([[1, 0]]),
        box_offsets=tf.zeros([1, 2, 4]),
    )
    logits = tf.math.log(tf.constant([[[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]]]))
    offsets = tf.constant([[[0.5, 0.0, 3.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    weights = configs.Losses(classes=2.0, boxes=10.0, box_delta=1.0)
    found = hard_examples.box_losses(logits, offsets, drawn, weights)
    expected = [2 * np.log(4) + 10 * (0.125 + 2.5), 2 * -np.log(0.8)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_all_proposals_are_candidates_of_pure_mining():
    boxes = tf.random.stateless_uniform([1, 30, 4], [1, 2], maxval=40.0)
    boxes = tf.concat([boxes[..., :2], boxes[..., :2] + 10.0], axis=-1)
    samples, fraction = hard_examples.candidates(configs.Boxes(hard_examples="pure"))
    valid = tf.constant([[True] * 25 + [False] * 5])
    drawn = proposal_targets(
        boxes,
        valid,
        boxes[:, :2],
        tf.constant([[1, 2]]),
        tf.constant([[True, False]]),
        samples=samples,
        positive_fraction=fraction,
        positive_iou=0.5,
        box_weights=[1.0] * 4,
    )
    assert drawn.valid.shape == (1, 32) and drawn.valid.numpy().sum() == 26
    found = {tuple(b) for b in drawn.boxes[0].numpy()[drawn.valid[0].numpy()].round(3)}
    assert found == {tuple(b) for b in boxes[0, :25].numpy().round(3)}


@pytest.mark.parametrize("mode", ["pure", "balanced"])
def test_gradients_flow_through_the_chosen_boxes_alone(case, mode):
    """Of what the task loses; the others have none at all."""
    boxes, _, valid = (part[:1] for part in case)
    config = configs.DetectionTask()
    config.model.boxes = configs.Boxes(samples=4, hard_examples=mode, hard_nms_iou=0.5)
    task = DetectionTask.without_data(config, 3)
    rng = np.random.default_rng(2)
    classes = np.where(rng.random((1, 40)) < 0.3, 2, 0).astype(np.int32)
    logits = tf.Variable(rng.normal(size=(1, 40, 4)).astype(np.float32))
    offsets = tf.Variable(rng.normal(size=(1, 40, 4)).astype(np.float32))
    drawn = ProposalTargets(*map(tf.constant, (boxes, valid, classes)), tf.zeros([1, 40, 4]))
    nothing = tf.zeros([1, 1])
    first = {"objectness": nothing, "box_offsets": nothing[..., None] * tf.zeros([4])}
    none = AnchorTargets(tf.zeros([1, 1], tf.int32), nothing, tf.zeros([1, 1, 4]), nothing > 0)
    with tf.GradientTape() as tape:
        values = task.build_losses(
            {"anchor_targets": none},
            {"rpn": first, "targets": drawn, "class_logits": logits, "box_offsets": offsets},
        )
    to_logits, to_offsets = tape.gradient(values["total_loss"], [logits, offsets])
    rows = np.abs(to_logits.numpy()[0]).max(axis=1) > 0
    lost = hard_examples.box_losses(logits, offsets, drawn, config.losses).numpy()
    assert rows.sum() == 4 and not rows[~valid[0]].any()
    if mode == "pure":
        expected = loop_hardest(boxes[0], lost[0], valid[0], 4, 0.5)
        np.testing.assert_array_equal(rows, expected)
    # The mean is over those that are learned from.
    chosen = np.flatnonzero(rows)
    by_hand = lost[0, chosen].mean()
    np.testing.assert_allclose(values["total_loss"], by_hand, rtol=1e-5)
    assert not (np.abs(to_offsets.numpy()[0]).max(axis=1) > 0)[~rows].any()


def test_settings_that_make_no_sense_are_named():
    with pytest.raises(ValueError, match="must be one of none, pure, balanced, got 'hard'"):
        hard_examples.candidates(configs.Boxes(hard_examples="hard"))
    with pytest.raises(ValueError, match="candidates is 300, fewer than the 400 samples"):
        hard_examples.candidates(configs.Boxes(samples=400, hard_examples="balanced"))
