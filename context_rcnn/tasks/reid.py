"""The task of re-identification: what a step computes, on what, and how answers are ranked."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import task_factory
from tqdm import tqdm

from context_rcnn.configs import reid as settings
from context_rcnn.data.failures import Failure
from context_rcnn.data.readers.tracklet_layouts import TrackletOptions, read_tracklets
from context_rcnn.data.tracklet_images import ClipReader, check_tracklets
from context_rcnn.data.tracklet_input import (
    EvaluationClips,
    Part,
    evaluation_batches,
    training_batches,
)
from context_rcnn.data.tracklet_sampling import Augmentation, PkBatches
from context_rcnn.data.tracklets import Tracklet, TrackletSet, identities
from context_rcnn.detectors import checkpoints
from context_rcnn.models.psta import Psta, build_psta
from context_rcnn.tasks import reid_evaluator, reid_losses
from context_rcnn.tasks.task import Task, as_written

LOSSES = ("identities", "triplets")
TRIPLET_ON = ("features", "normed")


class _Frames(tf.Module):
    """The parts of a model that work on single frames, under their names in a checkpoint."""

    def __init__(self, model: Psta):
        super().__init__()
        self.backbone, self.reduction = model.backbone, model.reduction


@task_factory.register_task_cls(settings.ReidTask)
class ReidTask(Task):
    """A model of tracklets."""

    def __init__(self, params: settings.ReidTask, logging_dir=None, name=None, **options: Any):
        super().__init__(params, logging_dir, name, **options)
        self._sets: dict[str, TrackletSet] = {}
        self._clips: EvaluationClips | None = None
        self._reader: ClipReader | None = None
        self._training_reader: ClipReader | None = None
        if params.losses.triplet_on not in TRIPLET_ON:
            raise ValueError(
                f"task.losses.triplet_on must be one of {', '.join(TRIPLET_ON)}, got "
                f"{params.losses.triplet_on!r}"
            )

    @classmethod
    def without_data(cls, params: settings.ReidTask, num_classes: int) -> "ReidTask":
        start = params.init_checkpoint or "not loaded here"
        number = params.model.num_identities or num_classes
        none = {"input_path": ""}
        return cls(
            params.replace(model={"num_identities": number}, train_data=none, init_checkpoint=start)
        )

    def tracklets(self, root: str, field: str) -> TrackletSet:
        """The data set in a folder, read once."""
        if not root:
            raise ValueError(f"set {field}, the folder of a data set")
        if root not in self._sets:
            options = self.task_config.tracklets.as_dict()
            try:
                self._sets[root] = read_tracklets(TrackletOptions(root, **options))
            except ValueError as error:
                raise ValueError(f"{field}: {error}") from None
        return self._sets[root]

    def training_tracklets(self) -> list[Tracklet]:
        """The tracklets to learn from."""
        data = self.task_config.train_data
        return self.tracklets(data.input_path, "task.train_data.input_path").train

    def num_identities(self) -> int:
        """Identities that are learned."""
        known = self.task_config.model.num_identities
        if not self.task_config.train_data.input_path and known:
            return known
        found = len(identities(self.training_tracklets()))
        if known not in (0, found):
            raise ValueError(
                f"task.model.num_identities is {known}, but "
                f"{self.task_config.train_data.input_path} has {found} identities to learn; 0 "
                "takes the number from the data"
            )
        return found

    @classmethod
    def of_run(cls, params: settings.ReidTask, model_dir: str) -> "ReidTask":
        """The number of identities is in the settings of a run; its data may be gone."""
        return cls(params.replace(train_data={"input_path": ""}))

    @classmethod
    def find_damage(cls, params: settings.ReidTask) -> Iterator[str]:
        """What cannot be read in the inputs, one line each."""
        task = cls(params)
        fields = {
            getattr(params, f"{part}_data").input_path: part for part in ("train", "validation")
        }
        for root, part in fields.items():
            if not root:
                continue
            found = task.tracklets(root, f"task.{part}_data.input_path")
            members = [tracklet for part in found.parts.values() for tracklet in part]
            for failure in check_tracklets(root, members):
                yield f"{root}/{failure.file}: {failure.detail} ({failure.reason})"

    def resolved_params(self) -> settings.ReidTask:
        return self.task_config.replace(model={"num_identities": self.num_identities()})

    def describe(self) -> str:
        return f"{self.num_identities()} identities"

    def describe_input(self, params: Any, field: str) -> str:
        found = self.tracklets(params.input_path, field)
        return f"{found.describe()} (split {found.split})"

    def build_model(self) -> Psta:
        """Builds the model and all its variables."""
        return build_psta(self.task_config.model, self.num_identities())

    def initialize(self, model: Psta) -> None:
        """Loads `init_checkpoint`, where a run starts afresh."""
        params, field = self.task_config, "task.init_checkpoint"
        if not params.init_checkpoint:
            return
        path = checkpoints.find_checkpoint(params.init_checkpoint, field)
        if params.init_checkpoint_modules == "backbone":
            checkpoints.restore(path, field, backbone=model.backbone)
        elif params.init_checkpoint_modules == "frames":
            checkpoints.restore(path, field, model=_Frames(model))
        elif params.init_checkpoint_modules == "all":
            checkpoints.restore(path, field, model=model)
        else:
            raise ValueError(
                "task.init_checkpoint_modules must be backbone, frames or all, got "
                f"{params.init_checkpoint_modules!r}"
            )

    @as_written
    def build_inputs(
        self, params: Any, input_context: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """Builds this host's share of an input."""
        context = input_context or tf.distribute.InputContext()
        part = Part(
            context.num_input_pipelines, context.input_pipeline_id, context.num_replicas_in_sync
        )
        model = self.task_config.model
        if params.is_training:
            tracklets = self.training_tracklets()
            self._training_reader = ClipReader(params.input_path, model.image_size, smooth=True)
            return training_batches(
                self.batches(part.replicas),
                tracklets,
                self._training_reader,
                part,
                batch_size=params.global_batch_size,
                read_ahead=params.read_ahead,
            )
        if params.global_batch_size % part.replicas:
            raise ValueError(
                f"task.validation_data.global_batch_size {params.global_batch_size} is not a "
                f"multiple of the {part.replicas} replicas"
            )
        self._reader = ClipReader(params.input_path, model.image_size)
        return evaluation_batches(
            self.evaluation_clips(),
            self.evaluation_tracklets(),
            self._reader,
            (model.frames, *model.image_size, 3),
            part,
            batch_size=params.global_batch_size,
        )

    def batches(self, replicas: int = 1) -> PkBatches:
        """What is in the training batches; a ValueError where replicas cannot compare clips."""
        params, model = self.task_config.train_data, self.task_config.model
        if params.persons % replicas or params.persons // replicas < 2 or params.clips < 2:
            raise ValueError(
                f"task.train_data.persons is {params.persons} and clips is {params.clips} with "
                f"{replicas} replicas: each replica compares its own clips, so it needs the same "
                "number of persons, at least 2, with at least 2 clips each"
            )
        return PkBatches(
            self.training_tracklets(),
            persons=params.persons,
            clips=params.clips,
            frames=model.frames,
            size=model.image_size,
            sampling=params.sampling,
            augmentation=Augmentation(
                params.flip_probability,
                params.erase_probability,
                (params.erase_area[0], params.erase_area[1]),
                params.erase_aspect,
            ),
            seed=params.seed + self._start_step,
        )

    def evaluation_tracklets(self) -> list[Tracklet]:
        """Queries, and then the gallery."""
        data = self.task_config.validation_data
        found = self.tracklets(data.input_path, "task.validation_data.input_path")
        if not found.query or not found.gallery:
            raise ValueError(
                f"task.validation_data.input_path: {data.input_path} has {len(found.query)} "
                f"queries and {len(found.gallery)} tracklets to look in"
            )
        return found.query[:: data.sample_1_of_n] + found.gallery

    def evaluation_clips(self) -> EvaluationClips:
        """The clips that stand for them."""
        if self._clips is None:
            how = self.task_config.evaluation
            self._clips = EvaluationClips.of(
                self.evaluation_tracklets(),
                sampling=how.sampling,
                frames=self.task_config.model.frames,
                max_clips=how.max_clips,
            )
        return self._clips

    def dummy_inputs(self, batch_size: int) -> dict[str, tf.Tensor]:
        """A batch of so many clips, two of each identity."""
        model = self.task_config.model
        shape = [batch_size, model.frames, *model.image_size, 3]
        return {
            "clips": tf.zeros(shape, tf.uint8),
            "label": tf.range(batch_size, dtype=tf.int64) // 2 % max(1, model.num_identities),
            "erase": tf.zeros([batch_size, 4], tf.int32),
        }

    def dummy_evaluation_inputs(self, batch_size: int) -> dict[str, tf.Tensor]:
        return {
            "clips": self.dummy_inputs(batch_size)["clips"],
            "tracklet": tf.range(batch_size, dtype=tf.int64),
            "valid": tf.ones([batch_size], tf.bool),
        }

    def build_losses(self, labels, model_outputs, aux_losses=None) -> dict[str, tf.Tensor]:
        """The two losses, each the mean over the stages, and their sum (equation 18).

        Args:
            labels: int64 [clips].
            model_outputs: those of `Psta`.
            aux_losses: not used; weights have their penalty in `gradients`.
        """
        params = self.task_config.losses
        compared = model_outputs[params.triplet_on]
        stages = range(compared.shape[1])
        logits = model_outputs["logits"]
        cross = [
            reid_losses.identity_loss(labels, logits[:, n], params.label_smoothing) for n in stages
        ]
        triplets = [
            reid_losses.batch_hard_triplet(labels, compared[:, n], params.margin) for n in stages
        ]
        values = {
            "identities": tf.add_n(cross) / len(stages),
            "triplets": tf.add_n(triplets) / len(stages),
        }
        return values | {"total_loss": values["identities"] + values["triplets"]}

    def weight_penalty(self, model: tf_keras.Model) -> tf.Tensor:
        """L2 of all trainable weights, whose gradient is `weight_decay * weight`."""
        decay = self.task_config.losses.weight_decay
        return decay * tf.add_n([tf.nn.l2_loss(v) for v in model.trainable_variables])

    def gradients(self, inputs: Mapping[str, tf.Tensor], model: tf_keras.Model, optimizer):
        """Forward and backward pass of one replica. Returns gradients and losses."""
        scaled = isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
        with tf.GradientTape() as tape:
            outputs = model(inputs["clips"], erase=inputs["erase"], training=True)
            values = self.build_losses(inputs["label"], outputs)
            values["weight_penalty"] = self.weight_penalty(model)
            values["total_loss"] += values["weight_penalty"]
            # Replicas add up their gradients, so each gives its share of the global mean.
            loss = values["total_loss"] / tf.distribute.get_strategy().num_replicas_in_sync
            loss = optimizer.get_scaled_loss(loss) if scaled else loss
        gradients = tape.gradient(loss, model.trainable_variables)
        gradients = optimizer.get_unscaled_gradients(gradients) if scaled else gradients
        return gradients, values

    @as_written
    def train_step(self, inputs, model, optimizer, metrics=None) -> dict[str, tf.Tensor]:
        """One step of one replica."""
        compute = self.gradients
        if self._jit_compile:
            compute = tf.function(compute, jit_compile=True, autograph=False)
        gradients, values = compute(inputs, model, optimizer)
        optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
        for metric in metrics or []:
            metric.update_state(values[metric.name])
        return {self.loss: values["total_loss"]} | values

    def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
        """The running means of the losses; evaluation has metrics of its own."""
        names = [*LOSSES, "weight_penalty"] if training else []
        return [tf_keras.metrics.Mean(name, dtype=tf.float32) for name in names]

    @as_written
    def validation_step(self, inputs, model, metrics=None) -> dict[str, tf.Tensor]:
        """Embeds one replica's clips."""
        embed = model.embed
        if self._jit_compile:
            embed = tf.function(embed, jit_compile=True, autograph=False)
        return {
            "features": embed(inputs["clips"]),
            "tracklet": inputs["tracklet"],
            "valid": tf.cast(inputs["valid"], tf.int32),  # booleans cannot be gathered
        }

    def aggregate_logs(self, state=None, step_outputs=None):
        """Collects the features of one global step, of all replicas and workers."""
        if state is None:
            steps = self.evaluation_clips().steps(
                self.task_config.validation_data.global_batch_size
            )
            hide = None if self._is_chief else True
            bar = tqdm(total=steps, desc="evaluate", unit="batch", disable=hide)
            first = self.task_config.evaluation.normalise_first
            state = reid_evaluator.Averages(len(self.evaluation_tracklets()), first), bar
        averages, bar = state
        averages.add(*(step_outputs[name].numpy() for name in ("tracklet", "features", "valid")))
        bar.update()
        return state

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None) -> dict[str, float]:
        """Ranks, writes the results below `evaluation/`, and returns the scalars."""
        averages, bar = aggregated_logs
        bar.close()
        params = self.task_config
        step = int(global_step.numpy()) if global_step is not None else 0
        root = params.validation_data.input_path
        found = self.tracklets(root, "task.validation_data.input_path")
        tracklets = self.evaluation_tracklets()
        queries = len(found.query[:: params.validation_data.sample_1_of_n])
        folder = None
        if self._is_chief and self.logging_dir:
            folder = os.path.join(self.logging_dir, "evaluation", f"step-{step}")
        self._say_what_was_lost()
        return reid_evaluator.evaluate(
            params.evaluation,
            tracklets,
            queries,
            averages,
            found.queries_in_gallery,
            root=root,
            step=step,
            folder=folder,
            failures=list(self._reader.failures.values()) if self._reader else [],
        )

    def _say_what_was_lost(self) -> None:
        """Prints which images could not be read so far."""
        if not self._is_chief:
            return
        for stage, reader in (("train", self._training_reader), ("eval", self._reader)):
            lost: list[Failure] = list(reader.failures.values()) if reader else []
            if lost:
                reasons = Counter(str(failure.reason) for failure in lost)
                words = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
                print(
                    f"{stage}: {len(lost)} images could not be read ({words}), such as "
                    f"{lost[0].file}; their neighbours stand for them"
                )
