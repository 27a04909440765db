"""Where and when an entry was seen, as nine floats behind its feature.

An entry is `[feature, x, y, width, height, year, month, day, hour, minute]`, D + 9 floats, x and y
being the centre of the box and all four fractions of the image. Two variants:

    paper     year (y - 1990) / 40, month / 12, day / 31, hour / 24, minute / 60
    released  the same, but (month - 1) / 12 and (day - 1) / 31

The paper does not say in which order the nine come; both variants have the release's. Years
outside of 1990 to 2030 leave 0..1, and are not clipped: two of them stay apart. An entry without a
date has five zeros. In the paper's variant no date has them, because months count from 1; in the
released one 1990-01-01 00:00 has them too, which only a clock that was never set shows.
"""

from typing import Literal

import numpy as np

Variant = Literal["paper", "released"]
VARIANTS: tuple[Variant, ...] = ("paper", "released")

SIZE = 9
X_CENTRE = -SIZE  # of an entry's last axis
FIRST_YEAR, YEARS = 1990, 40

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def check_variant(variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}: must be one of {', '.join(VARIANTS)}")


def encode(
    boxes: np.ndarray, seconds: np.ndarray, dated: np.ndarray, variant: Variant = "paper"
) -> np.ndarray:
    """The nine floats of each entry.

    Args:
        boxes: [n, 4] ymin, xmin, ymax, xmax as fractions of the image.
        seconds: [n] int64 wall-clock seconds since 1970, time-zone free.
        dated: [n] bool, False where `seconds` means nothing.
        variant: "paper" or "released".

    Returns:
        [n, 9] float32.
    """
    check_variant(variant)
    ymin, xmin, ymax, xmax = np.asarray(boxes, np.float64).T
    place = [(xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin]
    year, month, day, hour, minute = calendar_fields(seconds)
    first = 1 if variant == "released" else 0
    time = np.stack(
        [
            (year - FIRST_YEAR) / YEARS,
            (month - first) / 12,
            (day - first) / 31,
            hour / 24,
            minute / 60,
        ]
    )
    return np.concatenate([np.stack(place), np.where(dated, time, 0.0)]).T.astype(np.float32)


def decode(
    encoded: np.ndarray, variant: Variant = "paper"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Undoes `encode` as far as it can be: boxes to float32 rounding, times to the minute.

    Args:
        encoded: [n, 9].
        variant: the one it was encoded with.

    Returns:
        boxes [n, 4] float32, seconds [n] int64 (0 where undated), dated [n] bool.
    """
    check_variant(variant)
    x, y, width, height, *time = np.asarray(encoded, np.float64).T
    edges = [y - height / 2, x - width / 2, y + height / 2, x + width / 2]
    boxes = np.stack(edges, axis=-1).astype(np.float32)
    dated = np.any(np.stack(time) != 0, axis=0)
    scales = (YEARS, 12, 31, 24, 60)
    fields = [np.rint(field * scale) for field, scale in zip(time, scales, strict=True)]
    year, month, day, hour, minute = (field.astype(np.int64) for field in fields)
    first = 1 if variant == "released" else 0
    months = (year + FIRST_YEAR - 1970) * 12 + month + first - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day + first - 1
    seconds = days * _DAY + hour * _HOUR + minute * _MINUTE
    return boxes, np.where(dated, seconds, 0), dated


def calendar_fields(seconds: np.ndarray) -> tuple[np.ndarray, ...]:
    """Year, month and day from 1, hour, minute: int64, each of the shape of `seconds`."""
    seconds = np.asarray(seconds, np.int64)
    dates = (seconds // _DAY).astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month_number = months.astype(np.int64)
    day = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
    of_day = seconds % _DAY
    return (
        month_number // 12 + 1970,
        month_number % 12 + 1,
        day,
        of_day // _HOUR,
        of_day % _HOUR // _MINUTE,
    )


def flip(entries: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Mirrors entries left and right, as their images are; padding stays what it is.

    `join.flip_entries` does the same to tensors.

    Args:
        entries: [..., D + 9].
        valid: [...] bool, False for padding.
    """
    flipped = np.array(entries)
    x = flipped[..., X_CENTRE]
    flipped[..., X_CENTRE] = np.where(valid, 1 - x, x)
    return flipped


def flip_boxes(boxes: np.ndarray) -> np.ndarray:
    """Mirrors normalised boxes [..., 4], ymin, xmin, ymax, xmax."""
    ymin, xmin, ymax, xmax = np.moveaxis(boxes, -1, 0)
    return np.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1)
