"""Ctrl-C and SIGTERM: the step is saved, the command that continues is shown, the status is 130."""

import os
import signal
import sys

import orbit
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from context_rcnn import model_main_tf2
from context_rcnn.tasks import running
from context_rcnn.tasks.controller import Controller
from context_rcnn.tasks.stopping import Stopped, StopSignals


class Counting(orbit.AbstractTrainer):
    """Adds one to its step, and gets a signal in the loop that reaches `signalled`."""

    def __init__(self, signalled, number, times=1):
        super().__init__()
        self.step = tf.Variable(0, dtype=tf.int64)
        self._signalled, self._number, self._times = signalled, number, times

    def train(self, num_steps):
        self.step.assign_add(int(num_steps))
        if self.step.numpy() == self._signalled:
            for _ in range(self._times):
                os.kill(os.getpid(), self._number)
        return {"training_loss": 0.5}


class Manager(tf.train.CheckpointManager):
    """Gets a signal, when it is asked whether to save, at step `signalled`."""

    signalled = None

    def save(self, checkpoint_number=None, **options):
        if checkpoint_number == self.signalled:
            self.signalled = None
            os.kill(os.getpid(), signal.SIGTERM)
        return super().save(checkpoint_number, **options)


def train(folder, signals, trainer, signalled=None):
    manager = Manager(
        tf.train.Checkpoint(step=trainer.step),
        str(folder),
        max_to_keep=9,
        step_counter=trainer.step,
        checkpoint_interval=1000,
    )
    manager.signalled = signalled
    controller = Controller(
        trainer=trainer,
        global_step=trainer.step,
        steps_per_loop=2,
        checkpoint_manager=manager,
        total_steps=20,
        batch_size=1,
        metric="",
        higher_is_better=True,
        patience=0,
        show_progress=False,
        signals=signals,
    )
    controller.train(steps=20)


def saved(folder):
    return [int(path.stem.rsplit("-")[-1]) for path in folder.glob("*.index")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_step_is_finished_and_saved_before_a_training_ends(tmp_path, number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    trainer = Counting(6, number)
    with pytest.raises(Stopped, match="at step 6, which is saved"), StopSignals() as signals:
        train(tmp_path, signals, trainer)
    assert trainer.step.numpy() == 6 and 6 in saved(tmp_path)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("signalled", [4, 20])
def test_a_signal_while_a_checkpoint_is_considered_is_kept_until_a_step_is_saved(
    tmp_path, signalled
):
    """Between two loops, and behind the last one."""
    trainer = Counting(None, None)
    last = min(signalled + 2, 20)
    with (
        pytest.raises(Stopped, match=f"at step {last}, which is saved"),
        StopSignals() as signals,
    ):
        train(tmp_path, signals, trainer, signalled)
    assert max(saved(tmp_path)) == last


def test_a_second_signal_ends_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt) as stop, StopSignals() as signals:
        train(tmp_path, signals, Counting(6, signal.SIGINT, times=2))
    assert not isinstance(stop.value, Stopped) and 6 not in saved(tmp_path)


def test_outside_of_a_training_loop_a_signal_ends_at_once():
    with pytest.raises(KeyboardInterrupt), StopSignals():
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "error", [Stopped("stopped at step 6, which is saved"), KeyboardInterrupt()]
)
def test_the_command_that_continues_is_shown_without_a_traceback(monkeypatch, capsys, error):
    def run(*args, **kwargs):
        raise error

    monkeypatch.setattr(running, "run", run)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "x", "--model_dir=runs/my first"])
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as stop:
        data = "--params_override=task.train_data.input_path=a"
        flags.FLAGS(["main", "--experiment=faster_rcnn_tiny", "--model_dir=runs/first", data])
        model_main_tf2.main(["main"])
    assert stop.value.code == 130
    said = capsys.readouterr().err
    assert "python -m x '--model_dir=runs/my first'" in said and str(error) in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_training_is_stopped_and_continues(start_main, config_file, tmp_path, number):
    process = start_main(
        f"--pipeline_config_path={config_file}",
        f"--model_dir={tmp_path}/run",
        "--num_train_steps=400",
        "--mode=train",
    )
    for line in process.stdout:
        if "train  step 6/" in line:
            process.send_signal(number)
            break
    output, _ = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in output and "which is saved. The same command continues" in output
    assert max(saved(tmp_path / "run")) >= 6
