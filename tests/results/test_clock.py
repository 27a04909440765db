"""Camera clocks in time zones."""

import datetime

import pytest

from context_rcnn.results.clock import CameraClock, iso

EPOCH = datetime.datetime(1970, 1, 1)


def seconds(*date):
    return int((datetime.datetime(*date) - EPOCH).total_seconds())


@pytest.mark.parametrize(
    ("timezone", "date", "expected"),
    [
        ("Z", (2013, 10, 4, 13, 31, 53), "2013-10-04T13:31:53Z"),
        ("-0700", (2013, 10, 4, 13, 31, 53), "2013-10-04T13:31:53-07:00"),
        ("+05:45", (2013, 1, 4, 1, 2, 3), "2013-01-04T01:02:03+05:45"),
        # A clock that nobody moves has one offset; one that follows daylight saving has two.
        ("+01:00", (2024, 7, 1, 12), "2024-07-01T12:00:00+01:00"),
        ("Europe/Berlin", (2024, 7, 1, 12), "2024-07-01T12:00:00+02:00"),
        ("Europe/Berlin", (2024, 1, 1, 12), "2024-01-01T12:00:00+01:00"),
        # 2024-10-27: 02:30 comes twice, the first one counts; 2024-03-31: 02:30 never comes.
        ("Europe/Berlin", (2024, 10, 27, 2, 30), "2024-10-27T02:30:00+02:00"),
        ("Europe/Berlin", (2024, 10, 27, 3, 0), "2024-10-27T03:00:00+01:00"),
        ("Europe/Berlin", (2024, 3, 31, 2, 30), "2024-03-31T02:30:00+01:00"),
    ],
)
def test_the_wall_clock_stays_and_gets_its_offset(timezone, date, expected):
    assert iso(CameraClock(timezone).at(seconds(*date))) == expected
    assert datetime.datetime.strptime(expected, "%Y-%m-%dT%H:%M:%S%z")


@pytest.mark.parametrize("name", ["", "Mars/Base", "+25:00", "+01:99", "../etc/passwd", "America"])
def test_unknown_time_zones_are_refused(name):
    with pytest.raises(ValueError, match="is not known; give the offset"):
        CameraClock(name)


@pytest.mark.parametrize(
    ("text", "end_of_day", "expected"),
    [
        ("2013-10-01", False, "2013-10-01T00:00:00-07:00"),
        ("2013-10-01", True, "2013-10-01T23:59:59-07:00"),
        ("2013-10-01 08:15:00", False, "2013-10-01T08:15:00-07:00"),
        ("2013-10-01T08:15:00-0500", False, "2013-10-01T08:15:00-05:00"),
        ("2013-10-01T08:15:00z", False, "2013-10-01T08:15:00Z"),
    ],
)
def test_dates_of_tables(text, end_of_day, expected):
    assert iso(CameraClock("-07:00").parse(text, end_of_day)) == expected


@pytest.mark.parametrize("text", ["01/10/2013", "soon", "2013-13-01"])
def test_other_dates_are_refused(text):
    with pytest.raises(ValueError, match="not a date such as"):
        CameraClock("Z").parse(text)
