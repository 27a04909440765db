"""`timestamps.parse_timestamp` for tensors: dates in examples that have no seconds."""

import datetime

import tensorflow as tf

from context_rcnn.data.timestamps import EARLIEST_YEAR

# Whole readings; a date without a time of day is none here.
_READING = (
    r"\d{4}[-:/.]\d{1,2}[-:/.]\d{1,2}(?:[Tt]\s*|\s+)\d{1,2}:\d\d:\d\d(?:[.,]\d*)?"
    r"\s*(?:[Zz]|[Uu][Tt][Cc]|[Gg][Mm][Tt]|[+-]\d{2}(?::?\d{2})?)?"
)
_DIGITS = ((0, 4), (5, 2), (8, 2), (11, 2), (14, 2), (17, 2))  # where each field begins, how long
_NONE = "1970-01-01 00:00:00"


def parse(text: tf.Tensor, missing: int) -> tf.Tensor:
    """int64 seconds of a string like "2022-12-31 09:52:50"; `missing` where it is none or junk."""
    text = tf.strings.strip(text)
    whole = tf.strings.regex_full_match(text, _READING)
    text = tf.strings.regex_replace(
        text, r"(\d)(?:[Tt]\s*|\s+)(\d)", r"\1 \2", replace_global=False
    )
    text = tf.strings.regex_replace(text, r"\b(\d)\b", r"0\1")  # 9:05 is 09:05
    text = tf.where(whole, text, _NONE)
    year, month, day, hour, minute, second = (
        tf.strings.to_number(tf.strings.substr(text, start, length), tf.int64)
        for start, length in _DIGITS
    )
    exists = (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    exists &= _days(year, month, day) < _days(year, month + 1, tf.ones_like(day))
    latest = datetime.date.today().year + 1
    exists &= (year >= EARLIEST_YEAR) & (year <= latest)
    seconds = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    return tf.where(whole & exists, seconds, tf.cast(missing, tf.int64))


def _days(year: tf.Tensor, month: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
    """Days since 1970-01-01. Years begin in March, so that the leap day is the last of its year."""
    months = month + 9  # since the March before this year
    year, march_month = year - 1 + months // 12, months % 12
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + (153 * march_month + 2) // 5 + day - 719469
