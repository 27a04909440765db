"""The loop around a task: train, evaluate, resume; one device, many, or many machines.

Built from tf-models-official's runner and trainer, which are wrong for several workers in three
places that are overridden here: workers other than the chief restored from an empty folder, every
worker evaluated only its own share, and all of them wrote the same best checkpoint.
"""

import contextlib
import json
import os
import tempfile
from typing import Any

import tensorflow as tf
import tf_keras
from official.common import distribute_utils
from official.core import base_trainer, config_definitions, train_lib, train_utils

from context_rcnn.configs import schema
from context_rcnn.detectors import checkpoints
from context_rcnn.tasks.controller import Controller
from context_rcnn.tasks.stopping import StopSignals
from context_rcnn.tasks.task import task_class

MODES = ("train", "eval", "train_and_eval", "continuous_eval")
PREEMPTION_CALLS = "checkpointed_runs"  # as TensorFlow's PreemptionCheckpointHandler names it


class Trainer(base_trainer.Trainer):
    """A trainer whose evaluation sees the outputs of all replicas on all workers."""

    def train_loop_begin(self):
        """Creates what the optimizer keeps: a step that creates variables is traced twice."""
        super().train_loop_begin()
        with self.strategy.scope():
            self.optimizer._create_all_weights(self.model.trainable_variables)

    def eval_begin(self):
        super().eval_begin()
        with self.strategy.scope():
            self.task.start_evaluation(self.model)

    def eval_step(self, iterator):
        def step_fn(inputs):
            return self.task.validation_step(
                inputs, model=self.model, metrics=self.validation_metrics
            )

        outputs = self.strategy.run(step_fn, args=(next(iterator),))
        return tf.nest.map_structure(lambda x: self.strategy.gather(x, axis=0), outputs)


class WorkerCheckpointManager(tf.train.CheckpointManager):
    """Restores from the run's folder, and saves where it is told: the chief in that folder.

    Other workers must save too, since saving synchronises variables, but into a folder of their
    own. Every restore is checked: a checkpoint of another model is an error.
    """

    def __init__(self, checkpoint, *, model_dir: str, directory: str, **kwargs):
        super().__init__(checkpoint, directory=directory, **kwargs)
        self._model_dir = model_dir

    def restore_or_initialize(self) -> str | None:
        """Restores the run's latest checkpoint, or lets the task initialise."""
        # Without a folder (evaluation names its checkpoint itself) TensorFlow would look into the
        # current one.
        latest = tf.train.latest_checkpoint(self._model_dir) if self._model_dir else None
        if latest is None:
            if self._init_fn is not None:
                self._init_fn()
            return None
        self.restore(latest)
        self._last_checkpoint_step = int(self._step_counter.numpy())
        return latest

    def restore(self, path: str) -> None:
        """Restores all of a checkpoint, or raises."""
        # Runs of several workers also keep how often TensorFlow's preemption handler was called.
        # It begins at 0 where a run of one process is continued.
        calls = getattr(self.checkpoint, PREEMPTION_CALLS, None)
        without = calls is not None and not tf.train.load_checkpoint(path).has_tensor(
            f"{PREEMPTION_CALLS}/.ATTRIBUTES/VARIABLE_VALUE"
        )
        if without:
            delattr(self.checkpoint, PREEMPTION_CALLS)
        try:
            self.checkpoint.restore(path).assert_existing_objects_matched()
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f"{path} is a checkpoint of another model than the settings describe; use another "
                f"--model_dir, or the settings in {self._model_dir}/params.yaml: {error}"
            ) from None
        finally:
            if without:
                setattr(self.checkpoint, PREEMPTION_CALLS, calls)


class BestCheckpoint(train_utils.BestCheckpointExporter):
    """Keeps the best checkpoint. Workers other than the chief decide alike and write elsewhere."""

    def __init__(self, export_dir: str, metric: str, comparison: str, scratch_dir: str | None):
        super().__init__(export_dir, metric, comparison)
        if scratch_dir:
            self._export_dir = scratch_dir

    def maybe_export_checkpoint(self, checkpoint, eval_logs, global_step, write_logs=True):
        if "|".join(self._metric_name) not in eval_logs:
            return False  # Not defined on this data: nothing can be the best.
        return super().maybe_export_checkpoint(checkpoint, eval_logs, global_step, write_logs)


