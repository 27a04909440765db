"""Which boxes of other frames a detection of a video draws on, as JSON lines.

The lines are those of `attended`, of frames instead of a bank's entries. Each entry also has

    "frames_apart"  its frame's number less the keyframe's
    "anywhere"      whether it is of a frame from anywhere in the video; else it is of those around
                    the keyframe, or of the long range memory
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from context_rcnn.configs import schema
from context_rcnn.data import examples
from context_rcnn.data import input as input_lib
from context_rcnn.data.video_stream import anywhere_order
from context_rcnn.explanations.attended import floats
from context_rcnn.explanations.memory_maps import spread_videos
from context_rcnn.models.streaming import NO_FRAME, Frame
from context_rcnn.models.temporal import TemporalModel, make
from context_rcnn.tasks.loading import load_run


def relates_frames(model_dir: str) -> bool:
    """Whether the model of a run relates boxes of frames."""
    temporal = schema.load_experiment(
        config_files=[os.path.join(model_dir, "params.yaml")]
    ).task.temporal
    return type(make(temporal)).attending_stream is not TemporalModel.attending_stream


def explain_videos(
    model_dir: str,
    *,
    checkpoint: str = "",
    input_path: str = "",
    videos: int | None = None,
    keyframes: int = 1,
    top: int = 10,
    min_score: float = 0.3,
    min_weight: float = 0.01,
) -> Iterator[dict[str, Any]]:
    """The lines, of evenly spread keyframes of evenly spread videos.

    Args:
        model_dir: folder of the run.
        checkpoint: checkpoint to use; by default the best of the run, or else the latest.
        input_path: examples of videos; by default the run's validation data.
        videos: number of videos; None for all.
        keyframes: number of keyframes of each video; 0 for all frames.
        top: boxes a detection.
        min_score: lowest score of a detection.
        min_weight: lowest weight of a box; at 0, boxes of no weight are written, too.
    """
    trained = load_run(model_dir, checkpoint)
    data, task = trained.config.task.validation_data, trained.task
    if trained.config.task.learn_on == "features" and not input_path:
        raise ValueError(
            f"{model_dir} learned on features, whose labels have no images: --examples says which "
            "examples have them"
        )
    files = input_lib.find_files(input_path or data.input_path, "--examples")
    stream = task.temporal.attending_stream(trained.model, top)
    step = tf.function(stream.step, autograph=False)
    to_row, anywhere = task.image_input(data), "elsewhere" in stream.inputs

    count, chosen_videos = spread_videos(files, videos)
    if not count:
        raise ValueError(f"no video of several frames in {', '.join(files)}")
    for video in tqdm(chosen_videos, "explain", count, unit="video", disable=None):
        frames = [examples.parse_example(record) for record in video]
        number, order = anywhere_order(frames[0], len(frames), stream.seed)
        known = _Known(frames, order.numpy() if anywhere else None, task.class_names)
        wanted = len(frames) if not keyframes else min(keyframes, len(frames))
        chosen = {(2 * j + 1) * len(frames) // (2 * wanted) for j in range(wanted)}
        state = stream.initial_state(1)
        for t in range(len(frames) + stream.latency):
            # Past the end the last frame stands there, and is not looked at.
            there, last = t < len(frames), min(t, len(frames) - 1)
            new = to_row.frame(frames[last])
            other = to_row.frame(frames[int(order[last])]) if anywhere else None
            found, state = step(_frame(new, other, number, there), state)
            key = int(found["frame"][0])
            if key in chosen:
                yield known.line(key, found, min_score, min_weight)


def _frame(
    new: Mapping[str, tf.Tensor],
    other: Mapping[str, tf.Tensor] | None,
    number: tf.Tensor,
    there: bool,
) -> Frame:
    """The frame of a step, as an evaluation gives it."""
    valid = tf.constant([there])

    def frame(row: Mapping[str, tf.Tensor], **more) -> Frame:
        return Frame(row["image"][None], row["image_shape"][None], number[None], valid, **more)

    return frame(new, ended=~valid, elsewhere=None if other is None else frame(other))


class _Known:
    """What the lines of a video need to know of its frames.

    Args:
        frames: its frames, parsed.
        order: order in which frames from anywhere were given; None where the model drew them.
        class_names: names by id.
    """

    def __init__(
        self,
        frames: Sequence[Mapping[str, tf.Tensor]],
        order: np.ndarray | None,
        class_names: Mapping[int, str],
    ):
        self._frames, self._order, self._class_names = frames, order, class_names
        self._ids = [frame["image_id"].numpy().decode("utf-8", "replace") for frame in frames]

    def line(
        self, key: int, found: Mapping[str, tf.Tensor], min_score: float, min_weight: float
    ) -> dict[str, Any]:
        """One keyframe as it is written."""
        values = {name: np.asarray(value)[0] for name, value in found.items()}
        sides = np.tile(values["image_shape"], 2)
        detections = [
            {
                "box": floats(values["detection_boxes"][i] / sides),
                "class": self._class_names[int(values["detection_classes"][i])],
                "score": round(float(values["detection_scores"][i]), 4),
                "attention": [
                    self._entry(key, values, i, j, sides)
                    for j, weight in enumerate(values["attention_weight"][i])
                    if weight >= min_weight and values["attention_frame"][i, j] != NO_FRAME
                ],
            }
            for i in range(int(values["num_detections"]))
            if values["detection_scores"][i] >= min_score
        ]
        camera = self._frames[key]["camera"].numpy().decode("utf-8", "replace")
        return {
            "image_id": self._ids[key],
            "camera": camera,
            "seconds": self._seconds(key),
            "detections": detections,
        }

    def _entry(
        self, key: int, values: Mapping[str, np.ndarray], i: int, j: int, sides: np.ndarray
    ) -> dict[str, Any]:
        number = int(values["attention_frame"][i, j])
        anywhere = bool(values["attention_anywhere"][i, j])
        if anywhere and self._order is not None:  # The step in which it was given.
            number = int(self._order[number])
        seconds, here = self._seconds(number), self._seconds(key)
        return {
            "image_id": self._ids[number],
            "seconds": seconds,
            "seconds_apart": None if seconds is None or here is None else seconds - here,
            "frames_apart": number - key,
            "anywhere": anywhere,
            "box": floats(values["attention_box"][i, j] / sides),
            "weight": round(float(values["attention_weight"][i, j]), 5),
        }

    def _seconds(self, number: int) -> int | None:
        frame = self._frames[number]
        return int(frame["seconds"]) if frame["has_seconds"] else None
