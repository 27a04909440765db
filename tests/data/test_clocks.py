"""Corrections of camera clocks: what people may write, and what becomes of readings."""

import calendar

import pytest

from context_rcnn.data.clocks import CameraClocks
from context_rcnn.data.timestamps import ClockError, parse_timestamp


def seconds(*date):
    return calendar.timegm(date)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+365d3h", 365 * 86400 + 3 * 3600),
        ("-1h30m", -5400),
        ("+90s", 90),
        ("+0d", 0),
        (" -2d ", -2 * 86400),
    ],
)
def test_a_shift_is_added_to_every_reading_of_its_camera_alone(text, expected):
    clocks = CameraClocks([f"north={text}"])
    assert clocks.corrector("north")(1000) == 1000 + expected
    assert clocks.corrector("south") is None


def test_names_of_cameras_may_have_equals_signs():
    assert CameraClocks(["a=b=+1h"]).corrector("a=b")(0) == 3600


@pytest.mark.parametrize(
    "text", ["north", "=+1h", "north=", "north=1h", "north=+", "north=+1y", "north=+1h2d", "n=+-1h"]
)
def test_what_is_no_shift_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"such as \+365d3h"):
        CameraClocks([text])


def test_more_than_a_century_is_refused():
    with pytest.raises(ValueError, match="more than a hundred years"):
        CameraClocks(["north=+40000d"])


def test_a_table_corrects_some_dates_and_leaves_others(tmp_path):
    """Batteries changed on 5 May: the clock began in 1970, and was set on 1 June."""
    (tmp_path / "clocks.csv").write_text(
        "camera;shift;from;to\n"
        "north;+19848d10h;1970-01-01;1970-12-31 23:59:59\n"
        "north;-1h;2024-06-01;\n"
        "south;+1d;;\n"
    )
    correct = CameraClocks([], tmp_path / "clocks.csv").corrector("north")
    assert correct(60) == seconds(2024, 5, 5, 10, 1, 0)
    assert correct(seconds(2024, 5, 4, 8, 0, 0)) == seconds(2024, 5, 4, 8, 0, 0)
    assert correct(seconds(2024, 6, 1, 0, 0, 0)) == seconds(2024, 5, 31, 23, 0, 0)
    assert correct(seconds(2024, 5, 31, 23, 59, 59)) == seconds(2024, 5, 31, 23, 59, 59)


def test_two_dates_of_one_moment_say_the_shift(tmp_path):
    (tmp_path / "c.csv").write_text(
        "camera,shown,actual\nnorth,1970-01-01 00:05:00,2024-03-02 14:10:00\n"
    )
    clocks = CameraClocks([], tmp_path / "c.csv")
    assert clocks.corrector("north")(300) == seconds(2024, 3, 2, 14, 10, 0)
    assert clocks.rule("north") == "+19784d14h5m"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("camera,offset\nn,+1h\n", "needs the columns 'camera' and 'shift', or"),
        ("camera,shift,shown,actual\nn,+1h,,\n", "needs the columns"),
        ("camera,shift\n,+1h\n", "line 2: 'camera' must not be empty"),
        ("camera,shift\nn,1h\n", "line 2: '1h' is no shift"),
        ("camera,shown,actual\nn,2024-01-01,\n", "line 2: 'shown' and 'actual' must not be empty"),
        ("camera,shown,actual\nn,2024-13-01,2024-01-01\n", "line 2: 'shown': month"),
        ("camera,shift,from,to\nn,+1h,2024-02-01,2024-01-01\n", "line 2: 'from' is later"),
        ("camera,shift,from,to\nn,+1h,,2024-02-01\nn,+2h,2024-02-01,\n", "line 3: 'n' has two"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, table, message):
    (tmp_path / "c.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        CameraClocks([], tmp_path / "c.csv")


def test_a_flag_and_a_table_cannot_correct_one_reading_both(tmp_path):
    (tmp_path / "c.csv").write_text("camera,shift\nnorth,+1h\n")
    with pytest.raises(ValueError, match="'north' has two corrections at once: -1h before"):
        CameraClocks(["north=-1h"], tmp_path / "c.csv")


def test_a_clock_that_was_never_set_is_believed_once_corrected():
    correct = CameraClocks(["north=+19784d"]).corrector("north")
    text = "1970:01:01 06:00:00"
    assert parse_timestamp(text, this_year=2024, correct=correct) == seconds(2024, 3, 2, 6, 0, 0)
    with pytest.raises(ClockError, match=r"'1970.*', with its correction \+1d"):
        parse_timestamp(text, correct=CameraClocks(["north=+1d"]).corrector("north"))
    with pytest.raises(ClockError, match="not set: '9999"):
        parse_timestamp("9999-12-31 00:00:00", correct=lambda reading: reading + 10**10)
