"""The evaluation of the detection task: detections collected, measured, written and drawn."""

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from context_rcnn import configs
from context_rcnn.data import input as input_lib
from context_rcnn.detectors.two_stage import Proposals
from context_rcnn.evaluation import coco, drawing, results
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.evaluation.post_processing import build_post_processing, with_ensemble
from context_rcnn.models.streaming import Frame, Stream

Collected = tuple[coco.Detections, tqdm]


def given_proposals(inputs: Mapping[str, tf.Tensor]) -> Proposals | None:
    """The proposals that came with a batch, if any did."""
    if "proposals" not in inputs:
        return None
    return Proposals(inputs["proposals"], inputs["proposal_scores"], inputs["proposal_valid"])


class StreamRunner:
    """Takes videos through a stream, step after step. Each replica has a state of its own.

    Args:
        stream: stream of the model.
        jit_compile: compile the step with XLA.
    """

    def __init__(self, stream: Stream, jit_compile: bool = False):
        self._stream = stream
        self._step = stream.step
        if jit_compile:
            self._step = tf.function(stream.step, jit_compile=True, autograph=False)
        self._state: dict[str, tf.Variable] = {}

    def start(self, all_rows: int) -> None:
        """Nothing was seen yet; in the strategy's scope.

        Args:
            all_rows: videos side by side, of all replicas.
        """
        rows = all_rows // tf.distribute.get_strategy().num_replicas_in_sync
        fresh = self._stream.initial_state(rows)
        if not self._state:
            self._state = {
                name: tf.Variable(
                    value,
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )
                for name, value in fresh.items()
            }
        for name, value in fresh.items():
            self._state[name].assign(value)

    def step(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Detections in the next keyframe of each video; `inputs` are of `data.video_stream`."""
        row = inputs["video"]
        elsewhere = None
        if "anywhere_image" in inputs:
            image, shape, valid = (inputs[f"anywhere_{x}"] for x in ("image", "shape", "valid"))
            elsewhere = Frame(image, shape, row, valid)
        frame = Frame(
            inputs["image"],
            inputs["image_shape"],
            row,
            inputs["valid"],
            ended=inputs["ended"],
            elsewhere=elsewhere,
            proposals=given_proposals(inputs),
        )
        state = {name: tf.convert_to_tensor(part) for name, part in self._state.items()}
        outputs, state = self._step(frame, state)
        for name, value in state.items():
            self._state[name].assign(value)
        return outputs


class Evaluator:
    """Collects the detections of an evaluation, and measures them.

    Args:
        params: how.
        class_names: names by id.
        folder: the run's folder, below which results are written; None where they are not.
        spacing: spacing of the frames of a clip.
        show_progress: whether to show a bar.
    """

    def __init__(
        self,
        params: configs.Evaluation,
        class_names: Mapping[int, str],
        *,
        folder: str | None,
        spacing: int,
        show_progress: bool,
    ):
        self._params = params
        self._class_names = class_names
        self._folder = folder
        self._show_progress = show_progress
        process = build_post_processing(params.post_processing, spacing=spacing)
        self._post_process = with_ensemble(process, params.ensemble, params.post_processing.type)

    def begin(self, steps: int) -> Collected:
        """Nothing collected yet, of so many global steps."""
        hide = None if self._show_progress else True
        return coco.Detections(), tqdm(total=steps, desc="evaluate", unit="batch", disable=hide)

    def collect(self, collected: Collected, step_outputs: Mapping[str, tf.Tensor]) -> Collected:
        """Adds what one global step found, see `normalised`."""
        detections, bar = collected
        outputs = {name: value.numpy() for name, value in step_outputs.items()}
        for i, valid in enumerate(outputs["valid"]):
            if valid:
                detections.add(
                    int(outputs["key"][i]),
                    outputs["boxes"][i],
                    outputs["scores"][i],
                    outputs["classes"][i],
                )
        bar.update()
        return collected

    def finish(
        self, collected: Collected, images: list[Image], step: int | None, input_path: str
    ) -> dict[str, float]:
        """Measures, writes the results below `evaluation/`, and returns the scalars.

        Args:
            collected: values of all steps.
            images: the labels.
            step: step of the model.
            input_path: the images' files, to draw from.
        """
        detections, bar = collected
        bar.close()
        unseen = [image.id for image in images if image.key not in detections]
        if unseen:
            print(
                f"evaluate: {len(unseen)} of {len(images)} images were not run (such as "
                f"{unseen[0]}) and count as without detections"
            )
        params = self._params
        metrics: dict[str, Any] = {"step": step}
        detections, changes = self._post_process(images, detections)
        if params.post_processing.type != "none":
            metrics["post_processing"] = {"type": params.post_processing.type, **changes}
        metrics |= results.measure(images, detections, self._class_names, params.recalls)
        if self._folder:
            folder = os.path.join(self._folder, "evaluation", f"step-{step}")
            results.write_results(folder, metrics, images, detections, self._class_names)
            self._draw(folder, images, detections, input_path)
            print(results.as_table(metrics))
            if changes:
                counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in changes.items())
                print(f"{params.post_processing.type}: {counts}")
            print(f"evaluation written to {folder}")
        return results.scalars(metrics)

    def _draw(
        self, folder: str, images: list[Image], detections: coco.Detections, input_path: str
    ) -> None:
        params = self._params
        if not params.images:
            return
        files = input_lib.find_files(input_path)
        # Mostly images with objects, spread evenly over the set, and some empty ones.
        full = [image.key for image in images if len(image.boxes)]
        empty = [image.key for image in images if not len(image.boxes)]
        keys = _spread(full, params.images - min(len(empty), params.images // 4))
        keys += _spread(empty, params.images - len(keys))
        pictures = drawing.pictures(
            files, detections, self._class_names, keys=keys, threshold=params.draw_threshold
        )
        if not pictures:
            return
        with tf.io.gfile.GFile(os.path.join(folder, "contact_sheet.png"), "wb") as file:
            drawing.contact_sheet(pictures).save(file, "PNG")
        for i, picture in enumerate(pictures[:8]):
            tf.summary.image(f"detections/{i}", tf.keras.utils.img_to_array(picture)[None] / 255)


def normalised(
    outputs: Mapping[str, tf.Tensor], key: tf.Tensor, valid: tf.Tensor, shape: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Detections as an evaluation collects them."""
    return {
        "key": key,
        "valid": tf.cast(valid, tf.int32),  # booleans cannot be gathered
        "boxes": outputs["detection_boxes"] / tf.tile(shape, [1, 2])[:, None, :],
        "scores": outputs["detection_scores"],
        "classes": outputs["detection_classes"],
    }


def _spread(items: list, count: int) -> list:
    """Up to `count` of the items, evenly spaced."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
