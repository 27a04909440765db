"""Which remembered boxes a detection attends to, as JSON lines.

Each line is one keyframe:

    {"image_id": ..., "camera": ..., "seconds": ...,
     "detections": [{"box": [y1, x1, y2, x2], "class": ..., "score": ...,
       "attention": [{"image_id": ..., "seconds": ..., "seconds_apart": ..., "box": [...],
                      "weight": ...}, ...]}]}

Boxes are fractions of the image. `seconds_apart` is the entry's time less the keyframe's, null
where either is unknown.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from context_rcnn.configs import schema
from context_rcnn.data import input as input_lib
from context_rcnn.data.examples import NO_SECONDS
from context_rcnn.detectors import checkpoints
from context_rcnn.memory_bank.join import MemoryJoin
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.inputs import make_join


class Explainer:
    """A trained detector with a memory bank that also returns which entries it looks at.

    Args:
        model_dir: folder of its run.
        checkpoint: checkpoint to use; by default the best of the run, or else the latest.
        input_path: examples to explain; by default the run's validation data.
        top: entries a detection.
        min_score: lowest score of a detection.
        min_weight: lowest weight of an entry.
    """

    def __init__(
        self,
        model_dir: str,
        *,
        checkpoint: str = "",
        input_path: str = "",
        top: int = 10,
        min_score: float = 0.3,
        min_weight: float = 0.01,
    ):
        config = schema.load_experiment(config_files=[os.path.join(model_dir, "params.yaml")])
        if not config.task.memory.bank:
            raise ValueError(f"{model_dir}: its detector attends to no memory bank")
        if input_path:
            config = config.replace(task={"validation_data": {"input_path": input_path}})
        self._data = config.task.validation_data
        self._task = DetectionTask(config.task)
        if not self._task.temporal.uses_bank:
            raise ValueError(f"{model_dir}: its detector attends to no memory bank")
        self._model = self._task.build_model()
        best = config.trainer.best_checkpoint_export_subdir
        path = checkpoints.of_run(model_dir, best, checkpoint)
        checkpoints.restore(path, "--checkpoint", model=self._model)
        self._top, self._min_score, self._min_weight = top, min_score, min_weight
        self._files = input_lib.find_files(self._data.input_path, "--examples")
        self._frames = _read_frames(self._files)

    def choose(self, count: int) -> list[str]:
        """Ids of keyframes with an object, evenly spread over those of an evaluation."""
        full = [image.id for image in self._task.evaluation_images() if len(image.boxes)]
        count = min(count, len(full))
        return [full[i * len(full) // count] for i in range(count)]

    def explain(self, image_ids: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Explains these keyframes, by default all. A ValueError names ids that are not there."""
        by_id = {frame["image_id"]: key for key, frame in self._frames.items()}
        unknown = [name for name in image_ids or () if name not in by_id]
        if unknown:
            raise ValueError(f"no such image in the examples: {', '.join(unknown[:5])}")
        keys = [by_id[name] for name in image_ids] if image_ids is not None else list(self._frames)
        clip = self._task.evaluation_window()
        if clip is None:
            raise ValueError("this detector goes through videos frame by frame; give one of clips")
        dataset = input_lib.chosen_batches(
            self._files, self._task.image_input(self._data), keys, batch_size=4, clip=clip
        )
        join = make_join(self._task.task_config.memory, with_image_ids=True)

        @tf.function(reduce_retracing=True, autograph=False)
        def run(batch):
            return self._task.temporal.attended(
                self._model,
                batch["image"],
                batch["image_shape"],
                self._task.memory_of(batch, clip.frames),
                top=self._top,
            )

        with tqdm(total=len(keys), desc="explain", unit="image", disable=None) as bar:
            for batch in dataset:
                outputs = {name: value.numpy() for name, value in run(batch).items()}
                shapes = batch["image_shape"].numpy()
                # Of each clip, its keyframe.
                for row in range(clip.keyframe, len(shapes), clip.frames):
                    frame = self._frames[int(batch["key"][row])]
                    found = {name: value[row] for name, value in outputs.items()}
                    yield self._line(frame, found, shapes[row], join)
                    bar.update()

    def _line(
        self,
        frame: dict[str, Any],
        found: dict[str, np.ndarray],
        shape: np.ndarray,
        join: MemoryJoin,
    ) -> dict[str, Any]:
        """One keyframe as it is written."""
        seconds = frame["seconds"]
        memory = join.read(frame["camera"], seconds, frame["image_id"])
        detections = []
        for i in range(int(found["num_detections"])):
            if found["detection_scores"][i] < self._min_score:
                continue
            pairs = zip(found["attention_index"][i], found["attention_weight"][i], strict=True)
            detections.append(
                {
                    "box": floats(found["detection_boxes"][i] / np.tile(shape, 2)),
                    "class": self._task.class_names[int(found["detection_classes"][i])],
                    "score": round(float(found["detection_scores"][i]), 4),
                    "attention": [
                        _entry(memory, int(index), float(weight), seconds)
                        for index, weight in pairs
                        if weight >= self._min_weight
                    ],
                }
            )
        return {name: frame[name] for name in ("image_id", "camera", "seconds")} | {
            "detections": detections
        }


def write_lines(lines: Iterable[dict[str, Any]], path: str) -> int:
    """Writes JSON lines; returns how many."""
    count = 0
    with tf.io.gfile.GFile(path, "w") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
            count += 1
    return count


def _entry(
    memory: dict[str, np.ndarray], index: int, weight: float, seconds: int | None
) -> dict[str, Any]:
    since = int(memory["context_seconds"][index])
    dated = since != NO_SECONDS
    return {
        "image_id": memory["context_image_ids"][index].decode("utf-8", "replace"),
        "seconds": since if dated else None,
        "seconds_apart": since - seconds if dated and seconds is not None else None,
        "box": floats(memory["context_boxes"][index]),
        "weight": round(weight, 5),
    }


def floats(values: np.ndarray) -> list[float]:
    """Numbers as they are written."""
    return [round(float(value), 5) for value in values]


def _read_frames(files: Sequence[str]) -> dict[int, dict[str, Any]]:
    """What is known of each image, by key."""

    def known(example):
        kept = ("image_id", "camera", "seconds", "has_seconds")
        return {name: example[name] for name in kept} | {
            "key": input_lib.image_key(example["image_id"]),
        }

    dataset = input_lib.read_examples(files, None).map(known, tf.data.AUTOTUNE, deterministic=True)
    return {
        int(row["key"]): {
            "image_id": row["image_id"].decode("utf-8", "replace"),
            "camera": row["camera"].decode("utf-8", "replace"),
            "seconds": int(row["seconds"]) if row["has_seconds"] else None,
        }
        for row in dataset.as_numpy_iterator()
    }
