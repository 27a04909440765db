"""Bursts: images of one camera with no long pause between them."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator

from context_rcnn.data.records import ImageRecord

DEFAULT_GAP_SECONDS = 60


def time_order(record: ImageRecord) -> tuple:
    """Sort key within a camera: by clock, undated last; then by frame number, then by id."""
    undated = record.seconds is None
    return (undated, record.seconds or 0, record.frame_num, record.file_name, record.image_id)


def assign_sequences(
    records: Iterable[ImageRecord], gap_seconds: int = DEFAULT_GAP_SECONDS
) -> list[ImageRecord]:
    """Fills in missing `seq_id`, `seq_num_frames` and `frame_num`; what is given stays.

    Images without a `seq_id` join the previous such image of their camera unless more than
    `gap_seconds` lie between them. An image without a date is a sequence of its own. A new
    sequence is named after its first image, so its name survives later additions to the archive.

    Returns:
        Records sorted by camera, then time.
    """
    by_camera = defaultdict(list)
    for record in records:
        by_camera[record.camera].append(record)
    sequences = defaultdict(list)
    for camera in sorted(by_camera):
        in_time = sorted(by_camera[camera], key=time_order)
        for record, seq_id in zip(in_time, sequence_ids(in_time, gap_seconds), strict=True):
            sequences[camera, seq_id].append(record)
    numbered = [
        record for (_, seq_id), members in sequences.items() for record in _number(seq_id, members)
    ]
    return sorted(numbered, key=lambda record: (record.camera, time_order(record)))


def sequence_ids(
    in_time: Iterable[ImageRecord], gap_seconds: int = DEFAULT_GAP_SECONDS
) -> Iterator[str]:
    """The sequence of each record of one camera; see `assign_sequences`.

    Args:
        in_time: Records of one camera, in `time_order`.
        gap_seconds: Longest pause within a sequence.
    """
    current, last_seconds = "", None
    for record in in_time:
        if record.seq_id:
            yield record.seq_id
            continue
        joins = (
            record.seconds is not None
            and last_seconds is not None
            and record.seconds - last_seconds <= gap_seconds
        )
        if not joins:
            current = f"from:{record.image_id}"
        last_seconds = record.seconds
        yield current


def _number(seq_id: str, members: list[ImageRecord]) -> list[ImageRecord]:
    keep_numbers = all(record.frame_num >= 0 for record in members)
    return [
        dataclasses.replace(
            record,
            seq_id=seq_id,
            seq_num_frames=record.seq_num_frames or len(members),
            frame_num=record.frame_num if keep_numbers else position,
        )
        for position, record in enumerate(members)
    ]
