"""Results of images that nobody labelled as a page, to judge them in two minutes."""

import dataclasses
import datetime
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from context_rcnn.data.timestamps import format_timestamp
from context_rcnn.report import galleries
from context_rcnn.report.explanations import read_explanations
from context_rcnn.report.found import (
    Counts,
    Found,
    explanations_of,
    gather,
    open_results,
    shown,
)
from context_rcnn.report.galleries import Picture
from context_rcnn.report.page import environment, staged
from context_rcnn.report.pixels import Album, ReadFrame
from context_rcnn.report.text import clean, number
from context_rcnn.report.videos import SeenVideo, best_frames, row_of, timeline, video_of
from context_rcnn.results.records import NO_RATE, ImageResult

MOST_CAMERAS = 500  # that the table shows
MOST_CLASSES = 60  # whose activity is shown
MOST_VIDEOS = 500  # that the table shows
MOST_DAYS = 366


@dataclasses.dataclass(frozen=True)
class ResultsOptions:
    """What the page is made of.

    Attributes:
        results: JSON file, state or journal of `context-rcnn detect`.
        output_dir: folder to write; an earlier report there is replaced.
        image_root: folder of the images, for pixels.
        title: title of the page.
        threshold: score from which a detection counts.
        max_examples: images of each kind that are shown.
        max_panels: images shown with what they attend to, and videos shown with their times.
        seed: seed of the random samples.
    """

    results: str
    output_dir: str
    image_root: str = ""
    title: str = ""
    threshold: float = 0.2
    max_examples: int = 24
    max_panels: int = 6
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.threshold <= 1:
            raise ValueError(f"--threshold={self.threshold}: has to be above 0 and at most 1")
        for name in ("max_examples", "max_panels"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name}={getattr(self, name)}: cannot be negative")
        if self.image_root and not os.path.isdir(self.image_root):
            raise ValueError(f"--image_root={self.image_root}: no such folder")


def write_results_report(
    options: ResultsOptions,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    warn: Callable[[str], None] = print,
    read_frame: ReadFrame | None = None,
) -> str:
    """Writes the page completely or not at all; returns the path of its index.html.

    Args:
        options: inputs of the page.
        progress: wraps the images that are read for it, with their number.
        warn: gets what the user should look at.
        read_frame: reads frames of videos; without it they have no pictures.

    Raises:
        ValueError: For results that are none, and for a folder that holds something else than a
            report.
    """
    with staged(options.output_dir) as folder:
        source = open_results(options.results)
        sizes = (options.max_examples, options.max_panels)
        found = gather(source, options.threshold, *sizes, options.seed)
        if not found.total.images:
            raise ValueError(f"{options.results} holds no images")
        pictures = {
            kind: [_picture(image, kind, source.class_names, options) for image in sample.images]
            for kind, sample in found.samples.items()
        }
        times = _times(found, source.class_names, options)
        path = explanations_of(options.results)
        keyframes = read_explanations(path) if path else []
        chosen = galleries.choose_keyframes(keyframes, options.max_panels, options.seed)
        panels = [galleries.beside_single_frame(keyframe) for keyframe in chosen]
        album = Album(read_frame)
        galleries.want_panels(album, panels)
        for shown_ones in (*pictures.values(), *(row["pictures"] for row in times)):
            galleries.want_all(album, shown_ones)
        album.fill(folder, image_root=options.image_root, progress=progress)
        if words := album.in_words("", options.image_root):
            warn(words)
        content = {
            "title": clean(options.title or "What was detected", 200),
            "made_by": clean(source.made_by),
            "options": options,
            "total": found.total,
            "classes": _classes(found),
            "cameras": [_camera(n, c) for n, c in sorted(found.cameras.items())[:MOST_CAMERAS]],
            "cameras_in_all": len(found.cameras),
            "activity": _activity(found),
            "pictures": pictures,
            "videos": [row_of(video) for _, video in sorted(found.videos.items())[:MOST_VIDEOS]],
            "videos_in_all": len(found.videos),
            "times": times,
            "panels": panels,
            "failures": [(clean(i.file), _why(i)) for i in found.failures],
            "reasons": [(clean(reason), n) for reason, n in found.reasons.most_common()],
            "photo": album.get,
            "why_missing": album.failures.get,
        }
        page = environment().get_template("results.html").render(content)
        with open(os.path.join(folder, "index.html"), "w", encoding="utf-8") as file:
            file.write(page)
    return os.path.join(options.output_dir, "index.html")


