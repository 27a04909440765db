"""The outer loop of a run: named progress, evaluations in turns, early stopping, signals."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import orbit
import tensorflow as tf

from context_rcnn.tasks.stopping import Stopped, StopSignals


class Controller(orbit.Controller):
    """Orbit's outer loop with progress that names the stage, early stopping, and signals."""

    def __init__(
        self,
        *args,
        total_steps: int,
        batch_size: int,
        metric: str,
        higher_is_better: bool,
        patience: int,
        history: Iterable[Mapping[str, Any]] = (),
        show_progress: bool = True,
        signals: StopSignals | None = None,
        **kwargs,
    ):
        self._signals = signals or StopSignals()
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._metric, self._sign = metric, 1 if higher_is_better else -1
        self._patience = patience
        # (step, metric) of the evaluations so far, of earlier runs in the same folder too.
        self._history = [(row["step"], row.get(metric)) for row in history]
        self._show_progress = show_progress
        self._started: tuple[float, int] | None = None
        super().__init__(*args, **kwargs)

    def restore_checkpoint(self, checkpoint_path: str | None = None) -> str | None:
        with self.strategy.scope():
            if checkpoint_path is None:
                checkpoint_path = self.checkpoint_manager.restore_or_initialize()
            else:
                self.checkpoint_manager.restore(checkpoint_path)
        if checkpoint_path and self._show_progress:
            print(f"restored step {self.global_step.numpy()} from {checkpoint_path}", flush=True)
        return checkpoint_path

    def train(self, steps: int, checkpoint_at_completion: bool = True) -> None:
        with self._signals.waiting():
            super().train(steps, checkpoint_at_completion)
            self._stop_if_asked()

    def save_checkpoint(self) -> None:
        with self._signals.waiting():
            super().save_checkpoint()
            self._stop_if_asked()

    def _train_n_steps(self, num_steps: int) -> None:
        self._train_and_report(num_steps)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self._signals.asked:
            self._maybe_save_checkpoint(check_interval=False)
            self._sync_on_async_checkpointing()
            raise Stopped(f"stopped at step {self.global_step.numpy()}, which is saved")

    def _train_and_report(self, num_steps: int) -> None:
        step = int(self.global_step.numpy())
        start = time.monotonic()
        with self.summary_manager.summary_writer().as_default(), tf.summary.record_if(True):
            output = self.trainer.train(tf.convert_to_tensor(num_steps, tf.int32)) or {}
        seconds = time.monotonic() - start
        for action in self.train_actions:
            action(output)
        output = tf.nest.map_structure(orbit.utils.get_value, output)
        self._report_progress(step + num_steps, num_steps, seconds, output)
        output["images_per_second"] = num_steps * self._batch_size / seconds
        if self.summary_interval:
            self.summary_manager.write_summaries(output)
            self.summary_manager.flush()

    def _report_progress(
        self, step: int, num_steps: int, seconds: float, output: Mapping[str, Any]
    ) -> None:
        if self._started is None:
            # The first loop traces and compiles; the estimate starts behind it.
            self._started = (time.monotonic(), step)
            rate = seconds / num_steps
        else:
            since, first = self._started
            rate = (time.monotonic() - since) / (step - first)
        if not self._show_progress:
            return
        others = ("training_loss", "learning_rate", "weight_penalty")
        parts = [f"{name} {value:.3f}" for name, value in output.items() if name not in others]
        eta = int(rate * max(self._total_steps - step, 0))
        print(
            f"train  step {step}/{self._total_steps} ({100 * step // self._total_steps}%)  "
            f"loss {output['training_loss']:.3f} ({', '.join(parts)})  "
            f"{num_steps * self._batch_size / seconds:.1f} images/s  "
            f"ETA {eta // 3600}:{eta // 60 % 60:02}:{eta % 60:02}",
            flush=True,
        )

    def evaluate(self, steps: int = -1) -> dict[str, Any]:
        step = int(self.global_step.numpy())
        with self.eval_summary_manager.summary_writer().as_default():
            output = self.evaluator.evaluate(tf.convert_to_tensor(steps, tf.int32)) or {}
        for action in self.eval_actions:
            action(output)
        output = tf.nest.map_structure(orbit.utils.get_value, output)
        self.eval_summary_manager.write_summaries(output)
        self.eval_summary_manager.flush()
        value = output.get(self._metric)
        self._history = [row for row in self._history if row[0] != step] + [(step, value)]
        return output

    def train_and_evaluate(
        self, train_steps: int, eval_steps: int = -1, eval_interval: int | None = None
    ) -> dict[str, Any] | None:
        """Trains and evaluates in turns. A resumed run keeps the intervals of the first."""
        interval = eval_interval or train_steps
        output, step = None, int(self.global_step.numpy())
        while step < train_steps and not self.should_stop():
            goal = min(train_steps, (step // interval + 1) * interval)
            self.train(steps=goal)
            output = self.evaluate(steps=eval_steps)
            step = int(self.global_step.numpy())
        if output is None:  # Everything was trained before; say how good it is.
            output = self.evaluate(steps=eval_steps)
        return output

    def should_stop(self) -> bool:
        """Whether `patience` evaluations have passed since the best one."""
        values = [(step, self._sign * v) for step, v in sorted(self._history) if v is not None]
        if not self._patience or len(values) <= self._patience:
            return False
        best_step = max(values, key=lambda row: row[1])[0]
        later = sum(1 for step, _ in values if step > best_step)
        if later >= self._patience and self._show_progress:
            print(
                f"early stopping: {self._metric} was best at step {best_step}, "
                f"{later} evaluations ago",
                flush=True,
            )
        return later >= self._patience