class Runner(train_lib.OrbitExperimentRunner):
    """Runs a task in one of the modes.

    Args:
        strategy: distribution strategy.
        task: task to run.
        mode: one of `MODES`.
        params: the settings.
        model_dir: folder of the run: checkpoints, summaries, evaluations.
        checkpoint: in eval modes, a checkpoint or a folder of checkpoints other than `model_dir`.
        eval_timeout: in `continuous_eval`, seconds to wait for a checkpoint before the end.
        save_summary: write TensorBoard files.
        signals: signals that end a training.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        task,
        mode: str,
        params: config_definitions.ExperimentConfig,
        model_dir: str,
        *,
        checkpoint: str = "",
        eval_timeout: float | None = None,
        save_summary: bool = True,
        signals: StopSignals | None = None,
    ):
        self._signals = signals
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        self._is_chief = is_chief(strategy)
        self._scratch_dir = None if self._is_chief else tempfile.mkdtemp()
        self._checkpoint_source = checkpoint or model_dir
        self._eval_timeout = eval_timeout
        super().__init__(
            strategy, task, mode, params, model_dir, save_summary=save_summary and self._is_chief
        )

    def _build_trainer(self, task, train, evaluate):
        with self.strategy.scope():
            model = task.build_model()
            return Trainer(
                self.params,
                task,
                model=model,
                optimizer=train_utils.create_optimizer(task, self.params),
                train=train,
                evaluate=evaluate,
                checkpoint_exporter=self._build_best_checkpoint_exporter() if train else None,
            )

    def _build_best_checkpoint_exporter(self):
        trainer = self.params.trainer
        if not (trainer.best_checkpoint_export_subdir and trainer.best_checkpoint_eval_metric):
            return None
        return BestCheckpoint(
            os.path.join(self.model_dir, trainer.best_checkpoint_export_subdir),
            trainer.best_checkpoint_eval_metric,
            trainer.best_checkpoint_metric_comp,
            self._scratch_dir,
        )

    def _maybe_build_checkpoint_manager(self):
        settings = self.params.trainer
        return WorkerCheckpointManager(
            self.trainer.checkpoint,
            model_dir=self.model_dir if "train" in self._mode else "",
            directory=self._scratch_dir or self.model_dir,
            max_to_keep=settings.max_to_keep if self._is_chief else 1,
            step_counter=self.trainer.global_step,
            checkpoint_interval=settings.checkpoint_interval,
            init_fn=self.trainer.initialize if "train" in self._mode else None,
        )

    def _build_controller(self, trainer, evaluator, save_summary=True, **kwargs):
        settings = self.params.trainer
        actions = train_lib.actions
        train_actions = []
        if trainer:
            train_actions = actions.get_train_actions(
                self.params, trainer, self.model_dir, checkpoint_manager=self.checkpoint_manager
            )
        return Controller(
            strategy=self.strategy,
            trainer=trainer,
            evaluator=evaluator,
            global_step=self.trainer.global_step,
            steps_per_loop=settings.steps_per_loop,
            checkpoint_manager=self.checkpoint_manager,
            summary_dir=os.path.join(self.model_dir, "train") if save_summary else None,
            eval_summary_dir=(
                os.path.join(self.model_dir, settings.validation_summary_subdir)
                if save_summary
                else None
            ),
            summary_interval=settings.summary_interval if save_summary else None,
            train_actions=train_actions,
            eval_actions=actions.get_eval_actions(self.params, evaluator, self.model_dir),
            total_steps=settings.train_steps,
            batch_size=self.params.task.train_data.global_batch_size,
            metric=settings.best_checkpoint_eval_metric,
            higher_is_better=settings.best_checkpoint_metric_comp == "higher",
            patience=settings.early_stopping_patience,
            history=read_history(self.model_dir, settings.best_checkpoint_eval_metric),
            show_progress=self._is_chief,
            signals=self._signals,
        )

    def run(self):
        """Runs the mode. Returns the model and the last evaluation's scalars."""
        settings = self.params.trainer
        output = {}
        with self.strategy.scope():
            if self._mode == "train":
                self.controller.train(steps=settings.train_steps)
            elif self._mode == "train_and_eval":
                output = self.controller.train_and_evaluate(
                    train_steps=settings.train_steps,
                    eval_steps=settings.validation_steps,
                    eval_interval=settings.validation_interval,
                )
            elif self._mode == "eval":
                self.controller.restore_checkpoint(
                    checkpoints.find_checkpoint(self._checkpoint_source, "--checkpoint_dir")
                )
                output = self.controller.evaluate(steps=settings.validation_steps)
            else:
                output = self._evaluate_continuously()
        return self.trainer.model, output

    def _evaluate_continuously(self) -> dict[str, Any]:
        """Evaluates checkpoints as they come, until the last step or the timeout."""
        settings = self.params.trainer
        timeout = self._eval_timeout or settings.continuous_eval_timeout
        output = {}
        for path in tf.train.checkpoints_iterator(self._checkpoint_source, timeout=timeout):
            self.controller.restore_checkpoint(path)
            output = self.controller.evaluate(steps=settings.validation_steps)
            if self.trainer.global_step.numpy() >= settings.train_steps:
                return output
        print(f"continuous_eval: no new checkpoint for {timeout} seconds, stopping", flush=True)
        return output


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    return bool(strategy.extended.should_checkpoint)


