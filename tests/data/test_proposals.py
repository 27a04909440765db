"""Proposals from the record to the batch: upright, clipped, mirrored with the image, best first."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.data import input as input_lib
from context_rcnn.data.failures import Reason
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.prepare import prepare
from context_rcnn.data.proposals import best_proposals
from context_rcnn.data.records import ImageRecord, LabelState

GIVEN = np.float32(
    [
        [16, 12, 32, 36, 0.5],
        [-8, 0, 64, 24, 0.75],  # half beyond the left edge
        [70, 10, 90, 20, 0.9],  # beside the image
    ]
)


def record(**changes):
    return ImageRecord("im", "a.jpg", "cam", proposals=GIVEN.tobytes(), **changes)


@pytest.fixture
def folder(tmp_path, jpeg):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    return tmp_path


def test_proposals_are_clipped_and_those_outside_are_one_failure(folder):
    prepared, (failure,) = prepare(record(width=64, height=48), folder, ImageOptions())
    expected = [[0.25, 0.25, 0.75, 0.5, 0.5], [0, 0, 0.5, 1, 0.75]]
    np.testing.assert_allclose(prepared.proposals, expected)
    assert failure.reason is Reason.BOX_OUTSIDE_IMAGE and failure.lost == "annotation"
    assert failure.detail == "1 of 3 proposals lie outside"


def test_of_another_frame_there_are_none(folder):
    prepared, (failure,) = prepare(record(width=500, height=100), folder, ImageOptions())
    assert prepared.proposals.shape == (0, 5) and failure.reason is Reason.SIZE_MISMATCH


def test_without_files_an_example_has_no_keys_of_them(folder):
    plain = dataclasses.replace(record(), proposals=None)
    prepared, _ = prepare(plain, folder, ImageOptions())
    example = tf.train.Example.FromString(examples.encode_example(prepared, {}))
    assert not [key for key in example.features.feature if "proposals" in key]


def test_flipped_examples_have_flipped_proposals_best_first(folder):
    prepared, _ = prepare(record(label_state=LabelState.EMPTY), folder, ImageOptions())
    serialized = examples.encode_example(prepared, {})
    to_row = input_lib.ImageInput((96, 128), proposals=3)
    for flip, boxes in (
        (False, [[0, 0, 48, 128], [24, 32, 72, 64]]),
        (True, [[0, 0, 48, 128], [24, 64, 72, 96]]),
    ):
        row = to_row(tf.constant([serialized]), tf.constant([True]), 0, tf.constant(flip))
        np.testing.assert_allclose(row["proposals"][0, :2], boxes, atol=1e-4)
        np.testing.assert_allclose(row["proposal_scores"][0], [0.75, 0.5, 0.0])
        assert row["proposal_valid"][0].numpy().tolist() == [True, True, False]
        assert row["proposals"].shape == (1, 3, 4)
    assert "proposals" not in input_lib.ImageInput((96, 128))(
        tf.constant([serialized]), tf.constant([True]), 0, tf.constant(False)
    )


def loop_best(boxes, scores, shape, count):
    """Plain Python."""
    kept = []
    for box, score in zip(boxes.tolist(), scores.tolist(), strict=True):
        sides = [*shape] * 2
        box = [min(max(edge, 0.0), 1.0) * side for edge, side in zip(box, sides, strict=True)]
        if box[2] > box[0] and box[3] > box[1] and math.isfinite(score):
            kept.append((score, box))
    return sorted(kept, key=lambda row: -row[0])[:count]


@pytest.mark.parametrize("count", [3, 20])
def test_the_best_equal_the_loop(count):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(-0.2, 1.2, (4, 9, 4)).astype(np.float32)
    scores = rng.normal(size=(4, 9)).astype(np.float32)
    scores[0, 3], boxes[1, 2] = np.nan, np.nan
    shapes = rng.uniform(20, 90, (4, 2)).astype(np.float32)
    best = tf.function(best_proposals, jit_compile=True, autograph=False)(
        boxes, scores, shapes, count
    )
    for i in range(4):
        expected = loop_best(boxes[i], scores[i], shapes[i].tolist(), count)
        n = len(expected)
        assert best["proposal_valid"][i].numpy().tolist() == [j < n for j in range(count)]
        np.testing.assert_allclose(best["proposal_scores"][i, :n], [s for s, _ in expected])
        found = best["proposals"][i].numpy()
        np.testing.assert_allclose(
            found[:n], np.reshape([b for _, b in expected], [-1, 4]), rtol=1e-6
        )
        assert not found[n:].any()
