"""The window: the part of its own camera's bank that a keyframe sees.

How far it reaches:

    centred (default)  entries at most half of the horizon away from the keyframe, both ends
                       included: a day is 12 hours before to 12 hours after. A month has 30 days.
                       The paper's i_(t-k) : i_(t+k).
    calendar           entries of the keyframe's own calendar minute, hour, day, week or month; a
                       week is the month's days 1-6, 7-13, 14-20, 21-27, 28-31. As the release.
    causal             only what came before, reaching back the whole horizon, or with `calendar`
                       to the beginning of the bin. Of the keyframe's own second, images whose id
                       sorts before its own.

The horizon "any" reaches everywhere. Only there are entries without a date, which have no place in
time, and never if the window is causal. A keyframe without a date sees nothing of another horizon,
and nothing at all if causal: what is past is not known.

`include_keyframe` says whether the keyframe's own entries are in; they are known by image id.

How more than `max_entries` are cut down, all deterministic; undated entries go first:

    newest    the last in order
    nearest   the least seconds away from the keyframe, of equals the first in order
    uniform   evenly spaced in order
    diverse   far apart in feature space, see `sampling.farthest_points`. Its cost is bounded: the
              candidates are first thinned evenly to twice `max_entries`, and to 4096 (to
              `max_entries` if that is more).

Where the keyframe or the entries have no date, nearest means uniform.
"""

import bisect
import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

from context_rcnn.memory_bank import sampling

Horizon = Literal["minute", "hour", "day", "week", "month", "any"]
Policy = Literal["newest", "nearest", "uniform", "diverse"]

SPANS = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}
POLICIES: tuple[Policy, ...] = ("newest", "nearest", "uniform", "diverse")
MAX_DIVERSE_CANDIDATES = 4096


@dataclasses.dataclass(frozen=True)
class WindowOptions:
    """Options of the window; the docstring of the module has the details.

    Attributes:
        horizon: Length of time that the window spans.
        calendar: Take the calendar's bin that the keyframe is in.
        causal: Take only what came before the keyframe.
        include_keyframe: Keep the keyframe's own entries.
        policy: Rule to choose entries from a window that is too large.
    """

    horizon: Horizon = "month"
    calendar: bool = False
    causal: bool = False
    include_keyframe: bool = True
    policy: Policy = "nearest"

    def __post_init__(self):
        if self.horizon != "any" and self.horizon not in SPANS:
            raise ValueError(
                f"horizon {self.horizon!r}: must be one of {', '.join([*SPANS, 'any'])}"
            )
        if self.policy not in POLICIES:
            raise ValueError(f"policy {self.policy!r}: must be one of {', '.join(POLICIES)}")


class Timeline:
    """When and in which image each entry of a camera was seen, ready to be searched.

    Attributes:
        seconds: [n] int64, ascending where dated, then 0 for undated entries.
        dated: [n] bool, all True before all False.
        image_ids: [n] str objects, ascending within a second; each image's entries together.
        num_dated: Number of entries with a date; they come first.
    """

    def __init__(self, seconds: np.ndarray, dated: np.ndarray, image_ids: np.ndarray):
        self.seconds = seconds
        self.dated = dated
        self.image_ids = image_ids
        self.num_dated = int(np.count_nonzero(dated))
        self._times = seconds[: self.num_dated]
        starts = (
            np.flatnonzero(image_ids[1:] != image_ids[:-1]) + 1
            if len(image_ids)
            else np.zeros(0, int)
        )
        edges = [0, *map(int, starts), len(image_ids)]
        self._images = {
            image_ids[start]: (start, stop)
            for start, stop in zip(edges, edges[1:], strict=False)
            if start < stop
        }

    def __len__(self) -> int:
        return len(self.seconds)

    def of_image(self, image_id: str) -> tuple[int, int]:
        """Start and stop of the entries of an image; (0, 0) if there are none."""
        return self._images.get(image_id, (0, 0))

    def between(self, first: int, last: int) -> tuple[int, int]:
        """Start and stop of the dated entries from one second to another, both included."""
        start = np.searchsorted(self._times, first, side="left")
        return int(start), int(np.searchsorted(self._times, last, side="right"))

    def before(self, seconds: int, image_id: str, include: bool) -> int:
        """How many dated entries come before this second and image; with `include`, of it too."""
        start, stop = self.between(seconds, seconds)
        find = bisect.bisect_right if include else bisect.bisect_left
        return find(self.image_ids, image_id, start, stop)


