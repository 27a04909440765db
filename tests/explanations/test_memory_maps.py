"""Trails in a memory of maps, by hand."""

import numpy as np
import pytest

from context_rcnn.explanations.memory_maps import trail_length

HEIGHT, WIDTH = 4, 10


def box(column, row=1, side=2):
    """A box of cells, as fractions."""
    return [row / HEIGHT, column / WIDTH, (row + side) / HEIGHT, (column + side) / WIDTH]


def memory(*columns):
    """Bright in the object's box at column 6, and in the middle cells of boxes at these columns."""
    held = np.full((HEIGHT, WIDTH), 0.1)
    held[1:3, 6:8] = 1.0
    for column in columns:
        held[2, column + 1] = 0.9
    return held


PATH = [box(5), box(4), box(2), box(0)]  # the latest first; the first one's middle is in the box


@pytest.mark.parametrize(
    "columns, length",
    [
        ((), 0.0),
        ((4,), 2.0),
        ((4, 2), 4.0),
        ((4, 2, 0), 6.0),
        ((2, 0), 0.0),  # the place behind the box is not held
        ((4, 0), 2.0),  # nor is what comes after a gap
    ],
)
def test_a_trail_reaches_back_until_the_first_dark_place(columns, length):
    found = trail_length(memory(*columns), box(6), PATH, [*PATH, box(6)])
    assert found == pytest.approx((length, 6.0))


def test_what_lies_half_way_is_dark():
    held = memory(4)
    held[2, 5] = 0.55  # half-way between 1 and .1
    assert trail_length(held, box(6), PATH, PATH)[0] == 0.0
    held[2, 5] = 0.56
    assert trail_length(held, box(6), PATH, PATH)[0] == pytest.approx(2.0)


def test_an_object_that_stays_leaves_no_trail():
    assert trail_length(memory(), box(6), [box(6), box(5)], []) == (0.0, 0.0)


def test_an_object_no_brighter_than_its_surroundings_is_not_measured():
    length, moved = trail_length(np.ones((HEIGHT, WIDTH)), box(6), PATH, PATH)
    assert length is None and moved == pytest.approx(6.0)


def test_nothing_is_measured_without_surroundings():
    assert trail_length(memory(), [0, 0, 1, 1], PATH, PATH)[0] is None
