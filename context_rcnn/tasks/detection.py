"""The detection task: what a step computes, on what, and where its detections go."""

import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import task_factory

from context_rcnn import configs
from context_rcnn.data import damage, label_map, video_stream
from context_rcnn.data import input as input_lib
from context_rcnn.data.frames import FrameSampler
from context_rcnn.detectors import freezing, targets
from context_rcnn.evaluation.groundtruth import Image, read_groundtruth
from context_rcnn.memory_bank.join import MemoryJoin
from context_rcnn.models import temporal as temporal_models
from context_rcnn.models.streaming import Stream
from context_rcnn.tasks import features as task_features
from context_rcnn.tasks import inputs as task_inputs
from context_rcnn.tasks.accumulation import in_parts
from context_rcnn.tasks.detection_losses import LOSSES, SECOND_STAGE_LOSSES, detection_losses
from context_rcnn.tasks.evaluator import Evaluator, StreamRunner, given_proposals, normalised
from context_rcnn.tasks.start import load_start
from context_rcnn.tasks.task import Task, as_written

COMPILED_ENTRIES = 2048 + 9  # length of a bank's entries of a ResNet's conv5, to compile with


@task_factory.register_task_cls(configs.DetectionTask)
class DetectionTask(Task):
    """A two-stage detector, with a memory or without.

    Args:
        params: the settings.
        logging_dir: the folder of the run.
        class_names: instead of the label map that the settings name.
        bank: facts about the memory bank, instead of opening that of the settings.
        **options: of `Task`.

    Attributes:
        class_names: names by id.
        temporal: what the detector remembers, bound to its bank.
    """

    def __init__(
        self,
        params: configs.DetectionTask,
        logging_dir: str | None = None,
        name: str | None = None,
        *,
        class_names: Mapping[int, str] | None = None,
        bank: temporal_models.BankFacts | None = None,
        **options: Any,
    ):
        super().__init__(params, logging_dir, name, **options)
        self._evaluation_images: list[Image] | None = None
        self._join: MemoryJoin | None = None
        self._lengths: list[int] | None = None
        self._stream: Stream | None = None
        self._stream_runner: StreamRunner | None = None
        self._losses: tuple[str, ...] = LOSSES
        self._features = task_features.Features(params)
        self.class_names = dict(class_names) if class_names else self._read_label_map()
        temporal = temporal_models.make(params.temporal, params.memory)
        join = self.memory_join() if bank is None and temporal.uses_bank else None
        if join is not None:
            bank = task_inputs.bank_facts(join)
        self.temporal = temporal.bound_to(bank)
        self._evaluator = Evaluator(
            params.evaluation,
            self.class_names,
            folder=self.logging_dir if self._is_chief else None,
            spacing=params.clip.spacing,
            show_progress=self._is_chief,
        )

    @classmethod
    def of_run(cls, params: configs.DetectionTask, model_dir: str) -> "DetectionTask":
        """Its classes are those of the run's own label map where the data's is gone, and all that
        the model has to know of its bank is in the settings; the bank may be gone, too."""
        params = params.replace(memory={"bank": ""}, learn_on=task_features.IMAGES)
        classes = os.path.join(model_dir, label_map.FILE_NAME)
        known = params.label_map and tf.io.gfile.exists(params.label_map)
        if tf.io.gfile.exists(classes) and not known:
            params = params.replace(label_map=classes)
        elif not known:
            try:
                return cls(params)
            except ValueError as error:
                raise ValueError(f"there is no {classes}, and {error}") from None
        return cls(params)

    @classmethod
    def without_data(cls, params: configs.DetectionTask, num_classes: int) -> "DetectionTask":
        """Nothing is read: no label map, bank, store or checkpoint to start from."""
        start = params.init_checkpoint or "not loaded here"
        params = params.replace(memory={"bank": ""}, features="", init_checkpoint=start)
        names = {number: f"class {number}" for number in range(1, num_classes + 1)}
        temporal = temporal_models.make(params.temporal, params.memory)
        size = (temporal.describe()["memory"] or {}).get("entry_size") or COMPILED_ENTRIES
        bank = temporal_models.BankFacts("", size, temporal.extractor_hash)
        return cls(params, class_names=names, bank=bank)

    @classmethod
    def find_damage(cls, params: configs.DetectionTask) -> Iterator[str]:
        paths = (params.train_data.input_path, params.validation_data.input_path)
        for path in filter(None, paths):
            yield from damage.find_damage(
                input_lib.find_files(path), labels_alone=params.learn_on == "features"
            )

    def resolved_params(self) -> configs.DetectionTask:
        params = self.task_config.replace()
        bound = configs.Temporal.with_settings(params.temporal.type, self.temporal.settings)
        params.temporal = bound
        return params

    def describe(self) -> str:
        return f"{len(self.class_names)} classes"

    def describe_input(self, params: configs.Data, field: str) -> str:
        return input_lib.count_images(input_lib.find_files(params.input_path, field))

    def save_run_files(self) -> None:
        """The classes, so that the run can be used without its data."""
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
            name = "train_data" if params.train_data.input_path else "validation_data"
            first = input_lib.find_files(data, f"task.{name}.input_path")[0]
            path = os.path.join(os.path.dirname(first), label_map.FILE_NAME)
            if not tf.io.gfile.exists(path):
                raise ValueError(
                    f"task.label_map is not set, and there is no {path} beside the examples"
                )
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
        fields = {
            "task.model.backbone.freeze_batch_norm": params.model.backbone.freeze_batch_norm,
            "task.freeze": params.freeze,
            "task.learn_on: features": self._features.used,
        }
        freezing_fields = [name for name, value in fields.items() if value]
        taught = params.init_checkpoint or params.model.backbone.kind == "embedder"
        if freezing_fields and not taught:
            raise ValueError(
                f"{freezing_fields[0]} freezes what was learned before, but there is no "
                "task.init_checkpoint: set one, or do not freeze"
            )
        config = params.model.replace(num_classes=max(self.class_names))
        decay = params.losses.weight_decay
        model = temporal_models.build(self.temporal, config, weight_decay=decay)
        frozen = [*params.freeze, *self._features.frozen_parts(model)]
        freezing.freeze(model, frozen, "task.freeze")
        self._losses = LOSSES
        if not freezing.first_stage_learns(model):
            self._losses = SECOND_STAGE_LOSSES
        if self.evaluation_window() is None:
            self._stream = self._new_stream(model)
            self._stream_runner = None
            if self._given and "proposals" not in self._stream.inputs:
                raise ValueError(
                    f"task.model.proposals.source is given, but the frames of task.temporal.type "
                    f"{params.temporal.type} come without proposals"
                )
        return model

    def initialize(self, model: tf_keras.Model) -> None:
        """Loads `init_checkpoint`, where a run starts afresh."""
        self.temporal.start(model)
        if self.task_config.init_checkpoint:
            load_start(self.task_config, self.temporal, model)
        self._features.check(model)

    @as_written
    def build_inputs(
        self, params: configs.Data, input_context: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """Builds this host's share of an input."""
        field = "task.train_data" if params.is_training else "task.validation_data"
        files = input_lib.find_files(params.input_path, f"{field}.input_path")
        share = task_inputs.Share(input_context, params.global_batch_size, field)
        to_row = self.image_input(params)
        if params.is_training:
            clip = self.training_frames()
            return input_lib.training_batches(
                files,
                to_row,
                batch_size=share.batch_size,
                seed=params.seed + self._start_step,
                shuffle_buffer_size=params.shuffle_buffer_size,
                flip_probability=params.flip_probability,
                empty_fraction=params.empty_fraction,
                clip=clip,
                shard=share.shard,
                shard_files=params.shard_files,
                cache=params.cache and not clip.redraws,
            )
        window, steps = self.evaluation_window(), self.evaluation_steps()
        if window is None:
            return task_inputs.stream_batches(files, to_row, self.stream(), share, steps)
        return input_lib.evaluation_batches(
            files,
            to_row,
            batch_size=share.batch_size,
            # A global step takes one batch for each replica.
            steps=steps * share.replicas // share.hosts,
            clip=window,
            shard=share.shard,
            sample_1_of_n=params.sample_1_of_n,
        )

    def training_frames(self) -> FrameSampler:
        """The frames that a keyframe is learned with."""
        params = self.task_config
        seed = params.train_data.seed + self._start_step
        return self.temporal.training_frames(params.clip, seed)

    def evaluation_window(self) -> FrameSampler | None:
        """The frames that a keyframe is evaluated with; None where videos go frame by frame."""
        return self.temporal.evaluation_window(self.task_config.clip)

    def stream(self) -> Stream:
        """What takes videos through the model that was built last."""
        if self._stream is None:
            self.build_model()
        if self._stream is None:
            raise ValueError("this model is evaluated by clips: it has no stream")
        return self._stream

    def _new_stream(self, model: tf_keras.Model) -> Stream:
        stream = self.temporal.stream(model)
        if stream is None:
            name = type(self.temporal).__name__
            raise ValueError(f"{name} has neither an evaluation_window nor a stream")
        return stream

    def image_input(self, params: configs.Data) -> input_lib.ImageInput:
        """What makes rows of a batch of this input."""
        model = self.task_config.model
        return input_lib.ImageInput(
            tuple(model.image_size),
            model.keep_aspect_ratio,
            params.max_boxes,
            num_classes=max(self.class_names),
            proposals=self._given,
            join=self.memory_join(),
            stored=self._features.stored_input(params),
        )

    @property
    def _given(self) -> int:
        """Proposals of another detector that come with an image; 0 where there is a first stage,
        and where stored images have them."""
        proposals = self.task_config.model.proposals
        if self._features.used:
            return 0
        return proposals.count if proposals.source == "given" else 0

    def memory_join(self) -> MemoryJoin | None:
        """What joins keyframes with the memory bank of the settings, if there is one."""
        if self._join is None and self.task_config.memory.bank:
            self._join = task_inputs.make_join(self.task_config.memory)
        return self._join

    def memory_of(self, inputs: Mapping[str, tf.Tensor], frames: int) -> dict[str, tf.Tensor]:
        """The part of a batch that is memory, for the detector's ports.

        Args:
            inputs: the batch.
            frames: number of frames in its clips.
        """
        spec = self.temporal.memory_spec(frames)
        return {name: inputs[name] for name in spec if name in inputs}

    def dummy_inputs(self, batch_size: int) -> dict[str, tf.Tensor]:
        """A batch of so many clips, with one box per image."""
        params, frames = self.task_config, self.training_frames().frames
        images, size = batch_size * frames, tuple(params.model.image_size)
        spec = self.temporal.memory_spec(frames)
        return (
            self._features.dummy_images(images, size, params.train_data)
            | task_inputs.dummy_proposals(images, size, self._given)
            | task_inputs.dummy_labels(images, size, params.train_data.max_boxes)
            | task_inputs.dummy_memory(spec, batch_size, params.memory.max_entries)
        )

    def dummy_evaluation_inputs(self, batch_size: int) -> dict[str, tf.Tensor]:
        if self.evaluation_window() is not None:
            return self.dummy_inputs(batch_size)
        size = tuple(self.task_config.model.image_size)
        images = self._features.dummy_images(batch_size, size, self.task_config.validation_data)
        images |= task_inputs.dummy_proposals(batch_size, size, self._given)
        none = tf.zeros([batch_size], tf.bool)
        frames = images | {"video": images["key"], "keyed": images["valid"], "ended": none}
        if "elsewhere" in self.stream().inputs:
            parts = {"image": "image", "shape": "image_shape", "valid": "valid"}
            frames |= {f"anywhere_{name}": images[part] for name, part in parts.items()}
        return frames

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
        if self.evaluation_window() is None:
            if self._lengths is None:
                self._lengths = video_stream.read_lengths(input_lib.find_files(params.input_path))
            latency = self.stream().latency
            return video_stream.count_steps(self._lengths, params.global_batch_size, latency)
        return -(-len(self.evaluation_images()) // params.global_batch_size)

    def build_losses(
        self, labels: Mapping[str, tf.Tensor], model_outputs: Mapping[str, Any], aux_losses=None
    ) -> dict[str, tf.Tensor]:
        """Returns the losses, the weight penalty and their weighted sum, `total_loss`.

        Without `anchor_targets` those of the first stage are left out.
        """
        values = detection_losses(self.task_config, model_outputs, labels.get("anchor_targets"))
        weights = self.task_config.losses
        total = tf.add_n([getattr(weights, name) * value for name, value in values.items()])
        values["weight_penalty"] = tf.add_n(aux_losses) if aux_losses else tf.constant(0.0)
        values["total_loss"] = values["weight_penalty"] + total
        return values

    def gradients(
        self, inputs: Mapping[str, tf.Tensor], model: tf_keras.Model, optimizer
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Forward and backward pass of one replica. Returns gradients and losses."""
        params = self.task_config.model.proposals
        frames = self.training_frames()
        labels = {
            name: _of_frames(inputs[name], frames)
            for name in ("boxes", "classes", "box_valid", "valid")
        }
        groundtruth = {
            "boxes": labels["boxes"],
            "classes": labels["classes"],
            "valid": labels["box_valid"],
        }
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(model.trainable_variables)
            outputs = model(
                inputs["image"],
                inputs["image_shape"],
                groundtruth=groundtruth,
                memory=self.memory_of(inputs, frames.frames),
                training=True,
                given=given_proposals(inputs),
            )
            teaches = labels["valid"][:, None]
            outputs["targets"] = outputs["targets"]._replace(
                valid=outputs["targets"].valid & teaches
            )
            wanted = {}
            if self._losses == LOSSES:
                anchors = targets.anchor_targets(
                    model.anchors,
                    labels["boxes"],
                    labels["box_valid"],
                    samples=params.anchor_samples,
                    positive_fraction=params.anchor_positive_fraction,
                    positive_iou=params.positive_iou,
                    negative_iou=params.negative_iou,
                )
                wanted = {"anchor_targets": anchors._replace(valid=anchors.valid & teaches)}
            values = self.build_losses(wanted, outputs, freezing.penalties(model))
            # Replicas add up their gradients, so each gives its share of the global mean.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            loss = values["total_loss"] / replicas
            if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
                loss = optimizer.get_scaled_loss(loss)
        gradients = tape.gradient(loss, model.trainable_variables)
        if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer):
            gradients = optimizer.get_unscaled_gradients(gradients)
        return gradients, values

    @as_written
    def train_step(self, inputs, model, optimizer, metrics=None) -> dict[str, tf.Tensor]:
        """One step of one replica."""
        compute = functools.partial(self.gradients, model=model, optimizer=optimizer)
        if self._jit_compile:
            compute = tf.function(compute, jit_compile=True, autograph=False)
        clips = inputs["clip_valid"].shape[0]
        gradients, values = in_parts(compute, inputs, self.task_config.accumulate, clips)
        optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
        for metric in metrics or []:
            metric.update_state(values[metric.name])
        return {self.loss: values["total_loss"]} | values

    def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
        """The running means of the losses; evaluation has metrics of its own."""
        names = [*self._losses, "weight_penalty"] if training else []
        return [tf_keras.metrics.Mean(name, dtype=tf.float32) for name in names]

    def start_evaluation(self, model: tf_keras.Model) -> None:
        """Where videos are evaluated frame by frame: nothing was seen yet."""
        self._features.check(model)
        if self.evaluation_window() is not None:
            return
        if self._stream_runner is None:
            self._stream = self._new_stream(model)
            self._stream_runner = StreamRunner(self._stream, self._jit_compile)
        self._stream_runner.start(self.task_config.validation_data.global_batch_size)

    @as_written
    def validation_step(self, inputs, model, metrics=None) -> dict[str, tf.Tensor]:
        """Detects on one replica's batch. Boxes come back normalised to the image."""
        if self._stream_runner is not None:
            outputs = self._stream_runner.step(inputs)
            return normalised(outputs, inputs["key"], inputs["keyed"], outputs["image_shape"])
        detect = functools.partial(model, training=False)
        if self._jit_compile:
            detect = tf.function(detect, jit_compile=True, autograph=False)
        window = self.evaluation_window()
        if window is None:
            raise ValueError("start_evaluation comes first, where videos go frame by frame")
        memory = self.memory_of(inputs, window.frames)
        given = given_proposals(inputs)
        outputs = detect(inputs["image"], inputs["image_shape"], memory=memory, given=given)
        return normalised(outputs, inputs["key"], inputs["valid"], inputs["image_shape"])

    def aggregate_logs(self, state=None, step_outputs=None):
        """Collects the detections of one global step, of all replicas and workers."""
        if state is None:
            state = self._evaluator.begin(self.evaluation_steps())
        return self._evaluator.collect(state, step_outputs)

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None) -> dict[str, float]:
        """Measures, writes the results below `evaluation/`, and returns the scalars."""
        step = int(global_step.numpy()) if global_step is not None else None
        path = self.task_config.validation_data.input_path
        scalars = self._evaluator.finish(aggregated_logs, self.evaluation_images(), step, path)
        if self._join is not None and self._is_chief and self.logging_dir:
            print(task_inputs.describe_join(self._join))
        return scalars


def _of_frames(rows: tf.Tensor, clip: FrameSampler) -> tf.Tensor:
    """Of images [clips * frames, ...], those that teach."""
    if len(clip.teaching) == clip.frames:
        return rows
    clips = tf.reshape(rows, [-1, clip.frames, *rows.shape[1:]])
    return tf.reshape(tf.gather(clips, clip.teaching, axis=1), [-1, *rows.shape[1:]])