def window(
    timeline: Timeline,
    seconds: int | None,
    image_id: str,
    options: WindowOptions,
    max_entries: int,
    features: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Positions of the entries that a keyframe sees, ascending.

    Args:
        timeline: Timeline of the keyframe's camera.
        seconds: Time of the keyframe, None if unknown.
        image_id: Image id of the keyframe.
        options: Window of the bank.
        max_entries: Largest number of entries.
        features: Gives [k, D] float32 features at k positions; only for the policy "diverse".
    """
    start, stop = reach(timeline, seconds, image_id, options)
    own_start, own_stop = timeline.of_image(image_id)
    if options.include_keyframe or own_stop <= start or stop <= own_start:
        candidates = np.arange(start, stop)
    else:
        before, after = np.arange(start, own_start), np.arange(own_stop, stop)
        candidates = np.concatenate([before, after])
    if len(candidates) <= max_entries:
        return candidates
    return _cut(timeline, seconds, candidates, options.policy, max_entries, features)


def reach(
    timeline: Timeline, seconds: int | None, image_id: str, options: WindowOptions
) -> tuple[int, int]:
    """Start and stop of the entries within the horizon, the keyframe's own among them or not."""
    if seconds is None:
        everything = options.horizon == "any" and not options.causal
        return (0, len(timeline)) if everything else (0, 0)
    if options.horizon == "any":
        start, stop = 0, len(timeline)
    elif options.calendar:
        start, stop = timeline.between(*calendar_bin(seconds, options.horizon))
    elif options.causal:
        start, stop = timeline.between(seconds - SPANS[options.horizon], seconds)
    else:
        half = SPANS[options.horizon] // 2
        start, stop = timeline.between(seconds - half, seconds + half)
    if options.causal:
        stop = timeline.before(seconds, image_id, options.include_keyframe)
    return start, max(start, stop)


def calendar_bin(seconds: int, horizon: Horizon) -> tuple[int, int]:
    """First and last second of the calendar's minute, hour, day, week or month."""
    if horizon in ("minute", "hour", "day"):
        first = seconds // SPANS[horizon] * SPANS[horizon]
        return first, first + SPANS[horizon] - 1
    day = seconds // SPANS["day"]
    month = np.datetime64(day, "D").astype("datetime64[M]")
    first_day, next_month = (
        int(date.astype("datetime64[D]").astype(np.int64)) for date in (month, month + 1)
    )
    last_day = next_month - 1
    if horizon == "week":
        week = (day - first_day + 1) // 7
        first_day, last_day = (
            max(first_day, first_day + week * 7 - 1),
            min(last_day, first_day + week * 7 + 5),
        )
    return first_day * SPANS["day"], (last_day + 1) * SPANS["day"] - 1


def _cut(
    timeline: Timeline,
    seconds: int | None,
    candidates: np.ndarray,
    policy: Policy,
    max_entries: int,
    features: Callable[[np.ndarray], np.ndarray] | None,
) -> np.ndarray:
    """`max_entries` of the candidates; dated ones first, undated ones only where room is left."""
    num_dated = int(np.searchsorted(candidates, timeline.num_dated))
    dated, undated = candidates[:num_dated], candidates[num_dated:]
    if num_dated <= max_entries:
        rest = max_entries - num_dated
        chosen = _choose(timeline, None, undated, policy, rest, features)
        return np.concatenate([dated, chosen])
    return _choose(timeline, seconds, dated, policy, max_entries, features)


def _choose(
    timeline: Timeline,
    seconds: int | None,
    candidates: np.ndarray,
    policy: Policy,
    keep: int,
    features: Callable[[np.ndarray], np.ndarray] | None,
) -> np.ndarray:
    if policy == "newest":
        return candidates[len(candidates) - keep :]
    if policy == "nearest" and seconds is not None:
        distances = np.abs(timeline.seconds[candidates] - seconds)
        return np.sort(candidates[np.argsort(distances, kind="stable")[:keep]])
    if policy == "diverse":
        if features is None:
            raise ValueError('policy "diverse" needs the features')
        pool = max(keep, min(2 * keep, MAX_DIVERSE_CANDIDATES))
        candidates = candidates[sampling.uniform(len(candidates), pool)]
        return candidates[sampling.farthest_points(features(candidates), keep)]
    return candidates[sampling.uniform(len(candidates), keep)]
