"""Rounded boxes stay boxes inside of the image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.results.numbers import corner_and_size, rounded_score, to_box

EDGES = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: pair[0] < pair[1])


def test_by_hand():
    assert corner_and_size((0.2724, 0.2925, 0.3936, 0.4009)) == [0.2925, 0.2724, 0.1084, 0.1212]
    # Each rounded alone, .33335 and .66665 would be .3334 and .6667, and pass 1.
    assert corner_and_size((0.0, 0.333351, 1.0, 1.0)) == [0.3334, 0.0, 0.6666, 1.0]
    assert corner_and_size((0.99999, 0.5, 1.0, 0.50001)) == [0.5, 0.9999, 0.0001, 0.0001]


@given(EDGES, EDGES)
def test_boxes_keep_an_area_and_their_place(rows, columns):
    box = (rows[0], columns[0], rows[1], columns[1])
    x, y, width, height = corner_and_size(box)
    assert min(x, y) >= 0 and min(width, height) >= 0.0001
    assert x + width <= 1 + 1e-12 and y + height <= 1 + 1e-12
    assert to_box((x, y, width, height)) == pytest.approx(box, abs=1.01e-4)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.92649, 0.926),
        (1.0, 1.0),
        (0.0, 0.0),
        (0.0001, 0.0),
        (-0.92649, -0.926),
        (-0.0001, -0.001),
    ],
)
def test_suspects_stay_below_zero(score, expected):
    assert rounded_score(score, 3) == expected
