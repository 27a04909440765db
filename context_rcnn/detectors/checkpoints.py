"""Loading checkpoints: all of what was asked for, or an error with the names."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def find_checkpoint(path: str, field: str) -> str:
    """Returns the checkpoint prefix that `path` names; `path` may be a folder with checkpoints."""
    if tf.io.gfile.isdir(path):
        latest = tf.train.latest_checkpoint(path)
        if latest is None:
            raise ValueError(f"{field}: there is no checkpoint in the folder {path!r}")
        return latest
    if not tf.io.gfile.exists(path + ".index"):
        raise ValueError(f"{field}: there is no checkpoint {path!r} (no file {path}.index)")
    return path


def of_run(model_dir: str, best_subdir: str, checkpoint: str = "") -> str:
    """The checkpoint to use of a training run: the one given, or its best, or else its latest."""
    best = os.path.join(model_dir, best_subdir)
    if not checkpoint:
        checkpoint = best if tf.train.latest_checkpoint(best) else model_dir
    return find_checkpoint(checkpoint, "--checkpoint")


def restore(path: str, field: str, *, new: Sequence[tf.Variable] = (), **roots: tf.Module) -> None:
    """Fills every variable of `roots` from a checkpoint saved with the same names.

    Args:
        path: of the checkpoint.
        field: the setting that asked for it, for messages.
        new: variables that keep their values if the checkpoint does not have them.
        **roots: modules by the names they were saved under.

    Raises:
        ValueError: with the names, where variables are missing in the checkpoint or have another
            shape there.
    """
    keep = {id(v) for v in new}
    variables = [
        v
        for root in roots.values()
        for v in root.variables
        if v.dtype.is_floating and id(v) not in keep
    ]
    # What the checkpoint does not fill stays NaN.
    for variable in variables:
        variable.assign(tf.fill(variable.shape, tf.constant(np.nan, variable.dtype)))
    try:
        tf.train.Checkpoint(**roots).read(path).expect_partial()
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{field}: {path} does not fit this model: {error}") from None
    missing = [v.name for v in variables if v.shape.num_elements() and np.isnan(v.numpy()).all()]
    if missing:
        raise ValueError(
            f"{field}: {path} fills only part of {'/'.join(roots)}: {len(missing)} of "
            f"{len(variables)} variables are missing, such as {', '.join(missing[:5])}"
        )
