"""Loading checkpoints: everything that was requested, or an error with the missing names."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

_MOST_NAMES = 5  # in a message


def find_checkpoint(path: str, field: str) -> str:
    """Returns the checkpoint prefix that `path` names, or the .h5 file.

    Args:
        path: path of a checkpoint, a folder with checkpoints, or a file of Keras's weights.
        field: the setting that names it, for messages.
    """
    if tf.io.gfile.isdir(path):
        latest = tf.train.latest_checkpoint(path)
        if latest is None:
            raise ValueError(f"{field}: there is no checkpoint in the folder {path!r}")
        return latest
    if path.endswith(".h5") and tf.io.gfile.exists(path):
        return path
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
        path: path of the checkpoint.
        field: the setting that asked for it, for messages.
        new: variables that keep their values if the checkpoint does not have them.
        **roots: modules by the names they were saved under.

    Raises:
        ValueError: with the names, where variables are missing in the checkpoint, have another
            shape there, or hold NaN, as those of a training that diverged do.
    """
    keep = {id(v) for v in new}
    variables = [
        v
        for root in roots.values()
        for v in root.variables
        if v.dtype.is_floating and id(v) not in keep and v.shape.num_elements()
    ]
    _read(path, field, roots, variables, np.nan)
    not_numbers = [v for v in variables if np.isnan(v.numpy()).any()]
    if not not_numbers:
        return
    # Not filled, or filled with NaN? What is still there after other numbers is not filled.
    _read(path, field, roots, not_numbers, 0.0)
    diverged = [v for v in not_numbers if np.isnan(v.numpy()).any()]
    missing = [v for v in not_numbers if not np.isnan(v.numpy()).any()]
    if missing:
        raise ValueError(
            f"{field}: {path} fills only part of {'/'.join(roots)}: {len(missing)} of "
            f"{len(variables)} variables are missing, such as "
            f"{', '.join(variable.name for variable in missing[:_MOST_NAMES])}"
        )
    raise ValueError(
        f"{field}: {path} holds NaN in {len(diverged)} of {len(variables)} variables: "
        f"{_names(diverged)}. The training that wrote it has diverged: choose an earlier checkpoint"
    )


def _read(
    path: str,
    field: str,
    roots: Mapping[str, tf.Module],
    variables: Sequence[tf.Variable],
    marker: float,
) -> None:
    """Reads a checkpoint; what it does not fill of these variables is `marker` afterwards."""
    for variable in variables:
        variable.assign(tf.fill(variable.shape, tf.constant(marker, variable.dtype)))
    try:
        tf.train.Checkpoint(**roots).read(path).expect_partial()
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{field}: {path} does not fit this model: {error}") from None


def _names(variables: Sequence[tf.Variable]) -> str:
    more = len(variables) - _MOST_NAMES
    names = ", ".join(variable.name for variable in variables[:_MOST_NAMES])
    return f"{names} and {more} more" if more > 0 else names


def read_variable(path: str, name: str, field: str) -> tf.Tensor:
    """The value of one variable of a checkpoint.

    Args:
        path: path of the checkpoint.
        name: name of the variable, by the objects that lead to it.
        field: the setting that asked for it, for messages.

    Raises:
        ValueError: if the checkpoint does not have it.
    """
    reader = tf.train.load_checkpoint(path)
    key = f"{name}/.ATTRIBUTES/VARIABLE_VALUE"
    if not reader.has_tensor(key):
        raise ValueError(f"{field}: {path} has no {name}, whose weights are needed here")
    return tf.constant(reader.get_tensor(key))
