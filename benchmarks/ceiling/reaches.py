"""Which other boxes of its camera each way of remembering may look at.

A reach says, for each box, which boxes are within it: bool [boxes, boxes].
"""

from collections.abc import Callable

import numpy as np

from benchmarks.ceiling.boxes import Boxes

Reach = Callable[[Boxes], np.ndarray]

MEGA_LOCAL, MEGA_GLOBAL, MEGA_MEMORY = 5, 5, 4
STMN_WINDOW, STMN_STRIDE = 5, 2
MINUTE, DAY = 60, 24 * 3600


def own_box(boxes: Boxes) -> np.ndarray:
    """Nothing else: a single-frame detector."""
    return np.eye(len(boxes.classes), dtype=bool)


def frames(number: int) -> Reach:
    """So many frames around the box's own, itself included."""
    return lambda boxes: np.abs(_apart(boxes)) <= number // 2


def seconds(horizon: int) -> Reach:
    """A horizon around the box's own time: half of it before, half after."""
    return lambda boxes: np.abs(_apart(boxes)) <= horizon // 2


def burst(boxes: Boxes) -> np.ndarray:
    """The box's own burst."""
    return boxes.bursts[:, None] == boxes.bursts[None]


def everything(boxes: Boxes) -> np.ndarray:
    """All of the video."""
    return np.ones((len(boxes.classes),) * 2, bool)


def mega(boxes: Boxes) -> np.ndarray:
    """MEGA's window: local frames, those before them that its memory holds, and global ones.

    The global frames of a keyframe are drawn from all of the video, the same in each run.
    """
    half = MEGA_LOCAL // 2
    ago = _apart(boxes)  # of row i, how long after it column j is
    near = (ago >= -half - MEGA_MEMORY) & (ago <= half)
    length = int(boxes.times.max()) + 1
    rng = np.random.default_rng(0)
    drawn = {
        time: rng.choice(length, min(MEGA_GLOBAL, length), replace=False)
        for time in np.unique(boxes.times).tolist()
    }
    far = np.stack([np.isin(boxes.times, drawn[time]) for time in boxes.times.tolist()])
    return near | far | own_box(boxes)


def stmn(boxes: Boxes) -> np.ndarray:
    """All windows of `stmn_tiny` with the box's frame: five frames, every second one."""
    apart = _apart(boxes)
    return (np.abs(apart) < STMN_WINDOW * STMN_STRIDE) & (apart % STMN_STRIDE == 0)


VIDEO_REACHES: dict[str, Reach] = {
    "own box": own_box,
    "3 frames": frames(3),
    "5 frames": frames(5),
    "25 frames": frames(25),
    f"MEGA's {MEGA_LOCAL}+{MEGA_GLOBAL}+{MEGA_MEMORY}": mega,
    f"STMN's windows of {STMN_WINDOW}": stmn,
    "whole video": everything,
}
CAMERA_REACHES: dict[str, Reach] = {
    "own box": own_box,
    "burst": burst,
    "minute": seconds(MINUTE),
    "day": seconds(DAY),
    "week": seconds(7 * DAY),
    "month": seconds(30 * DAY),
}


def _apart(boxes: Boxes) -> np.ndarray:
    return boxes.times[None] - boxes.times[:, None]
