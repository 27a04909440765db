"""Models that get every frame twice look at it once, and find what they found before."""

import numpy as np
import pytest

from context_rcnn.runners.engine.looks import LookingOnce, looks_once
from context_rcnn.runners.engine.steps import REST, Step, call_videos, step_videos

ROWS = 2


class LookingModel:
    """Finds in a frame its first byte, and adds up what it is given, row by row."""

    class_names, has_memory, extractor_hash, detect = {1: "fox"}, False, "", None
    description = {"stream": {"inputs": ["ended", "elsewhere"], "latency": 0, "looks": True}}

    def __init__(self):
        self.looks = []

    def initial_state(self, batch_size):
        return {"sum": np.zeros(batch_size)}

    def look(self, encoded, valid):
        assert len(encoded) == len(valid) == ROWS, "all calls have one size"
        assert [bool(image) for image in encoded] == [*valid]
        if any(image == b"bad" for image in encoded):
            raise ValueError("Invalid JPEG data")
        self.looks += [image for image in encoded if image]
        return {"value": np.float32([image[0] if image else 0 for image in encoded])}

    def step_with_looks(self, looked, rows, valid, state, *, ended, elsewhere, elsewhere_valid):
        there = looked["value"] * valid + 1000 * elsewhere["value"] * elsewhere_valid
        total = state["sum"] + there
        return {"said": total, "frame": np.zeros(len(rows))}, {"sum": total}


def frame(number):
    return bytes([number])


def run(model, steps, numbers=(5, 6)):
    """What a model says in each step."""
    state, said = model.initial_state(ROWS), []
    for rows in steps:
        found, state = call_videos(model, rows, numbers, state)
        said.append(found["said"].tolist())
    return said


def a_video(order, first=0):
    return [Step(frame(first + i), frame(first + other)) for i, other in enumerate(order, start=1)]


def test_every_frame_is_looked_at_once():
    orders = [3, 1, 4, 2], [2, 4, 1, 3]
    steps = [*zip(a_video(orders[0]), a_video(orders[1], first=10), strict=True)]
    inner = LookingModel()
    model = LookingOnce(inner)
    said = run(model, [*steps, (Step(ended=True), REST)])
    assert sorted(inner.looks) == [*map(frame, (1, 2, 3, 4, 11, 12, 13, 14))]
    assert model.looked == 8 and not model._kept
    seen = [[i + 1000 * o for i, o in enumerate(order, start=1)] for order in orders]
    seen[1] = [value + 10 + 10_000 for value in seen[1]]
    expected = np.cumsum(seen, axis=1).T.tolist()
    assert said == [*expected, expected[-1]]


def test_the_same_picture_in_two_videos_is_two_frames():
    inner = LookingModel()
    said = run(LookingOnce(inner), [(Step(frame(1), frame(2)), Step(frame(1), frame(1)))])
    assert sorted(inner.looks) == [frame(1), frame(1), frame(2)] and said == [[2001, 1001]]


def test_a_picture_that_stays_the_same_is_looked_at_again_when_it_was_had_twice():
    inner = LookingModel()
    run(LookingOnce(inner), [(Step(frame(1), frame(1)), REST)] * 3)
    assert inner.looks == [frame(1)] * 3


def test_a_step_without_any_frame():
    assert run(LookingOnce(LookingModel()), [(Step(ended=True), REST)]) == [[0, 0]]


def test_what_is_kept_is_bounded_and_the_rest_looked_at_again():
    order = [8, 7, 6, 5, 4, 3, 2, 1]
    steps = [(step, REST) for step in a_video(order)]
    inner = LookingModel()
    model = LookingOnce(inner, most_bytes=3 * 4)  # of three frames
    assert run(model, steps) == run(LookingOnce(LookingModel()), steps)
    assert len(inner.looks) > 8 and sorted(set(inner.looks)) == [*map(frame, range(1, 9))]
    assert len(model._kept) <= 3


def test_a_video_that_is_through_is_forgotten():
    model = LookingOnce(LookingModel())
    run(model, [(Step(frame(1), frame(2)), Step(frame(3), frame(4)))], (5, 6))
    assert {key.row for key in model._kept} == {5, 6}
    run(model, [(Step(frame(1), frame(2)), REST)], (7, 0))
    assert {key.row for key in model._kept} == {7}


def test_a_broken_frame_fails_alone(monkeypatch):
    monkeypatch.setattr("context_rcnn.runners.engine.steps.refusals", lambda: (ValueError,))
    inner = LookingModel()
    model = LookingOnce(inner)
    state = model.initial_state(ROWS)
    steps = [Step(b"bad", frame(2)), Step(frame(3), frame(3))]
    found, state = step_videos(model, steps, (5, 6), state)
    assert "Invalid JPEG data" in found[0].detail and found[1]["said"] == 3003
    # The frame from anywhere is broken: the video goes on without it.
    found, state = step_videos(model, [Step(frame(4), b"bad"), REST], (5, 6), state)
    assert found[0]["said"] == 4 and state["sum"].tolist() == [4, 3003]


@pytest.mark.parametrize("stream", [None, {"inputs": ["ended"]}, {"inputs": ["elsewhere"]}])
def test_other_models_stay_as_they_are(stream):
    model = LookingModel()
    model.description = {"stream": stream}
    assert looks_once(model) is model
