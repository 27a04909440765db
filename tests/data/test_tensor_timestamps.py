"""Dates in graphs, held against those outside of them."""

import datetime

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.data import tensor_timestamps
from context_rcnn.data.timestamps import ClockError, parse_timestamp

parse = tf.function(
    lambda text: tensor_timestamps.parse(text, -1), input_signature=[tf.TensorSpec([], tf.string)]
)
ALMOST = st.from_regex(
    r"\A ?(2[01]|19)\d\d([-:/.](0?[1-9]|[1-3]\d|00)){2}[ T]{1,2}[0-2]?\d:[0-6]\d:[0-6]\d"
    r"(\.\d{0,3})?( ?(Z|UTC|[+-]\d\d:?\d\d))?\Z",
    alphabet=st.characters(codec="ascii"),
)


def reference(text):
    try:
        return parse_timestamp(text)
    except ClockError:
        return None


def check(text):
    wanted = reference(text)
    assert parse(text).numpy() == (-1 if wanted is None else wanted), text


@pytest.mark.parametrize(
    "text",
    [
        "2013-10-04 13:31:53",
        "2016:02:29 23:59:59",
        "2015-02-29 00:00:00",
        "2024-12-31T09:05:07.25+02:00",
        "2024/1/5  9:05:07",
        "1970-01-01 00:00:00",
        "2000-12-31 23:59:59",
        "2001-01-01 00:00:00",
        "9999-01-01 00:00:00",
        "2020-13-01 00:00:00",
        "2020-01-00 00:00:00",
        "2020-01-01 24:00:00",
        "0000:00:00 00:00:00",
        "",
        "yesterday",
        "2020-01-01 00:00:00 and more",
    ],
)
def test_a_reading_is_the_same_in_a_graph(text):
    check(text)


@given(st.datetimes(datetime.datetime(1995, 1, 1), datetime.datetime(2040, 1, 1)))
def test_every_date_is_the_same_in_a_graph(reading):
    check(reading.strftime("%Y-%m-%d %H:%M:%S"))


@given(ALMOST)
def test_what_is_almost_a_date_is_judged_alike(text):
    check(text)
