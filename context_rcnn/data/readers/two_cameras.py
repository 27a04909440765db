"""What iLIDS-VID and PRID-2011 have in common: two cameras, one tracklet of a person in each.

Half of the persons are for training. Camera one asks, camera two is the gallery.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from context_rcnn.data.tracklets import Tracklet

SPLITS = 10


def seeded_split(persons: Sequence[str], split: int, seed: int) -> set[str]:
    """Half of the persons, for training: the split of that number, drawn by a seed."""
    rng = np.random.default_rng([seed, split])
    order = rng.permutation(len(persons))
    return {persons[i] for i in order[: len(persons) // 2]}


def check_split(split: int, count: int, source: str) -> None:
    """Raises a ValueError where there is no such split."""
    if not 0 <= split < count:
        raise ValueError(f"split {split} does not exist: {source} has {count}, from 0 on")


def divide(
    first: Mapping[str, Tracklet], second: Mapping[str, Tracklet], train: set[str]
) -> tuple[list[Tracklet], list[Tracklet], list[Tracklet]]:
    """Tracklets of persons seen by both cameras: those to learn from, queries, and gallery.

    Args:
        first: tracklets of camera one by person.
        second: tracklets of camera two by person.
        train: persons for training; all others are for the evaluation.
    """
    both = sorted(first.keys() & second.keys())
    held_out = [person for person in both if person not in train]
    return (
        [camera[person] for person in both if person in train for camera in (first, second)],
        [first[person] for person in held_out],
        [second[person] for person in held_out],
    )