def is_one_of_several(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes train with this one; one alone cannot save for all of them."""
    return bool(strategy.extended._in_multi_worker_mode())


def read_history(model_dir: str, metric: str) -> list[dict[str, Any]]:
    """The metric of the evaluations of earlier runs in this folder, by step."""
    folder, history = os.path.join(model_dir, "evaluation"), []
    for name in tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []:
        path = os.path.join(folder, name, "metrics.json")
        if tf.io.gfile.exists(path):
            with tf.io.gfile.GFile(path) as file:
                metrics = json.load(file)
            history.append({"step": metrics["step"], metric: metrics.get(metric)})
    return history


def run(
    config: config_definitions.ExperimentConfig,
    *,
    mode: str,
    model_dir: str,
    checkpoint: str = "",
    eval_timeout: float | None = None,
    save_summary: bool = True,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, Any]:
    """Runs an experiment in one of the modes. Returns the scalars of the last evaluation.

    Args:
        config: the settings.
        mode: one of `MODES`.
        model_dir: folder of the run.
        checkpoint: in eval modes, a checkpoint or a folder of them other than `model_dir`.
        eval_timeout: in `continuous_eval`, seconds to wait for a checkpoint before the end.
        save_summary: write TensorBoard files.
        strategy: distribution strategy; by default what `config.runtime` describes.
    """
    if "train" in mode and config.trainer.train_steps < 1:
        raise ValueError("trainer.train_steps must be at least 1 (flag --num_train_steps)")
    strategy = strategy or make_strategy(config.runtime)
    chief = is_chief(strategy)
    tf_keras.utils.set_random_seed(config.trainer.seed)
    set_precision(config.runtime)
    task = task_class(config.task)(
        config.task,
        model_dir,
        jit_compile=config.runtime.enable_xla,
        is_chief=chief,
        start_step=_latest_step(model_dir) if "train" in mode else 0,
    )
    if chief:
        tf.io.gfile.makedirs(model_dir)
        params = os.path.join(model_dir, "params.yaml")
        # An evaluation in the folder of a training run leaves that run's settings alone.
        if "train" in mode or not tf.io.gfile.exists(params):
            resolved = config.replace()
            resolved.task = task.resolved_params()
            schema.save_experiment(resolved, params)
            task.save_run_files()
        print(
            f"{mode}: {type(strategy).__name__}, {strategy.num_replicas_in_sync} replicas, "
            f"{task.describe()}, run folder {model_dir}",
            flush=True,
        )
        for stage, name in (("train", "train_data"), ("eval", "validation_data")):
            if stage in mode:
                field = f"task.{name}.input_path"
                words = task.describe_input(getattr(config.task, name), field)
                print(f"{stage}: {words}", flush=True)
    with contextlib.ExitStack() as stack:
        signals = StopSignals()
        if not is_one_of_several(strategy):
            stack.enter_context(signals)
        runner = Runner(
            strategy,
            task,
            mode,
            config,
            model_dir,
            checkpoint=checkpoint,
            eval_timeout=eval_timeout,
            save_summary=save_summary,
            signals=signals,
        )
        return runner.run()[1]


def set_precision(runtime: config_definitions.RuntimeConfig) -> None:
    """Makes models compute in 16 bits where the settings say so; their weights stay in 32."""
    policies = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
    dtype = runtime.mixed_precision_dtype or "float32"
    if dtype not in policies:
        raise ValueError(
            f"runtime.mixed_precision_dtype must be one of {', '.join(policies)}, got {dtype!r}"
        )
    if dtype == "float16" and not runtime.loss_scale:
        raise ValueError(
            "runtime.mixed_precision_dtype is float16, in which small gradients become zeros: set "
            "runtime.loss_scale to dynamic, or use bfloat16"
        )
    tf_keras.mixed_precision.set_global_policy(policies[dtype])


def make_strategy(runtime: config_definitions.RuntimeConfig) -> tf.distribute.Strategy:
    """Builds the strategy that the settings describe; `mirrored` takes all GPUs there are."""
    distribute_utils.configure_cluster(runtime.worker_hosts, runtime.task_index)
    # Only asked of, not started: several workers must connect before any device is.
    gpus = runtime.num_gpus or len(tf.config.list_physical_devices("GPU"))
    if runtime.distribution_strategy == "mirrored" and gpus <= 1:
        return tf.distribute.OneDeviceStrategy(f"/{'gpu' if gpus else 'cpu'}:0")
    return distribute_utils.get_distribution_strategy(
        distribution_strategy=runtime.distribution_strategy,
        num_gpus=gpus,
        all_reduce_alg=runtime.all_reduce_alg,
        num_packs=runtime.num_packs,
        tpu_address=runtime.tpu,
    )


def _latest_step(model_dir: str) -> int:
    """The step of the latest checkpoint, 0 where there is none."""
    latest = tf.train.latest_checkpoint(model_dir)
    return int(latest.rsplit("-", 1)[1]) if latest else 0
