"""A second task needs no change in running, loading and the rest: its settings find it."""

import dataclasses
import inspect
import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.core import config_definitions, task_factory
from official.modeling import hyperparams, optimization

from context_rcnn import configs
from context_rcnn.configs import experiments
from context_rcnn.tasks import loading, running
from context_rcnn.tasks.detection import DetectionTask
from context_rcnn.tasks.flow import FlowNetTask
from context_rcnn.tasks.reid import ReidTask
from context_rcnn.tasks.task import Task, task_class


@dataclasses.dataclass
class Line(config_definitions.TaskConfig):
    """A line through points."""

    slope: float = 2.0
    train_data: configs.Data = dataclasses.field(
        default_factory=lambda: configs.Data(input_path="points", is_training=True)
    )
    validation_data: configs.Data = dataclasses.field(
        default_factory=lambda: configs.Data(input_path="points")
    )
    model: hyperparams.Config = dataclasses.field(default_factory=hyperparams.Config)


@task_factory.register_task_cls(Line)
class LineTask(Task):
    """Learns the slope."""

    def build_model(self):
        model = tf_keras.Sequential([tf_keras.layers.Dense(1, use_bias=False)])
        model.build([None, 1])
        return model

    def build_inputs(self, params, input_context=None):
        x = tf.random.stateless_uniform([8, 1], [1, 2])
        dataset = tf.data.Dataset.from_tensors({"x": x, "y": self.task_config.slope * x})
        return dataset.repeat() if params.is_training else dataset

    def train_step(self, inputs, model, optimizer, metrics=None):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(inputs["x"]) - inputs["y"]) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return {self.loss: loss}

    def validation_step(self, inputs, model, metrics=None):
        return {"error": tf.abs(model(inputs["x"]) - inputs["y"])[:, 0]}

    def aggregate_logs(self, state=None, step_outputs=None):
        return [*(state or []), step_outputs["error"].numpy()]

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None):
        return {"error": float(np.concatenate(aggregated_logs).max())}

    def describe(self):
        return "a line"

    def dummy_inputs(self, batch_size):
        return {"x": tf.zeros([batch_size, 1]), "y": tf.zeros([batch_size, 1])}


@experiments.register("a_line")
def a_line():
    return configs.Experiment(
        task=Line(),
        trainer=configs.Trainer(
            train_steps=60,
            steps_per_loop=20,
            summary_interval=20,
            checkpoint_interval=60,
            validation_interval=60,
            validation_steps=1,
            best_checkpoint_eval_metric="",
            optimizer_config=optimization.OptimizationConfig(
                {
                    "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9}},
                    "learning_rate": {"type": "constant", "constant": {"learning_rate": 0.1}},
                }
            ),
        ),
    )


def test_a_second_task_is_trained_evaluated_and_loaded(tmp_path, capsys):
    config = experiments.get("a_line")
    config.name = "a_line"
    found = running.run(config, mode="train_and_eval", model_dir=str(tmp_path))
    assert found["error"] < 0.05
    assert "a line, run folder" in capsys.readouterr().out
    trained = loading.load_run(str(tmp_path))
    assert isinstance(trained.task, LineTask)
    np.testing.assert_allclose(trained.model.variables[0], [[2.0]], atol=0.1)


def test_the_speed_of_a_second_task_is_measured():
    from context_rcnn.tasks import speed

    found = speed.measure(experiments.get("a_line"), steps=2)
    assert found["seconds_a_step"] > 0


@pytest.mark.parametrize("task", [DetectionTask, FlowNetTask, ReidTask])
def test_a_task_is_asked_for_one_share_of_its_input(task):
    """Orbit passes the share where `build_inputs` has an argument of this name, or none at all."""
    assert "input_context" in inspect.getfullargspec(task.build_inputs).args


def test_settings_find_their_task():
    assert task_class(configs.DetectionTask()) is DetectionTask
    assert task_class(Line()) is LineTask
    assert json.dumps(Line().as_dict())  # plain values

    @dataclasses.dataclass
    class Unknown(config_definitions.TaskConfig):
        """Nobody's."""

    with pytest.raises(LookupError):
        task_class(Unknown())
