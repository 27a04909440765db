"""Encoding and calendar bins for tensors: where the memory grows inside a compiled model."""

import tensorflow as tf

from context_rcnn.memory_bank import encoding
from context_rcnn.memory_bank.window import SPANS, Horizon


def encode(
    boxes: tf.Tensor, seconds: tf.Tensor, dated: tf.Tensor, variant: encoding.Variant = "paper"
) -> tf.Tensor:
    """`encoding.encode`: the nine floats of each entry, float32 [..., 9].

    Args:
        boxes: [..., 4] ymin, xmin, ymax, xmax as fractions of the image.
        seconds: [...] int64 wall-clock seconds since 1970.
        dated: [...] bool, False where `seconds` means nothing.
        variant: `paper` or `released`.
    """
    encoding.check_variant(variant)
    ymin, xmin, ymax, xmax = tf.unstack(tf.cast(boxes, tf.float32), axis=-1)
    place = [(xmin + xmax) / 2.0, (ymin + ymax) / 2.0, xmax - xmin, ymax - ymin]
    first = 1 if variant == "released" else 0
    origins = (encoding.FIRST_YEAR, first, first, 0, 0)
    scales = (encoding.YEARS, 12, 31, 24, 60)
    fields = calendar_fields(tf.where(dated, seconds, 0))
    time = [
        tf.where(dated, tf.cast(field - origin, tf.float32) / scale, 0.0)
        for field, origin, scale in zip(fields, origins, scales, strict=True)
    ]
    return tf.stack(place + time, axis=-1)


def calendar_fields(seconds: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Year, month and day from 1, hour, minute, int64, from int64 seconds since 1970.

    Days are counted in eras of 400 years of 146,097 days that begin in March, so that the leap day
    is the last of its year.
    """
    days, of_day = seconds // 86400, seconds % 86400
    since = days + 719468  # days since 0000-03-01
    era, day_of_era = since // 146097, since % 146097
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = tf.where(march_month < 10, march_month + 3, march_month - 9)
    year = year_of_era + era * 400 + tf.cast(month <= 2, tf.int64)
    return year, month, day, of_day // 3600, of_day % 3600 // 60


def calendar_bin(seconds: tf.Tensor, horizon: Horizon) -> tf.Tensor:
    """A number that two moments share if `window.calendar_bin` gives them the same bin."""
    if horizon in ("minute", "hour", "day"):
        return seconds // SPANS[horizon]
    year, month, day, _, _ = calendar_fields(seconds)
    months = year * 12 + month
    return months if horizon == "month" else months * 5 + day // 7
