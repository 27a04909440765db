"""What the loop, the loader and the compile check ask of a task, whatever it learns."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras
from official.core import base_task, config_definitions, task_factory

OURS = "context_rcnn.configs."


def as_written(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps AutoGraph from a function in which Python never branches on a tensor.

    It would find nothing to convert, and take seconds. The signature stays: Orbit looks there for
    `input_context`, without which every replica would read the global batch.
    """
    kept = tf.autograph.experimental.do_not_convert(function)
    kept.__signature__ = inspect.signature(function)
    return kept


class Task(base_task.Task):
    """A task of tf-models-official, and what this package wants to know of it besides.

    Args:
        params: the settings; read, never written.
        logging_dir: the folder of the run; evaluations are written below it.
        jit_compile: compile forward and backward pass with XLA.
        is_chief: whether this process writes files and shows progress.
        start_step: step at which training continues; a resumed run draws another order.
    """

    def __init__(
        self,
        params: config_definitions.TaskConfig,
        logging_dir: str | None = None,
        name: str | None = None,
        *,
        jit_compile: bool = False,
        is_chief: bool = True,
        start_step: int = 0,
    ):
        super().__init__(params, logging_dir, name)
        self._jit_compile = jit_compile
        self._is_chief = is_chief
        self._start_step = start_step

    @classmethod
    def of_run(cls, params: config_definitions.TaskConfig, model_dir: str) -> "Task":
        """The task of a finished run, whose data may be gone: its folder says what they said."""
        return cls(params)

    @classmethod
    def without_data(cls, params: config_definitions.TaskConfig, num_classes: int) -> "Task":
        """A task that reads nothing, to compile with: only shapes matter."""
        return cls(params)

    @classmethod
    def find_damage(cls, params: config_definitions.TaskConfig) -> Iterator[str]:
        """What cannot be read in the inputs, one line each; asked for when a run has failed."""
        return iter(())

    def resolved_params(self) -> config_definitions.TaskConfig:
        """The settings as a run keeps them: with what they took from the data."""
        return self.task_config

    def save_run_files(self) -> None:
        """Writes into the run's folder what it needs besides settings and checkpoints."""

    def describe(self) -> str:
        """What is learned, in a few words, for the first line of a run."""
        return type(self).__name__

    def describe_input(self, params: Any, field: str) -> str:
        """What there is in an input, in words; a ValueError names the field where it has no files.

        Args:
            params: settings of the input.
            field: name of the input in the settings.
        """
        return params.input_path

    def start_evaluation(self, model: tf_keras.Model) -> None:
        """Is called before each evaluation, in the scope of the strategy."""

    def dummy_inputs(self, batch_size: int) -> dict[str, tf.Tensor]:
        """A training batch of the right shapes: to compile and to time with."""
        raise NotImplementedError(f"{type(self).__name__} has no dummy_inputs")

    def dummy_evaluation_inputs(self, batch_size: int) -> dict[str, tf.Tensor]:
        """The same of an evaluation."""
        return self.dummy_inputs(batch_size)


def task_class(params: config_definitions.TaskConfig) -> type[Task]:
    """The task that settings of this class are for, from tf-models-official's registry."""
    module = type(params).__module__
    if module.startswith(OURS):
        importlib.import_module("context_rcnn.tasks." + module.removeprefix(OURS))
    return task_factory.get_task_cls(type(params))
