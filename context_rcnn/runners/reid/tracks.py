"""Tracklets from the detections of videos: boxes linked from frame to frame, and cut out.

What `context-rcnn videos` found is linked by `evaluation.seq_nms`; a linked path is an animal or a
person for some frames. Its boxes are cut out of the frames and written as

    OUTPUT/unknown/CAMERA_VIDEO-000/000012.jpg

which is the layout of own tracklets of somebody whom nobody has named yet. Move a folder to the
name of the animal once you know it.
"""

import dataclasses
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from context_rcnn.data.failures import Failure, Reason, to_jsonl
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.readers.tracklet_folder import NOBODY
from context_rcnn.data.walk import PassedOver
from context_rcnn.evaluation.seq_nms import SeqNmsOptions, seq_nms
from context_rcnn.results.join import find_journals
from context_rcnn.results.journal import Journal
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.progress import bar
from context_rcnn.runners.videos.find import find_videos
from context_rcnn.runners.videos.frames import open_video

TRACKS = "tracks.json"
FAILURES = "failures.jsonl"
_QUALITY = 95
_UNSAFE = re.compile(r"[^A-Za-z0-9.\-]+")
_LONGEST = 60  # of a part of a name


@dataclasses.dataclass(frozen=True)
class TrackOptions:
    """Which boxes become tracklets.

    Attributes:
        root: folder of the videos.
        results: state folder or journal of `context-rcnn videos`.
        output_dir: folder to write; it must not be there yet.
        min_score: lowest score of a box that takes part.
        min_frames: shortest tracklet that is written.
        classes: names of classes; empty for all.
        margin: share of a box's sides that is added all around.
        link_iou: IoU above which boxes of neighbouring frames are linked.
        fps: frames per second that `videos` was run with, None for all.
    """

    root: str
    results: str
    output_dir: str
    min_score: float = 0.3
    min_frames: int = 4
    classes: tuple[str, ...] = ()
    margin: float = 0.05
    link_iou: float = 0.5
    fps: float | None = None

    def __post_init__(self):
        if not Path(self.root).is_dir():
            raise ValueError(f"{self.root} is not a folder")
        if self.min_frames < 1:
            raise ValueError(f"--min_frames must be at least 1, got {self.min_frames}")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"--margin must be in 0..1, got {self.margin}")
        folder = Path(self.output_dir)
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"--output_dir {folder} is not empty; choose another folder")


@dataclasses.dataclass(frozen=True)
class Track:
    """A linked path of boxes in a video.

    Attributes:
        name: name of its folder.
        boxes: y1, x1, y2, x2 as fractions of the image, by the name of the frame.
        class_name: name of its class.
        score: score of the path.
    """

    name: str
    boxes: dict[str, tuple[float, float, float, float]]
    class_name: str
    score: float


@dataclasses.dataclass(frozen=True)
class TrackSummary:
    """What was written, and what could not be.

    Attributes:
        videos: videos with results.
        tracks: tracklets written.
        images: images written.
        short: paths with too few frames.
        failures: what could not be used.
    """

    videos: int
    tracks: int
    images: int
    short: int
    failures: list[Failure]

    def to_text(self) -> str:
        """For a terminal."""
        lines = [
            f"{self.tracks} tracklets of {self.images} images from {self.videos} videos; "
            f"{self.short} paths were too short"
        ]
        reasons = Counter(str(failure.reason) for failure in self.failures)
        return "\n".join(lines + [f"{count} {reason}" for reason, count in sorted(reasons.items())])