def _times(found: Found, names: Mapping[int, str], options: ResultsOptions) -> list[dict[str, Any]]:
    """Timelines of some videos, with their best frames, which are read once more."""
    wanted = {video.name: set(best_frames(video)) for video in found.timed}
    pictures: dict[str, list[Picture]] = {name: [] for name in wanted}
    passed: Counter[str] = Counter()
    for image in open_results(options.results).images if wanted else ():
        name = video_of(image)
        if name not in wanted or image.frame_rate == NO_RATE:
            continue
        position = passed[name] if image.frame is None else image.frame
        passed[name] += 1
        if position in wanted[name]:
            pictures[name].append(_picture(image, "found", names, options))
    return [timeline(video) | {"pictures": pictures[video.name]} for video in found.timed]


def _picture(
    image: ImageResult, kind: str, names: Mapping[int, str], options: ResultsOptions
) -> Picture:
    boxes, labels = [], []
    for place in shown(image, kind, options.threshold):
        found = image.detections[place]
        label = f"{clean(names[found.class_id], 40)} {number(found.score, 2)}"
        y1, x1, y2, x2 = found.box
        boxes.append(galleries.box((x1, y1, x2, y2), "memory" if kind == "found" else "baseline"))
        labels.append(label)
    said = ", ".join(labels[:3]) or "nothing"
    said += f" and {len(labels) - 3} more" if len(labels) > 3 else ""
    when = "undated" if image.seconds is None else format_timestamp(image.seconds)
    where = f"{clean(image.camera, 60) or 'camera unknown'}, {when}"
    if (video := video_of(image)) is not None:
        at = SeenVideo(video, rate=image.frame_rate)
        where = clean(video, 60) + (f", {at.time(image.frame)}" if image.frame is not None else "")
    return Picture(
        image.file,
        boxes,
        f"Image {clean(image.file)}: {said}.",
        [said, where, clean(image.file)],
    )


def _classes(found: Found) -> list[dict[str, Any]]:
    return [
        {"name": clean(name, 60), "detections": n, "images": found.images_by_class[name]}
        for name, n in sorted(found.total.classes.items(), key=lambda item: (-item[1], item[0]))
    ]


def _activity(found: Found) -> list[dict[str, Any]]:
    """When and where each class was seen: images by hour, by day and by camera."""
    rows = []
    for name, _ in found.images_by_class.most_common(MOST_CLASSES):
        hours = [found.by_hour[name, hour] for hour in range(24)]
        days = sorted((day, n) for (other, day), n in found.by_day.items() if other == name)
        cameras = Counter({c: n for (other, c), n in found.by_camera.items() if other == name})
        rows.append(
            {
                "name": clean(name, 60),
                "hours": hours,
                "highest": max(hours),
                "days": len(days),
                "busiest": ", ".join(
                    f"{day} ({n:,})" for day, n in sorted(days, key=lambda d: (-d[1], d[0]))[:3]
                ),
                "series": _series(days),
                "cameras": ", ".join(
                    f"{clean(c, 40) or 'unknown'} {n:,}" for c, n in cameras.most_common(5)
                ),
                "more": max(0, len(cameras) - 5),
            }
        )
    return rows


def _series(days: list[tuple[str, int]]) -> list[int]:
    """Images of each day from the first to the last one, at most `MOST_DAYS` of the latest."""
    if not days:
        return []
    counts = dict(days)
    first, last = (datetime.date.fromisoformat(days[i][0]) for i in (0, -1))
    length = min((last - first).days + 1, MOST_DAYS)
    axis = (last - datetime.timedelta(days=length - 1 - i) for i in range(length))
    return [counts.get(day.isoformat(), 0) for day in axis]


def _camera(name: str, counts: Counts) -> dict[str, Any]:
    dates = [None if s is None else format_timestamp(s)[:10] for s in (counts.first, counts.last)]
    common = ", ".join(f"{clean(n, 40)} {k:,}" for n, k in counts.classes.most_common(3))
    return {
        "name": clean(name, 60) or "unknown",
        "counts": counts,
        "dates": " to ".join(filter(None, dict.fromkeys(dates))),
        "common": common,
    }


def _why(image: ImageResult) -> str:
    return clean(f"{image.failure}: {image.failure_text}".rstrip(": "), 200)
