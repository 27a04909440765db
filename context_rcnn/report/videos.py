"""Videos on the page of results: which there are, and what was detected in them when.

Results are read frame by frame, and the frames of a video come one after the other. What is kept of
a video are counts; of a few videos, drawn by chance, also the best score of each class by time.
"""

import dataclasses
import posixpath
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from context_rcnn.report.text import clean, count
from context_rcnn.results.records import NO_RATE, ImageResult

STRETCHES = 120  # bars of a timeline
PICTURES = 4  # frames that are shown of a video
MOST_CLASSES = 8  # lines of a timeline
_MOST_STEPS = 4 * STRETCHES


class Line:
    """The best score of a class, by stretches of frames that get longer as the video does."""

    def __init__(self) -> None:
        self._step = 1
        self._best: dict[int, tuple[float, int]] = {}

    def add(self, position: int, score: float) -> None:
        """Takes a detection in the frame at this position."""
        place, new = position // self._step, (score, position)
        self._best[place] = max(self._best.get(place, new), new)
        while len(self._best) > _MOST_STEPS:
            self._step *= 2
            merged: dict[int, tuple[float, int]] = {}
            for place, best in self._best.items():
                merged[place // 2] = max(merged.get(place // 2, best), best)
            self._best = merged

    @property
    def best(self) -> list[tuple[float, int]]:
        """Scores and positions, in the order of time."""
        return [self._best[place] for place in sorted(self._best)]


@dataclasses.dataclass
class SeenVideo:
    """What is known of a video.

    Attributes:
        name: its path; of frames in a folder, the folder.
        frames: frames that were looked at.
        found: frames with a detection that counts.
        failed: frames that could not be used; 1 for a file that failed as a whole.
        rate: frames per second, None for a folder of frames.
        last: position of the last frame.
        classes: frames with a class.
        lines: best scores of each class by time; None if they are not kept.
    """

    name: str
    frames: int = 0
    found: int = 0
    failed: int = 0
    rate: float | None = None
    last: int = 0
    classes: Counter = dataclasses.field(default_factory=Counter)
    lines: dict[str, Line] = dataclasses.field(default_factory=dict)

    def time(self, position: int) -> str:
        """When a frame is, in words."""
        if not self.rate:
            return f"frame {position}"
        minutes, seconds = divmod(round(position / self.rate, 1), 60)
        return f"{int(minutes)}:{seconds:04.1f}"


class SeenVideos:
    """All videos of results.

    Args:
        threshold: score from which a detection counts.
        sample: number of videos of which the times are kept.
        seed: seed of the choice of these.

    Attributes:
        rows: counts of each video, by name.
    """

    def __init__(self, threshold: float, sample: int, seed: int):
        self._threshold, self._size = threshold, sample
        self._random = random.Random(f"{seed} videos")
        self._offered = 0
        self._kept: list[SeenVideo] = []
        self._now: SeenVideo | None = None
        self.rows: dict[str, SeenVideo] = {}

    def add(self, image: ImageResult, names: Mapping[int, str]) -> None:
        """Takes an image, if it is a frame of a video."""
        name = video_of(image)
        if name is None:
            return
        if self._now is None or self._now.name != name:
            self._finish()
            self._now = self.rows.setdefault(name, SeenVideo(name))
        video = self._now
        if image.failure:
            video.failed += 1
            if image.frame_rate == NO_RATE:
                return
        video.rate = image.frame_rate or video.rate
        position = video.frames if image.frame is None else image.frame
        video.frames += 1
        video.last = max(video.last, position)
        counting = [found for found in image.detections if found.score >= self._threshold]
        video.found += bool(counting)
        video.classes.update({names[found.class_id] for found in counting})
        for found in counting:
            line = video.lines.setdefault(names[found.class_id], Line())
            line.add(position, found.score)

    def finish(self) -> list[SeenVideo]:
        """The videos of which the times are known, by name."""
        self._finish()
        self._now = None
        return sorted(self._kept, key=lambda video: video.name)

    def _finish(self) -> None:
        """Keeps the lines of the last video with the same chance as those of all before it."""
        video = self._now
        if video is None or not video.lines:
            return
        self._offered += 1
        dropped: SeenVideo | None = video
        if len(self._kept) < self._size:
            self._kept.append(video)
            dropped = None
        elif (place := self._random.randrange(self._offered)) < self._size:
            self._kept[place], dropped = video, self._kept[place]
        if dropped is not None:
            dropped.lines = {}


def video_of(image: ImageResult) -> str | None:
    """The video that an image is a frame of, or that failed as a whole; None for a photograph.

    Frames in a folder have neither a camera nor a date, and the folder is their burst.
    """
    if image.frame is not None:
        return posixpath.dirname(image.file)
    if image.frame_rate is not None:
        return image.file
    plain = not image.camera and image.seconds is None
    return image.burst if plain and image.file.startswith(f"{image.burst}/") else None


def best_frames(video: SeenVideo) -> list[int]:
    """Positions of the frames to show: the best one of each quarter that has any."""
    best: dict[int, tuple[float, int]] = {}
    for line in video.lines.values():
        for score, position in line.best:
            quarter = PICTURES * position // (video.last + 1)
            best[quarter] = max(best.get(quarter, (0.0, 0)), (score, position))
    return [best[quarter][1] for quarter in sorted(best)]


def timeline(video: SeenVideo) -> dict[str, Any]:
    """What the page shows of the times of a video."""
    rows = []
    for name, frames in video.classes.most_common(MOST_CLASSES):
        scores = [0.0] * min(STRETCHES, video.last + 1)
        times = []
        for score, position in video.lines[name].best:
            place = len(scores) * position // (video.last + 1)
            scores[place] = max(scores[place], score)
            times.append(position)
        first, last = video.time(times[0]), video.time(times[-1])
        rows.append(
            {
                "name": clean(name, 40),
                "scores": [round(score, 3) for score in scores],
                "words": f"{count(frames, 'frame')}, from {first} to {last}",
            }
        )
    return {
        "title": clean(video.name),
        "verdict": f"{count(video.frames, 'frame')}, {video.found:,} with detections",
        "rows": rows,
        "more": max(0, len(video.classes) - MOST_CLASSES),
        "end": video.time(video.last),
    }


def row_of(video: SeenVideo) -> dict[str, Any]:
    """A row of the table of videos."""
    return {
        "name": clean(video.name),
        "length": video.time(video.last) if video.rate else "-",
        "frames": video.frames,
        "found": video.found,
        "failed": video.failed,
        "classes": ", ".join(f"{clean(n, 40)} {k:,}" for n, k in video.classes.most_common(3)),
    }