def write_tracks(options: TrackOptions) -> TrackSummary:
    """Links the detections of videos and writes their tracklets."""
    failures: list[Failure] = []
    results, names = _read_results(options.results, failures)
    videos = {video.name: video for video in find_videos(options.root, PassedOver(), frames=True)}
    output, images, written, short = Path(options.output_dir), 0, [], 0
    with bar("tracks", len(results), " videos") as progress:
        for name in sorted(results):
            progress.update(1)
            if name not in videos:
                detail = f"no such video below {options.root}"
                failures.append(Failure("tracks", Reason.MISSING_FILE, detail, file=name))
                continue
            tracks, too_short = link(name, results[name], names, options)
            short += too_short
            opened = open_video(videos[name], options.root, ImageOptions(), fps=options.fps)
            try:
                images += _cut(opened, tracks, output, options.margin, failures)
            finally:
                opened.close()
            if opened.failure:
                reason, detail = opened.failure.reason, opened.failure.detail
                failures.append(Failure("tracks", reason, detail, file=name))
            written += [(name, t) for t in tracks if (output / NOBODY / t.name).is_dir()]
    output.mkdir(parents=True, exist_ok=True)
    rows = [
        {"tracklet": f"{NOBODY}/{t.name}", "video": name, "class": t.class_name, "score": t.score}
        for name, t in written
    ]
    (output / TRACKS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (output / FAILURES).write_text(to_jsonl(failures), encoding="utf-8")
    return TrackSummary(len(results), len(written), images, short, failures)


def link(
    video: str, frames: Sequence[ImageResult], names: dict[int, str], options: TrackOptions
) -> tuple[list[Track], int]:
    """The tracks of a video, and how many paths were too short.

    Args:
        video: name of the video.
        frames: results of its frames, in order.
        names: names of classes by id.
        options: which boxes take part.
    """
    rows = [
        (place, found)
        for place, frame in enumerate(frames)
        for found in frame.detections
        if found.score >= options.min_score
        and (not options.classes or names.get(found.class_id) in options.classes)
    ]
    if not rows:
        return [], 0
    tubes = seq_nms(
        np.zeros(len(rows), np.int64),
        np.array([place for place, _ in rows]),
        np.array([found.box for _, found in rows]),
        np.array([found.score for _, found in rows]),
        np.array([found.class_id for _, found in rows]),
        SeqNmsOptions(link_iou=options.link_iou, score_threshold=options.min_score),
    )
    tracks, short = [], 0
    for number in range(int(tubes.tube.max()) + 1):
        members = np.flatnonzero(tubes.tube == number)
        if len(members) < options.min_frames:
            short += bool(len(members))
            continue
        first = rows[members[0]][1]
        tracks.append(
            Track(
                f"{_folder_of(video)}-{number:03d}",
                {frames[rows[i][0]].file: rows[i][1].box for i in members},
                names.get(first.class_id, str(first.class_id)),
                round(float(tubes.scores[members[0]]), 4),
            )
        )
    return tracks, short


def _cut(opened, tracks: Sequence[Track], output: Path, margin: float, failures) -> int:
    """Cuts the boxes of tracks out of the frames of a video. Returns the number of images."""
    wanted: dict[str, list[Track]] = {}
    for track in tracks:
        for file in track.boxes:
            wanted.setdefault(file, []).append(track)
    count = 0
    for number, frame in enumerate(opened.frames()):
        for track in wanted.get(frame.image.file, ()):
            if frame.problem:
                reason, detail = frame.problem.reason, frame.problem.detail
                failures.append(Failure("tracks", reason, detail, file=frame.image.file))
                break
            folder = output / NOBODY / track.name
            folder.mkdir(parents=True, exist_ok=True)
            with Image.open(io.BytesIO(frame.encoded)) as image:
                piece = image.crop(_corners(track.boxes[frame.image.file], image.size, margin))
                piece.convert("RGB").save(folder / f"{number:06d}.jpg", "JPEG", quality=_QUALITY)
            count += 1
    return count


def _corners(
    box: tuple[float, float, float, float], size: tuple[int, int], margin: float
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels, with a margin, a pixel wide at least."""
    width, height = size
    y1, x1, y2, x2 = box
    dy, dx = margin * (y2 - y1), margin * (x2 - x1)
    left, top = int(max(0.0, x1 - dx) * width), int(max(0.0, y1 - dy) * height)
    left, top = min(left, width - 1), min(top, height - 1)
    right = max(left + 1, min(width, round((x2 + dx) * width)))
    bottom = max(top + 1, min(height, round((y2 + dy) * height)))
    return left, top, right, bottom


def _read_results(
    place: str, failures: list[Failure]
) -> tuple[dict[str, list[ImageResult]], dict[int, str]]:
    """Results by video, in the order of the frames, and the names of classes."""
    found: dict[str, list[ImageResult]] = {}
    names: dict[int, str] = {}
    for path in _journals(Path(place)):
        journal = Journal(path)
        names = dict(journal.header.label_map)
        for image in journal.results(failures.append):
            if image.burst:
                found.setdefault(image.burst, []).append(image)
    if not found:
        raise ValueError(f"{place}: holds no results of videos")
    return found, names


def _journals(place: Path) -> Iterator[Path]:
    """The journals of a state folder of `videos`, or those that are named."""
    inside = sorted((place / "videos").glob("*.jsonl"))
    yield from inside or find_journals([place])


def _folder_of(video: str) -> str:
    """`gate/a.avi` as CAMERA_VIDEO: the camera is the folder, or the video where there is none.

    Names that had to be changed get a hash, so that no two become one.
    """
    camera, slash, stem = video.rpartition("/")
    parts = [camera if slash else stem, stem]
    safe = [_UNSAFE.sub("-", part)[:_LONGEST].strip(".-") or "video" for part in parts]
    if safe != parts:
        safe[1] += "-" + hashlib.sha256(video.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return "_".join(safe)
