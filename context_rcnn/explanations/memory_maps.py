"""What a memory of maps holds of the frames of videos, as JSON lines, as in figure 4 of STMN.

Each line is one frame of a sequence:

    {"video": ..., "image_id": ..., "place": ...,
     "objects": [{"box": [y1, x1, y2, x2], "track": ...}],
     "maps": {"aligned": [[...], ...], "not aligned": [[...], ...]},
     "trails": [{"track": ..., "moved": ..., "trail": {"aligned": ..., "not aligned": ...}}]}

Boxes are fractions of the image. Lengths of trails are in cells of the map: see `trail_length`.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from context_rcnn.configs import schema
from context_rcnn.data import examples
from context_rcnn.data import input as input_lib
from context_rcnn.data.videos import read_videos
from context_rcnn.models.temporal import TemporalModel, make
from context_rcnn.tasks.loading import load_run

Box = Sequence[float]  # y1 x1 y2 x2, fractions of the image


def has_memory_maps(model_dir: str) -> bool:
    """Whether the model of a run has a memory of maps."""
    params = os.path.join(model_dir, "params.yaml")
    if not tf.io.gfile.exists(params):
        raise ValueError(f"{model_dir} is not the folder of a run: there is no {params}")
    temporal = schema.load_experiment(config_files=[params]).task.temporal
    return type(make(temporal)).memory_maps is not TemporalModel.memory_maps


def write_memory_maps(
    model_dir: str, path: str, *, checkpoint: str = "", input_path: str = "", videos: int = 8
) -> int:
    """Writes the lines of so many videos, evenly spread; returns the number of frames.

    Args:
        model_dir: folder of the run.
        path: file to write.
        checkpoint: checkpoint to use; by default the best of the run, or else the latest.
        input_path: examples of videos; by default the run's validation data.
        videos: number of videos.
    """
    trained = load_run(model_dir, checkpoint)
    config, task, model = trained.config, trained.task, trained.model
    data = config.task.validation_data
    files = input_lib.find_files(input_path or data.input_path, "--examples")
    temporal, to_row = task.temporal, task.image_input(data)
    settings = temporal.settings

    @tf.function(autograph=False)
    def maps_of(images, shapes):
        clip = {"clip_valid": tf.ones([1, images.shape[0]], tf.bool)}
        return temporal.memory_maps(model, images, shapes, clip)

    written = 0
    with tf.io.gfile.GFile(path, "w") as file:
        count, chosen_videos = spread_videos(files, videos)
        for video in tqdm(chosen_videos, "explain", count, unit="video", disable=None):
            chosen = video[:: settings.stride][: settings.window]
            frames = [examples.parse_example(record) for record in chosen]
            rows = [to_row.frame(frame) for frame in frames]
            images, shapes = (
                tf.stack([row[name] for row in rows]) for name in ("image", "image_shape")
            )
            maps = {name: value.numpy() for name, value in maps_of(images, shapes).items()}
            # Boxes in the part of the map that is image, so that they fit it.
            scale = shapes.numpy()[0] / np.array(images.shape[1:3])
            for line in _lines(frames, maps, scale):
                line["place"] *= settings.stride
                file.write(json.dumps(line) + "\n")
                written += 1
    if not written:
        raise ValueError(f"no video of several frames in {', '.join(files)}")
    return written


def spread_videos(files: Sequence[str], count: int | None) -> tuple[int, Iterator[tf.Tensor]]:
    """Serialized frames of so many videos of several frames, evenly spread, one video at a time.

    Args:
        files: TFRecord files.
        count: number of videos; None for all.

    Returns:
        How many there are, and the videos.
    """
    dataset = tf.data.Dataset.from_tensor_slices(list(files)).flat_map(read_videos)
    dataset = dataset.filter(lambda video: tf.size(video) > 1)
    total = sum(1 for _ in dataset)
    count = total if count is None else min(count, total)
    wanted = {i * total // count for i in range(count)}
    return count, (video for i, video in enumerate(dataset) if i in wanted)


def _lines(
    frames: Sequence[Mapping[str, tf.Tensor]], maps: Mapping[str, np.ndarray], scale: np.ndarray
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    seen: list[dict[str, Box]] = []
    for t, frame in enumerate(frames):
        boxes, tracks = frame["boxes"].numpy(), [_text(track) for track in frame["tracks"].numpy()]
        edges = [[round(float(edge), 5) for edge in box] for box in boxes]
        seen.append({track: box for track, box in zip(tracks, edges, strict=True) if track})
        lines.append(
            {
                "video": _text(frame["seq_id"].numpy()) or _text(frame["image_id"].numpy()),
                "image_id": _text(frame["image_id"].numpy()),
                "place": t,
                "objects": [
                    {"box": box, "track": track} for box, track in zip(edges, tracks, strict=True)
                ],
                "maps": {name: np.round(part[t], 4).tolist() for name, part in maps.items()},
                "trails": _trails(seen, {name: part[t] for name, part in maps.items()}, scale),
            }
        )
    return lines


def _trails(
    seen: Sequence[Mapping[str, Box]], maps: Mapping[str, np.ndarray], scale: np.ndarray
) -> list[dict[str, Any]]:
    """Of each object of the last frame that has left its earlier place."""
    rows = []
    fit = np.tile(scale, 2)
    everywhere = [np.array(box) * fit for boxes in seen for box in boxes.values()]
    for track, box in seen[-1].items():
        path = [np.array(boxes[track]) * fit for boxes in reversed(seen[:-1]) if track in boxes]
        now, trail, moved = np.array(box) * fit, {}, 0.0
        for name, held in maps.items():
            length, moved = trail_length(held, now, path, everywhere)
            trail[name] = None if length is None else round(length, 3)
        if moved and None not in trail.values():
            rows.append({"track": track, "moved": round(moved, 3), "trail": trail})
    return rows


def trail_length(
    held: np.ndarray, now: Box, path: Sequence[Box], everywhere: Sequence[Box]
) -> tuple[float | None, float]:
    """How far back along its path a memory still holds an object.

    A place is held where the map is above the middle between its mean in the object's box and its
    median outside of all boxes. From the box backwards, the trail ends before the first place that
    is not held.

    Args:
        held: map [height, width].
        now: box of the object, as fractions of the map.
        path: its boxes before, the latest first.
        everywhere: boxes of all objects so far.

    Returns:
        The length in cells from the middle of the box, 0 without a trail, None where the object
        itself is not brighter than its surroundings; and the distance to the farthest box before
        whose middle is outside of the box now, 0 where there is none.
    """
    height, width = held.shape
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)

    def inside(box: Box, places: np.ndarray = centres) -> Any:
        edges = np.asarray(box)
        return ((places >= edges[:2]) & (places < edges[2:])).all(axis=-1)

    def middle(box: Box) -> np.ndarray:
        return (np.asarray(box)[:2] + np.asarray(box)[2:]) / 2

    of_object = inside(now)
    around = ~np.any([of_object, *(inside(box) for box in everywhere)], axis=0)
    left = [place for place in map(middle, path) if not inside(now, place)]
    distances = [float(np.hypot(*((place - middle(now)) * [height, width]))) for place in left]
    moved = max(distances, default=0.0)
    if not of_object.any() or not around.any():
        return None, moved
    bright, dark = held[of_object].mean(), np.median(held[around])
    if bright <= dark:
        return None, moved
    length = 0.0
    for place, distance in zip(left, distances, strict=True):
        row, column = np.minimum((place * [height, width]).astype(int), [height - 1, width - 1])
        if held[row, column] <= (bright + dark) / 2:
            break
        length = max(length, distance)
    return length, moved


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
