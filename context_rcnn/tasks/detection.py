"""The detection task: what a step computes, and what an evaluation reports."""

import functools
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import base_task
from tqdm import tqdm

from context_rcnn.configs import detection as configs
from context_rcnn.data import input as input_lib
from context_rcnn.data import label_map, video_stream
from context_rcnn.data.clips import ClipOptions
from context_rcnn.data.videos import VideoClips
from context_rcnn.detectors import losses, targets
from context_rcnn.evaluation import coco, drawing, results
from context_rcnn.evaluation.groundtruth import Image, read_groundtruth
from context_rcnn.evaluation.post_processing import build_post_processing
from context_rcnn.memory_bank.join import MemoryJoin
from context_rcnn.memory_bank.window import WindowOptions
from context_rcnn.models.build import (
    build_model,
    build_stream,
    entry_size,
    stream_needs,
    temporal_window,
    video_clips,
)
from context_rcnn.tasks import checkpoints

LOSSES = ("objectness", "proposal_boxes", "classes", "boxes")


class DetectionTask(base_task.Task):
    """A two-stage detector, with a memory or without, as a tf-models-official task.

    Args:
        params: the settings.
        logging_dir: the folder of the run; evaluations are written below it.
        jit_compile: compile forward and backward pass with XLA.
        is_chief: whether this process writes files and shows progress.
        start_step: where training goes on; a resumed run draws another order of the examples.
        class_names: instead of the label map that the settings name.
    """

    def __init__(
        self,
        params: configs.DetectionTask,
        logging_dir: str | None = None,
        name: str | None = None,
        *,
        jit_compile: bool = False,
        is_chief: bool = True,
        start_step: int = 0,
        class_names: Mapping[int, str] | None = None,
    ):
        super().__init__(params, logging_dir, name)
        self._jit_compile = jit_compile
        self._is_chief = is_chief
        self._start_step = start_step
        self._evaluation_images: list[Image] | None = None
        self._join: MemoryJoin | None = None
        self._lengths: list[int] | None = None
        self._stream = None
        self._stream_state: dict[str, tf.Variable] = {}
        self.class_names = dict(class_names) if class_names else self._read_label_map()
        self._check_memory()
        self._post_process = build_post_processing(
            params.evaluation.post_processing, spacing=params.clip.spacing
        )

    def _check_memory(self) -> None:
        """Holds the model's long-term memory against the bank, or takes it from there."""
        params = self.task_config
        if params.temporal.type != "context_rcnn" or not params.temporal.get().long_term.enabled:
            return
        long_term, join = params.temporal.get().long_term, self.memory_join()
        where = "task.temporal.context_rcnn.long_term"
        if join is None:
            if not long_term.entry_size:
                raise ValueError(
                    f"{where} attends to a memory bank: set task.memory.bank, or {where}.enabled "
                    "to false"
                )
            return
        found = {"entry_size": join.entry_size, "extractor": join.bank.info.extractor_hash}
        for name, value in found.items():
            expected = getattr(long_term, name)
            if expected and expected != value:
                raise ValueError(
                    f"{where}.{name} is {expected}, but the bank {params.memory.bank} has {value}: "
                    "the model needs a bank made by the extractor it was trained with"
                )
            setattr(long_term, name, value)
        long_term.top_k = long_term.top_k or join.bank.boxes_per_image()

    def save_label_map(self) -> None:
        """Writes the classes into the run's folder, so that it can be used without its data."""
        classes = {name: number for number, name in self.class_names.items()}
        path = os.path.join(self.logging_dir, label_map.FILE_NAME)
        with tf.io.gfile.GFile(path, "w") as file:
            file.write(label_map.format_label_map(classes))

    def _read_label_map(self) -> dict[int, str]:
        params = self.task_config
        path = params.label_map
        if not path:
            data = params.train_data.input_path or params.validation_data.input_path
            if not data:
                raise ValueError(
                    "set task.train_data.input_path or task.validation_data.input_path, or "
                    "task.label_map"
                )
            path = os.path.join(os.path.dirname(data.split(",")[0].strip()), label_map.FILE_NAME)
        names = {number: name for name, number in label_map.read_label_map(path).items()}
        if params.model.num_classes not in (0, max(names)):
            raise ValueError(
                f"task.model.num_classes is {params.model.num_classes}, but {path} has ids up to "
                f"{max(names)}; 0 takes the number from the label map"
            )
        return names

    def build_model(self) -> tf_keras.Model:
        """Builds the detector and all its variables."""
        params = self.task_config
        if params.model.backbone.freeze_batch_norm and not params.init_checkpoint:
            raise ValueError(
                "task.model.backbone.freeze_batch_norm freezes what was learned before, but there "
                "is no task.init_checkpoint: set one, or do not freeze"
            )
        model_config = configs.FasterRcnn(**params.model.as_dict())
        model_config.num_classes = max(self.class_names)
        return build_model(model_config, params.temporal, weight_decay=params.losses.weight_decay)

    def initialize(self, model: tf_keras.Model) -> None:
        """Loads `init_checkpoint`, where a run starts afresh."""
        params = self.task_config
        if not params.init_checkpoint:
            return
        path = checkpoints.find_checkpoint(params.init_checkpoint, "task.init_checkpoint")
        if params.init_checkpoint_modules == "backbone":
            checkpoints.restore(path, "task.init_checkpoint", **model.checkpoint_items)
        elif params.init_checkpoint_modules in ("all", "detector"):
            memory = [*model.map_memory.variables, *model.box_memory.variables]
            new = memory if params.init_checkpoint_modules == "detector" else []
            checkpoints.restore(path, "task.init_checkpoint", new=new, model=model)
        else:
            raise ValueError(
                "task.init_checkpoint_modules must be backbone, detector or all, got "
                f"{params.init_checkpoint_modules!r}"
            )

    def build_inputs(
        self, params: configs.Data, input_context: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """Builds this host's share of an input."""
        which = "train_data" if params.is_training else "validation_data"
        files = input_lib.find_files(params.input_path, f"task.{which}.input_path")
        context = input_context or tf.distribute.InputContext()
        shard = (context.num_input_pipelines, context.input_pipeline_id)
        if params.global_batch_size % context.num_replicas_in_sync:
            raise ValueError(
                f"task.{which}.global_batch_size {params.global_batch_size} is not a multiple of "
                f"the {context.num_replicas_in_sync} replicas"
            )
        batch_size = context.get_per_replica_batch_size(params.global_batch_size)
        to_row = self.image_input(params)
        if params.is_training:
            return input_lib.training_batches(
                files,
                to_row,
                batch_size=batch_size,
                seed=params.seed + self._start_step,
                shuffle_buffer_size=params.shuffle_buffer_size,
                flip_probability=params.flip_probability,
                empty_fraction=params.empty_fraction,
                clip=self.clip(training=True),
                shard=shard,
                shard_files=params.shard_files,
                # Frames of a video are drawn anew each time.
                cache=params.cache and not isinstance(self.clip(training=True), VideoClips),
            )
        needs = stream_needs(self.task_config.temporal)
        if needs:
            rows = params.global_batch_size // context.num_input_pipelines
            first = context.input_pipeline_id * rows
            dataset = video_stream.stream_batches(
                files,
                self.image_input(params).frame,
                rows=range(first, first + rows),
                all_rows=params.global_batch_size,
                steps=self.evaluation_steps(),
                **needs._asdict(),
            )
            # One after the other, each replica takes its rows of a step.
            return dataset.map(lambda step: _in_parts(step, rows // batch_size)).unbatch()
        return input_lib.evaluation_batches(
            files,
            to_row,
            batch_size=batch_size,
            # A global step takes one batch for each replica.
            steps=self.evaluation_steps() * context.num_replicas_in_sync // shard[0],
            clip=self.clip(training=False),
            shard=shard,
            sample_1_of_n=params.sample_1_of_n,
        )

    def clip(self, training: bool) -> ClipOptions | VideoClips:
        """Clips to learn from, or a keyframe's window to evaluate it with."""
        seed = self.task_config.train_data.seed + self._start_step
        if training and (clips := video_clips(self.task_config.temporal, seed)):
            return clips
        clip, window = self.task_config.clip, temporal_window(self.task_config.temporal)
        if not training:
            return ClipOptions(window, clip.spacing)
        if clip.frames < window:
            raise ValueError(
                f"task.clip.frames is {clip.frames}, fewer than the {window} frames of the window "
                f"of {self.task_config.temporal.type}: its boxes would never see a neighbour"
            )
        return ClipOptions(clip.frames, clip.spacing)

    def image_input(self, params: configs.Data) -> input_lib.ImageInput:
        """What makes rows of a batch of this input."""
        model = self.task_config.model
        return input_lib.ImageInput(
            tuple(model.image_size),
            model.keep_aspect_ratio,
            params.max_boxes,
            num_classes=max(self.class_names),
            join=self.memory_join(),
        )

    def memory_join(self) -> MemoryJoin | None:
        """What joins keyframes with the memory bank of the settings, if there is one."""
        if self._join is None and self.task_config.memory.bank:
            self._join = self.make_join()
        return self._join

    def make_join(self, with_image_ids: bool = False) -> MemoryJoin:
        """A join with the bank of the settings, of its own."""
        memory = self.task_config.memory
        return MemoryJoin(
            memory.bank,
            WindowOptions(
                memory.horizon,
                memory.calendar,
                memory.causal,
                memory.include_keyframe,
                memory.policy,
            ),
            max_entries=memory.max_entries,
            variant=memory.variant,
            with_image_ids=with_image_ids,
            strict=memory.strict,
            cache_bytes=memory.cache_megabytes << 20,
        )

    def dummy_inputs(self, batch_size: int) -> dict[str, tf.Tensor]:
        """A batch of the right shapes, with one box an image: to compile and to time with."""
        params = self.task_config
        height, width = params.model.image_size
        clips, frames = batch_size, max(params.clip.frames, temporal_window(params.temporal))
        if drawn := video_clips(params.temporal, 0):
            frames = drawn.frames
        images, boxes = clips * frames, params.train_data.max_boxes
        first = tf.one_hot(tf.zeros([images], tf.int32), boxes)
        box = tf.constant([0.2, 0.2, 0.7, 0.6]) * tf.constant([height, width] * 2, tf.float32)
        inputs = {
            "image": tf.zeros([images, height, width, 3], tf.uint8),
            "image_shape": tf.tile(tf.constant([[height, width]], tf.float32), [images, 1]),
            "key": tf.range(images, dtype=tf.int64),
            "valid": tf.ones([images], tf.bool),
            "boxes": first[..., None] * box,
            "classes": tf.cast(first, tf.int64),
            "box_valid": first > 0,
            "clip_valid": tf.ones([clips, frames], tf.bool),
        }
        if drawn:
            inputs["clip_frames"] = tf.tile(tf.range(frames)[None], [clips, 1])
        size = entry_size(params.temporal)
        if size:
            room = [clips, params.memory.max_entries]
            inputs["context_features"] = tf.ones([*room, size])
            inputs["context_valid"] = tf.ones(room, tf.bool)
        return inputs

    def dummy_frames(self, batch_size: int) -> dict[str, tf.Tensor]:
        """As `dummy_inputs`, what a model that is evaluated frame by frame is evaluated with."""
        height, width = self.task_config.model.image_size
        frames = {
            "image": tf.zeros([batch_size, height, width, 3], tf.uint8),
            "image_shape": tf.tile(tf.constant([[height, width]], tf.float32), [batch_size, 1]),
            "valid": tf.ones([batch_size], tf.bool),
        }
        numbers, none = tf.range(batch_size, dtype=tf.int64), tf.zeros([batch_size], tf.bool)
        known = {"key": numbers, "video": numbers, "keyed": frames["valid"], "ended": none}
        if stream_needs(self.task_config.temporal).anywhere:
            names = ("anywhere_image", "anywhere_shape", "anywhere_valid")
            known |= dict(zip(names, frames.values(), strict=True))
        return frames | known

    def evaluation_images(self) -> list[Image]:
        """The labels of the validation images, read once."""
        if self._evaluation_images is None:
            params = self.task_config.validation_data
            self._evaluation_images = read_groundtruth(
                input_lib.find_files(params.input_path, "task.validation_data.input_path"),
                num_classes=max(self.class_names),
                sample_1_of_n=params.sample_1_of_n,
            )
        return self._evaluation_images

    def evaluation_steps(self) -> int:
        """Global steps that see every validation image."""
        params = self.task_config.validation_data
        needs = stream_needs(self.task_config.temporal)
        if needs:
            if self._lengths is None:
                self._lengths = video_stream.read_lengths(input_lib.find_files(params.input_path))
            return video_stream.count_steps(self._lengths, params.global_batch_size, needs.delay)
        return -(-len(self.evaluation_images()) // params.global_batch_size)

    def build_losses(
        self, labels: Mapping[str, tf.Tensor], model_outputs: Mapping[str, Any], aux_losses=None
    ) -> dict[str, tf.Tensor]:
        """Returns the four losses, the weight penalty and their weighted sum, `total_loss`."""
        params = self.task_config
        rpn, anchors = model_outputs["rpn"], labels["anchor_targets"]
        drawn = model_outputs["targets"]
        positive = drawn.classes > 0
        offsets = tf.reshape(
            model_outputs["box_offsets"],
            [*drawn.classes.shape, model_outputs["class_logits"].shape[-1], 4],
        )
        values = {
            "objectness": losses.objectness_loss(
                tf.gather(rpn["objectness"], anchors.index, batch_dims=1),
                anchors.objectness,
                anchors.valid,
            ),
            "proposal_boxes": losses.box_loss(
                tf.gather(rpn["box_offsets"], anchors.index, batch_dims=1),
                anchors.box_offsets,
                anchors.objectness > 0,
                anchors.valid,
                params.losses.proposal_delta,
            ),
            "classes": losses.class_loss(model_outputs["class_logits"], drawn.classes, drawn.valid),
            "boxes": losses.box_loss(
                tf.gather(offsets, drawn.classes, batch_dims=2),
                drawn.box_offsets,
                positive,
                drawn.valid,
                params.losses.box_delta,
            ),
        }
        values["weight_penalty"] = tf.add_n(aux_losses) if aux_losses else tf.constant(0.0)
        weights = params.losses
        values["total_loss"] = values["weight_penalty"] + tf.add_n(
            [getattr(weights, name) * values[name] for name in LOSSES]
        )
        return values

    def gradients(
        self, inputs: Mapping[str, tf.Tensor], model: tf_keras.Model, optimizer
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Forward and backward pass of one replica. Returns gradients and losses."""
        params = self.task_config.model.proposals
        labels = {
            name: inputs[name][:: model.clip_frames]
            for name in ("boxes", "classes", "box_valid", "valid")
        }
        groundtruth = {
            "boxes": labels["boxes"],
            "classes": labels["classes"],
            "valid": labels["box_valid"],
        }
        with tf.GradientTape() as tape:
            outputs = model(
                inputs["image"],
                inputs["image_shape"],
                groundtruth=groundtruth,
                memory=memory_of(inputs),
                training=True,
            )
            teaches = labels["valid"][:, None]
            outputs["targets"] = outputs["targets"]._replace(
                valid=outputs["targets"].valid & teaches
            )
            anchors = targets.anchor_targets(
                model.anchors,
                labels["boxes"],
                labels["box_valid"],
                samples=params.anchor_samples,
                positive_fraction=params.anchor_positive_fraction,
                positive_iou=params.positive_iou,
                negative_iou=params.negative_iou,
            )
            anchors = anchors._replace(valid=anchors.valid & teaches)
            values = self.build_losses({"anchor_targets": anchors}, outputs, model.losses)
            # Replicas add up their gradients, so each gives its share of the global mean.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            loss = values["total_loss"] / replicas
            if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
                loss = optimizer.get_scaled_loss(loss)
        gradients = tape.gradient(loss, model.trainable_variables)
        if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
            gradients = optimizer.get_unscaled_gradients(gradients)
        return gradients, values

    def train_step(self, inputs, model, optimizer, metrics=None) -> dict[str, tf.Tensor]:
        """One step of one replica."""
        compute = self.gradients
        if self._jit_compile:
            compute = tf.function(compute, jit_compile=True)
        gradients, values = compute(inputs, model, optimizer)
        optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
        for metric in metrics or []:
            metric.update_state(values[metric.name])
        return {self.loss: values["total_loss"]} | values

    def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
        """The running means of the losses; evaluation has metrics of its own."""
        names = [*LOSSES, "weight_penalty"] if training else []
        return [tf_keras.metrics.Mean(name, dtype=tf.float32) for name in names]

    def start_evaluation(self, model: tf_keras.Model) -> None:
        """Where videos are evaluated frame by frame: nothing was seen yet. In the strategy's scope.

        Each replica has videos of its own, and a state of its own.
        """
        self._stream = self._stream or build_stream(model, self.task_config.temporal)
        if self._stream is None:
            return
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        rows = self.task_config.validation_data.global_batch_size // replicas
        fresh = self._stream.initial_state(rows)
        if not self._stream_state:
            self._stream_state = {
                name: tf.Variable(
                    value,
                    trainable=False,
                    synchronization=tf.VariableSynchronization.ON_READ,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )
                for name, value in fresh.items()
            }
        for name, value in fresh.items():
            self._stream_state[name].assign(value)

    def _stream_step(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """As `validation_step`, of the next frame of each video."""
        anywhere = None
        if "anywhere_image" in inputs:
            parts = ("anywhere_image", "anywhere_shape", "anywhere_valid")
            anywhere = tuple(inputs[part] for part in parts)
        step = self._stream.step
        if self._jit_compile:
            step = tf.function(step, jit_compile=True)
        state = {name: tf.convert_to_tensor(part) for name, part in self._stream_state.items()}
        outputs, state = step(
            inputs["image"],
            inputs["image_shape"],
            inputs["video"],
            inputs["valid"],
            state,
            ended=inputs["ended"],
            anywhere=anywhere,
        )
        for name, value in state.items():
            self._stream_state[name].assign(value)
        return outputs

    def validation_step(self, inputs, model, metrics=None) -> dict[str, tf.Tensor]:
        """Detects on one replica's batch. Boxes come back normalised to the image."""
        if self._stream is not None:
            outputs = self._stream_step(inputs)
            return _normalised(outputs, inputs["key"], inputs["keyed"], outputs["image_shape"])
        detect = functools.partial(model, training=False)
        if self._jit_compile:
            detect = tf.function(detect, jit_compile=True)
        outputs = detect(inputs["image"], inputs["image_shape"], memory=memory_of(inputs))
        return _normalised(outputs, inputs["key"], inputs["valid"], inputs["image_shape"])

    def aggregate_logs(self, state=None, step_outputs=None):
        """Collects the detections of one global step, of all replicas and workers."""
        if state is None:
            bar = tqdm(
                total=self.evaluation_steps(),
                desc="evaluate",
                unit="batch",
                disable=None if self._is_chief else True,
            )
            state = (coco.Detections(), bar)
        detections, bar = state
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
        return state

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None) -> dict[str, float]:
        """Measures, writes the results below `evaluation/`, and returns the scalars."""
        detections, bar = aggregated_logs
        bar.close()
        images = self.evaluation_images()
        unseen = [image.id for image in images if image.key not in detections]
        if unseen:
            print(
                f"evaluate: {len(unseen)} of {len(images)} images were not run (such as "
                f"{unseen[0]}) and count as without detections"
            )
        params = self.task_config.evaluation
        metrics = {"step": int(global_step.numpy()) if global_step is not None else None}
        detections, changes = self._post_process(images, detections)
        if params.post_processing.type != "none":
            metrics["post_processing"] = {"type": params.post_processing.type, **changes}
        metrics |= results.measure(images, detections, self.class_names, params.recalls)
        if self._is_chief and self.logging_dir:
            folder = os.path.join(self.logging_dir, "evaluation", f"step-{metrics['step']}")
            results.write_results(folder, metrics, images, detections, self.class_names)
            self._draw(folder, images, detections)
            print(results.as_table(metrics))
            if changes:
                counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in changes.items())
                print(f"{params.post_processing.type}: {counts}")
            print(f"evaluation written to {folder}")
            if self._join is not None:
                print(_describe_join(self._join))
        return results.scalars(metrics)

    def _draw(self, folder: str, images: list[Image], detections: coco.Detections) -> None:
        params = self.task_config.evaluation
        if not params.images:
            return
        files = input_lib.find_files(self.task_config.validation_data.input_path)
        # Mostly images with objects, spread evenly over the set, and some empty ones.
        full = [image.key for image in images if len(image.boxes)]
        empty = [image.key for image in images if not len(image.boxes)]
        keys = _spread(full, params.images - min(len(empty), params.images // 4))
        keys += _spread(empty, params.images - len(keys))
        pictures = drawing.pictures(
            files, detections, self.class_names, keys=keys, threshold=params.draw_threshold
        )
        with tf.io.gfile.GFile(os.path.join(folder, "contact_sheet.png"), "wb") as file:
            drawing.contact_sheet(pictures).save(file, "PNG")
        for i, picture in enumerate(pictures[:8]):
            tf.summary.image(f"detections/{i}", tf.keras.utils.img_to_array(picture)[None] / 255)


def _normalised(
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


def _in_parts(rows: Mapping[str, tf.Tensor], parts: int) -> dict[str, tf.Tensor]:
    """[rows, ...] to [parts, rows / parts, ...]."""
    return {
        name: tf.reshape(value, [parts, value.shape[0] // parts, *value.shape[1:]])
        for name, value in rows.items()
    }


def memory_of(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The part of a batch that is memory, for the detector's ports."""
    return {name: value for name, value in inputs.items() if name.startswith(("context_", "clip_"))}


def _describe_join(join: MemoryJoin) -> str:
    """How many keyframes found a memory, since the start."""
    counts, missing = join.counts, join.missing_cameras
    words = f"memory: {counts['windows']} windows, {counts['empty']} of them empty"
    if missing:
        names = ", ".join(sorted(missing)[:5])
        words += f"; {len(missing)} cameras are not in the bank ({names})"
    return words


def _spread(items: list, count: int) -> list:
    """Up to `count` of the items, evenly spaced."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
