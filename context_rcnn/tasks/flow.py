"""The flow task: a network that sees how things move from one image to another.

It learns from pairs with known flow, by the distance from it at every level of the network; or from
pairs without, by how well one image is the other one moved. It is measured by the end-point error,
the mean distance from the known flow, and compared with no flow at all.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import task_factory

from context_rcnn.configs.flow import FlowData, FlowTask
from context_rcnn.data import flow_pairs
from context_rcnn.data import input as input_lib
from context_rcnn.data.readers.flying_chairs import Pair, read_flying_chairs
from context_rcnn.detectors import backbones, checkpoints
from context_rcnn.evaluation.flow import end_point_errors, write_flow_results
from context_rcnn.layers.flow_net import UNIT, FlowNetS
from context_rcnn.layers.warp import warp
from context_rcnn.tasks.inputs import Share
from context_rcnn.tasks.task import Task, as_written

KINDS = ("supervised", "photometric")
CELL = 8
"""Pixels of a pair in a cell of maps of stride 16: within a detector, images are halved first."""


class FlowModel(tf_keras.Model):
    """The network, `net`, as what is trained and saved."""

    def __init__(self, net: FlowNetS, **kwargs):
        super().__init__(**kwargs)
        self.net = net

    def call(self, now: tf.Tensor, before: tf.Tensor) -> list[tf.Tensor]:
        """Flow at all levels, see `FlowNetS.predictions`."""
        return self.net.predictions(now, before)


@task_factory.register_task_cls(FlowTask)
class FlowNetTask(Task):
    """Trains a flow network, and measures it."""

    def __init__(self, params: FlowTask, *args: Any, **kwargs: Any):
        super().__init__(params, *args, **kwargs)
        losses = params.losses
        if losses.kind not in KINDS:
            raise ValueError(
                f"task.losses.kind must be one of {', '.join(KINDS)}, got {losses.kind!r}"
            )
        predictions = params.model.levels - 1
        if len(losses.weights) < predictions:
            raise ValueError(
                f"task.losses.weights has {len(losses.weights)} numbers, the network predicts at "
                f"{predictions} levels"
            )

    def describe(self) -> str:
        return f"{self.task_config.losses.kind} flow"

    def describe_input(self, params: FlowData, field: str) -> str:
        if self._is_folder(params):
            pairs = self._pairs(params, field)
            return f"{len(pairs)} pairs of {params.input_path}"
        return f"videos of {len(input_lib.find_files(params.input_path, field))} files"

    def build_model(self) -> FlowModel:
        config = self.task_config.model
        regularizer = backbones.l2(self.task_config.losses.weight_decay)
        net = FlowNetS(config.width, config.levels, regularizer=regularizer, name="flow_net")
        net.build(None)
        model = FlowModel(net)
        size = [1, *self.task_config.image_size, 3]
        model(tf.zeros(size), tf.zeros(size))
        return model

    def initialize(self, model: FlowModel) -> None:
        """Loads `init_checkpoint`, where a run starts afresh."""
        if path := self.task_config.init_checkpoint:
            field = "task.init_checkpoint"
            checkpoints.restore(checkpoints.find_checkpoint(path, field), field, model=model)

    @as_written
    def build_inputs(
        self, params: FlowData, input_context: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """Builds this host's share of an input."""
        field = "task.train_data" if params.is_training else "task.validation_data"
        share = Share(input_context, params.global_batch_size, field)
        size = self._size(params, field)
        options: dict[str, Any] = {
            "size": size,
            "batch_size": share.batch_size,
            "seed": params.seed + self._start_step,
            "shuffle_buffer_size": params.shuffle_buffer_size,
            "changes": flow_pairs.Changes(
                shift=params.shift,
                flip_probability=params.flip_probability,
                upside_down_probability=params.upside_down_probability,
                reverse_probability=params.reverse_probability * self._is_photometric,
                brightness=params.brightness,
            ),
        }
        if not self._is_folder(params):
            files = input_lib.find_files(params.input_path, f"{field}.input_path")
            if not (self._is_photometric and params.is_training):
                raise ValueError(
                    f"{field}.input_path {params.input_path!r} is no folder of pairs, and videos "
                    "have no known flow: they can be trained with, by task.losses.kind photometric"
                )
            height, width = self.task_config.image_size
            if size[0] > height or size[1] > width:
                raise ValueError(
                    f"{field}.image_size {list(size)} is larger than the frames, which are "
                    f"stretched to task.image_size [{height}, {width}]"
                )
            return flow_pairs.video_batches(
                files, frame_size=(height, width), distance=params.distance, **options
            )
        pairs = self._pairs(params, field)
        flow_pairs.check_pairs(pairs, size)
        return flow_pairs.flow_batches(
            pairs, training=params.is_training, shard=share.shard, cache=params.cache, **options
        )

    def build_losses(
        self, labels: Mapping[str, tf.Tensor], model_outputs: list[tf.Tensor], aux_losses=None
    ) -> dict[str, tf.Tensor]:
        """The multi-scale end-point loss, `flow_loss`, and `total_loss`.

        As FlowNet's, it is a sum over pixels: beside a mean, weight decay would be the larger part,
        and a network that predicts no flow at all the best one.
        """
        weights = self.task_config.losses.weights[::-1]
        total = tf.constant(0.0)
        for weight, predicted in zip(weights, model_outputs, strict=False):
            flow = pooled(labels["flow"], predicted.shape[1:3]) / UNIT
            distance = tf.sqrt(tf.reduce_sum(tf.square(predicted - flow), axis=-1) + 1e-12)
            total += weight * tf.reduce_mean(tf.reduce_sum(distance, axis=[1, 2]))
        return self._with_penalty(total, aux_losses)

    def photometric_losses(
        self,
        labels: Mapping[str, tf.Tensor],
        there: list[tf.Tensor],
        back: list[tf.Tensor],
        aux_losses=None,
    ) -> dict[str, tf.Tensor]:
        """How well the image before, moved, is the image now, where it is not hidden; smoothness.

        Args:
            labels: `now` and `before`.
            there: predictions from `now` to `before`.
            back: predictions the other way.
            aux_losses: penalties of the weights.
        """
        params = self.task_config.losses
        height, total = labels["now"].shape[1], tf.constant(0.0)
        for weight, flow, other in zip(params.weights[::-1], there, back, strict=False):
            size = flow.shape[1:3]
            unit = UNIT * size[0] / height  # in cells of this level
            flow, other = unit * flow, unit * other
            now, before = (pooled(labels[name], size) for name in ("now", "before"))
            apart = tf.reduce_mean(robust(now - warp(before, flow, "clamp")), axis=-1)
            shown = visible(flow, other, params.occlusion)
            bends = [robust(flow[:, 1:] - flow[:, :-1]), robust(flow[:, :, 1:] - flow[:, :, :-1])]
            lost = tf.reduce_sum(apart * shown, axis=[1, 2])
            lost += params.smoothness * tf.add_n([tf.reduce_sum(b, axis=[1, 2, 3]) for b in bends])
            total += weight * tf.reduce_mean(lost)
        return self._with_penalty(total, aux_losses)

    def gradients(
        self, inputs: Mapping[str, tf.Tensor], model: FlowModel
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Forward and backward pass of one replica. Returns gradients and losses."""
        now, before = inputs["now"], inputs["before"]
        with tf.GradientTape() as tape:
            if self._is_photometric:
                count = now.shape[0]
                both = model(tf.concat([now, before], 0), tf.concat([before, now], 0))
                there, back = ([part[:count] for part in both], [part[count:] for part in both])
                values = self.photometric_losses(inputs, there, back, model.losses)
            else:
                values = self.build_losses(inputs, model(now, before), model.losses)
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            loss = values["total_loss"] / replicas
        return tape.gradient(loss, model.trainable_variables), values

    @as_written
    def train_step(self, inputs, model, optimizer, metrics=None) -> dict[str, tf.Tensor]:
        """One step of one replica."""
        compute = self.gradients
        if self._jit_compile:
            compute = tf.function(compute, jit_compile=True, autograph=False)
        gradients, values = compute(inputs, model)
        optimizer.apply_gradients(list(zip(gradients, model.trainable_variables, strict=True)))
        for metric in metrics or []:
            metric.update_state(values[metric.name])
        return {self.loss: values["total_loss"]} | values

    def build_metrics(self, training: bool = True) -> list[tf_keras.metrics.Metric]:
        """The running means of the losses; evaluation has metrics of its own."""
        names = ["flow_loss", "weight_penalty"] if training else []
        return [tf_keras.metrics.Mean(name, dtype=tf.float32) for name in names]

    @as_written
    def validation_step(self, inputs, model, metrics=None) -> dict[str, tf.Tensor]:
        """End-point errors of one replica's pairs."""
        now, before, flow = inputs["now"], inputs["before"], inputs["flow"]
        finest = UNIT * model(now, before)[0]
        predicted = tf.image.resize(finest, now.shape[1:3])
        cells = model.net(now, before, 2 * CELL)
        known = pooled(flow, cells.shape[1:3]) / CELL
        errors = end_point_errors(predicted, flow, cells, known)
        return errors | {"valid": tf.cast(inputs["valid"], tf.int32)}

    def aggregate_logs(self, state=None, step_outputs=None):
        """Collects the errors of one global step."""
        there = step_outputs["valid"].numpy() > 0
        found = {name: part.numpy()[there] for name, part in step_outputs.items()}
        return [*(state or []), found]

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None) -> dict[str, float]:
        """Writes the results below `evaluation/`, and returns the means."""
        found = {
            name: float(np.mean(np.concatenate([part[name] for part in aggregated_logs])))
            for name in aggregated_logs[0]
            if name != "valid"
        }
        if self.logging_dir and self._is_chief:
            step = int(global_step.numpy()) if global_step is not None else None
            pairs = sum(len(part["valid"]) for part in aggregated_logs)
            folder = os.path.join(self.logging_dir, "evaluation", f"step-{step}")
            write_flow_results(folder, {"step": step, "pairs": pairs, **found})
        return found

    def dummy_inputs(self, batch_size: int) -> dict[str, tf.Tensor]:
        size = [batch_size, *self.task_config.image_size]
        return {
            "now": tf.zeros([*size, 3]),
            "before": tf.ones([*size, 3]),
            "flow": tf.ones([*size, 2]),
            "valid": tf.ones([batch_size], tf.bool),
        }

    @classmethod
    def without_data(cls, params: FlowTask, num_classes: int) -> "FlowNetTask":
        return cls(params)

    @property
    def _is_photometric(self) -> bool:
        return self.task_config.losses.kind == "photometric"

    def _size(self, params: FlowData, field: str) -> tuple[int, int]:
        """Height and width of what is cut out."""
        if params.shift < 0:
            raise ValueError(f"{field}.shift must not be negative, got {params.shift}")
        if params.image_size and len(params.image_size) != 2:
            raise ValueError(
                f"{field}.image_size must be a height and a width, got {list(params.image_size)}"
            )
        height, width = params.image_size or self.task_config.image_size
        return height, width

    @staticmethod
    def _is_folder(params: FlowData) -> bool:
        return tf.io.gfile.isdir(params.input_path)

    def _pairs(self, params: FlowData, field: str) -> list[Pair]:
        if not params.input_path:
            raise ValueError(f"{field}.input_path: set it to a folder of pairs of images")
        needs_flow = not (self._is_photometric and params.is_training)
        try:
            pairs, failures = read_flying_chairs(
                params.input_path,
                split=params.split,
                split_file=params.split_file,
                needs_flow=needs_flow,
            )
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None
        if failures and self._is_chief:
            print(f"{field}: {len(failures)} pairs lack a file, such as {failures[0].file}")
        return pairs

    def _with_penalty(self, loss: tf.Tensor, penalties) -> dict[str, tf.Tensor]:
        penalty = tf.add_n(penalties) if penalties else tf.constant(0.0)
        return {"flow_loss": loss, "weight_penalty": penalty, "total_loss": loss + penalty}


def pooled(maps: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """Means over the cells of a level of the network, [batch, *size, channels]."""
    stride = 2 ** round(math.log2(maps.shape[1] / size[0]))
    return tf.ensure_shape(
        tf.nn.avg_pool2d(maps, stride, stride, "SAME"), [maps.shape[0], *size, maps.shape[-1]]
    )


def robust(difference: tf.Tensor) -> tf.Tensor:
    """Charbonnier's penalty, about the absolute value."""
    return tf.sqrt(tf.square(difference) + 1e-6)


def visible(flow: tf.Tensor, back: tf.Tensor, share: float) -> tf.Tensor:
    """1 where the flow back leads to where one came from, else 0: [batch, height, width]."""
    returned = warp(back, flow, "clamp")
    apart = tf.norm(flow + returned, axis=-1)
    length = tf.norm(flow, axis=-1) + tf.norm(returned, axis=-1)
    return tf.stop_gradient(tf.cast(apart <= share * length + 0.5, flow.dtype))
