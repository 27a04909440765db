"""Videos among the photographs: frame by frame, without the memory of a camera.

OUTPUT.state/clips    the state of a run with videos (`runners.videos.state`)
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from context_rcnn.data.cameras import CameraNamer
from context_rcnn.results.journal import Journal
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.files import UNKNOWN_CAMERA
from context_rcnn.runners.engine.model import Model, header_of
from context_rcnn.runners.engine.steps import VideoModel
from context_rcnn.runners.folder.options import FolderOptions
from context_rcnn.runners.videos.find import Video
from context_rcnn.runners.videos.options import VideoOptions
from context_rcnn.runners.videos.run import detect_new, look_at
from context_rcnn.runners.videos.state import VideoState

CLIPS = "clips"


@dataclasses.dataclass(frozen=True)
class Clips:
    """Videos of a run with images.

    Attributes:
        options: options of the run with videos inside of it.
        state: its state.
        videos: all videos that are there.
        undone: those that are to be done.
    """

    options: VideoOptions
    state: VideoState
    videos: Sequence[Video]
    undone: Sequence[Video]


def find_clips(
    options: FolderOptions,
    model: Model,
    videos: Sequence[Video],
    state_dir: Path,
    created: str,
    say: Callable[[str], None],
) -> Clips:
    """Opens the videos among the images, and says how many there are.

    Args:
        options: options of the run.
        model: an exported model.
        videos: videos that the look found.
        state_dir: folder of the run's state.
        created: when the results were begun.
        say: function that gets the messages.
    """
    own = VideoOptions(
        options.root,
        os.path.join(state_dir, CLIPS),
        options.outputs,
        images=options.images,
        batch_size=options.batch_size,
        fps=options.fps,
    )
    about: Mapping[str, Any] = {
        "images": dataclasses.asdict(options.images),
        "videos": {"fps": options.fps},
    }
    header = header_of(model, about, memory=False, created=created)
    state = VideoState(own.state_dir, header, options.restart, options.dry_run)
    undone = look_at(own, videos, state, "1/4 Videos")
    frames = sum(video.frames for video in undone)
    rate = "every frame" if own.fps is None else f"{own.fps:g} of each second"
    say(
        f"{len(videos):,} videos, of which {len(undone):,} are to be done: {frames:,} frames "
        f"({rate}: --fps), without a memory. --no-videos leaves them out"
    )
    return Clips(own, state, videos, undone)


def detect_clips(clips: Clips, model: Model, unlisted: Sequence[str]) -> list[Path]:
    """Detects in the videos that are to be done; returns the journals of all that count.

    Args:
        clips: videos among the images.
        model: an exported model.
        unlisted: folders that could not be listed, whose videos count as before.
    """
    _, away = clips.state.forget_changed(clips.videos, unlisted)
    if clips.undone:
        detect_new(clips.options, cast(VideoModel, model), clips.undone, clips.state, "3/4 Videos")
    return [*(clips.state.journal(video) for video in clips.videos), *away]


def cameras_of(clips: Clips, namer: CameraNamer) -> set[str]:
    """The cameras of the videos."""
    return {namer(video.name) or UNKNOWN_CAMERA for video in clips.videos}


def results_of(journals: Sequence[Path], namer: CameraNamer) -> Iterator[ImageResult]:
    """Frames of videos, and videos that failed, with their cameras."""
    for path in journals:
        for image in Journal(path).results():
            camera = namer(image.burst or image.file) or UNKNOWN_CAMERA
            yield dataclasses.replace(image, camera=camera)
