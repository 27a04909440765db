"""Clock readings to seconds."""

import calendar
import datetime
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from context_rcnn.data.failures import Reason
from context_rcnn.data.timestamps import ClockError, format_timestamp, parse_timestamp

EXPECTED = calendar.timegm((2022, 12, 31, 9, 52, 50))


@pytest.mark.parametrize(
    "text",
    [
        "2022-12-31 09:52:50",
        "2022:12:31 09:52:50",
        "2022:12:31 09:52:50\x00",
        "2022-12-31T09:52:50",
        "2022-12-31T09:52:50.999",
        " 2022-12-31 9:52:50 ",
        "2022/12/31 09:52:50",
    ],
)
def test_every_spelling_is_read(text):
    assert parse_timestamp(text, this_year=2024) == EXPECTED


@pytest.mark.parametrize("zone", ["Z", "+02:00", "-0700", " UTC", "+05"])
def test_time_zone_suffix_is_dropped_and_the_wall_clock_kept(zone):
    assert parse_timestamp("2022-12-31T09:52:50" + zone, this_year=2024) == EXPECTED


def test_machine_time_zone_changes_nothing(monkeypatch):
    readings = set()
    for zone in ("UTC", "America/Los_Angeles", "Asia/Kathmandu"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        readings.add(parse_timestamp("2022-03-27 02:30:00", this_year=2024))
    monkeypatch.undo()
    time.tzset()
    assert readings == {calendar.timegm((2022, 3, 27, 2, 30, 0))}


@pytest.mark.parametrize("text", [None, "", "   ", "0000:00:00 00:00:00"])
def test_no_date_is_no_error(text):
    assert parse_timestamp(text) is None


@pytest.mark.parametrize(
    "text", ["1970-01-01 00:00:00", "2000-01-01 00:00:12", "2099-01-01 00:00:00"]
)
def test_clocks_that_were_never_set_are_junk(text):
    with pytest.raises(ClockError) as error:
        parse_timestamp(text, this_year=2024)
    assert error.value.reason is Reason.JUNK_DATE


@pytest.mark.parametrize("value", ["yesterday", "2022-13-01 00:00:00", "10/04/2013", 1380893513])
def test_what_is_no_date_is_reported(value):
    with pytest.raises(ClockError) as error:
        parse_timestamp(value)
    assert error.value.reason is Reason.BAD_DATE


@given(st.datetimes(min_value=datetime.datetime(2001, 1, 1)))
def test_formatting_and_parsing_are_inverse(reading):
    text = reading.strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0")
    seconds = parse_timestamp(text, this_year=10000)
    assert seconds == calendar.timegm(reading.timetuple())
    assert format_timestamp(seconds) == text


@given(st.text() | st.integers() | st.none() | st.lists(st.integers()))
def test_nothing_else_is_raised(value):
    try:
        parse_timestamp(value)
    except ClockError as error:
        assert error.reason in (Reason.BAD_DATE, Reason.JUNK_DATE)
