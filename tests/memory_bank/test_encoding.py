"""Where and when an entry was seen, as floats."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.memory_bank import encoding

EPOCH = datetime.datetime(1970, 1, 1)
BOX = [0.1, 0.2, 0.5, 0.8]  # centre (0.5, 0.3), 0.6 wide, 0.4 high


def seconds_of(*reading):
    return (datetime.datetime(*reading) - EPOCH) // datetime.timedelta(seconds=1)


def test_paper_variant_by_hand():
    (row,) = encoding.encode([BOX], [seconds_of(2010, 6, 15, 18, 45, 59)], [True], "paper")
    expected = [0.5, 0.3, 0.6, 0.4, 20 / 40, 6 / 12, 15 / 31, 18 / 24, 45 / 60]
    np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_released_variant_by_hand():
    (row,) = encoding.encode([BOX], [seconds_of(2010, 6, 15, 18, 45, 59)], [True], "released")
    expected = [0.5, 0.3, 0.6, 0.4, 20 / 40, 5 / 12, 14 / 31, 18 / 24, 45 / 60]
    np.testing.assert_allclose(row, expected, rtol=1e-6)


@given(
    st.lists(
        st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30)),
        min_size=1,
        max_size=20,
    )
)
def test_calendar_fields_equal_those_of_datetime_in_any_year(readings):
    seconds = np.array([(r - EPOCH) // datetime.timedelta(seconds=1) for r in readings])
    found = np.stack(encoding.calendar_fields(seconds), axis=1)
    expected = [[r.year, r.month, r.day, r.hour, r.minute] for r in readings]
    np.testing.assert_array_equal(found, expected)


def test_years_outside_of_the_range_are_not_clipped():
    seconds = [seconds_of(1985, 1, 1), seconds_of(2040, 1, 1)]
    rows = encoding.encode([BOX, BOX], seconds, [True, True])
    np.testing.assert_allclose(rows[:, 4], [-5 / 40, 50 / 40], rtol=1e-6)


@pytest.mark.parametrize("variant", encoding.VARIANTS)
def test_undated_entries_keep_their_place_and_have_no_time(variant):
    (row,) = encoding.encode([BOX], [seconds_of(2010, 6, 15)], [False], variant)
    np.testing.assert_allclose(row, [0.5, 0.3, 0.6, 0.4, 0, 0, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("variant", encoding.VARIANTS)
@given(
    st.datetimes(datetime.datetime(1991, 1, 1), datetime.datetime(2050, 1, 1)),
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
)
def test_decoding_gives_back_box_and_minute(variant, reading, edges):
    ymin, ymax = sorted(edges[:2])
    xmin, xmax = sorted(edges[2:])
    seconds = (reading - EPOCH) // datetime.timedelta(seconds=1)
    encoded = encoding.encode([[ymin, xmin, ymax, xmax]], [seconds], [True], variant)
    boxes, times, dated = encoding.decode(encoded, variant)
    np.testing.assert_allclose(boxes, [[ymin, xmin, ymax, xmax]], atol=3e-7)
    assert times[0] == seconds // 60 * 60
    assert dated[0]


def test_decoding_knows_undated_entries():
    encoded = encoding.encode([BOX], [0], [False])
    _, seconds, dated = encoding.decode(encoded)
    assert (seconds[0], dated[0]) == (0, False)


def test_unknown_variant_is_named():
    with pytest.raises(ValueError, match="'papre': must be one of paper, released"):
        encoding.encode([BOX], [0], [True], "papre")


def test_flip_mirrors_the_centre_of_valid_rows_only():
    entries = np.concatenate([np.ones([2, 3]), encoding.encode([BOX] * 2, [0, 0], [True] * 2)], 1)
    entries[0, 3] = 0.2
    entries[1] = 0  # padding
    flipped = encoding.flip(entries, np.array([True, False]))
    assert flipped[0, 3] == pytest.approx(0.8)
    np.testing.assert_array_equal(np.delete(flipped[0], 3), np.delete(entries[0], 3))
    np.testing.assert_array_equal(flipped[1], 0)
    again = encoding.flip(flipped, np.array([True, False]))
    np.testing.assert_allclose(again, entries, rtol=1e-6, atol=1e-6)


def test_flipped_encoding_is_the_encoding_of_the_flipped_box():
    boxes = np.array([BOX, [0.0, 0.7, 0.9, 1.0]])
    encoded = encoding.encode(boxes, [0, 0], [True, True])
    mirrored = encoding.encode(encoding.flip_boxes(boxes), [0, 0], [True, True])
    np.testing.assert_allclose(
        encoding.flip(encoded, np.array([True, True])), mirrored, rtol=0, atol=3e-7
    )
    np.testing.assert_allclose(encoding.flip_boxes(boxes)[1], [0.0, 0.0, 0.9, 0.3], atol=1e-12)
