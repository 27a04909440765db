"""What a run restores from: `WorkerCheckpointManager`."""

import pytest
import tensorflow as tf

from context_rcnn.tasks.running import PREEMPTION_CALLS, WorkerCheckpointManager


def manager_of(checkpoint, folder):
    return WorkerCheckpointManager(
        checkpoint,
        model_dir=str(folder),
        directory=str(folder),
        max_to_keep=1,
        step_counter=tf.Variable(0, dtype=tf.int64),
        checkpoint_interval=1,
    )


def save(folder, **parts):
    tf.train.CheckpointManager(tf.train.Checkpoint(**parts), str(folder), 1).save()


@pytest.mark.parametrize("kept", [0, 7])
def test_several_workers_continue_any_run(tmp_path, kept):
    """A run of one process has no calls of the preemption handler; one of several has."""
    calls = {PREEMPTION_CALLS: tf.Variable(kept, dtype=tf.int64)} if kept else {}
    save(tmp_path, weight=tf.Variable(3.0), **calls)
    ours = tf.train.Checkpoint(weight=tf.Variable(0.0))
    setattr(ours, PREEMPTION_CALLS, tf.Variable(0, dtype=tf.int64))
    assert manager_of(ours, tmp_path).restore_or_initialize()
    assert ours.weight.numpy() == 3 and getattr(ours, PREEMPTION_CALLS).numpy() == kept
    assert PREEMPTION_CALLS in dict(ours._trackable_children()), "and saves it"


def test_another_model_is_refused_with_the_name_of_what_is_missing(tmp_path):
    save(tmp_path, weight=tf.Variable(3.0))
    ours = tf.train.Checkpoint(weight=tf.Variable(0.0), bias=tf.Variable(0.0))
    setattr(ours, PREEMPTION_CALLS, tf.Variable(0, dtype=tf.int64))
    with pytest.raises(ValueError, match="another model than the settings describe"):
        manager_of(ours, tmp_path).restore_or_initialize()
