"""The end-point error of optical flow: the mean distance from the known flow."""

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def end_point_errors(
    predicted: tf.Tensor, flow: tf.Tensor, cells: tf.Tensor, known: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Mean errors of each pair, and those of no flow at all, float32 [batch].

    Args:
        predicted, flow: predicted and known flow, [batch, height, width, 2] in pixels.
        cells, known: the same on the grid of a detector's maps, in its cells.
    """
    return {
        "end_point_error": _apart(predicted, flow),
        "zero_flow_error": _apart(tf.zeros_like(flow), flow),
        "end_point_error_cells": _apart(cells, known),
        "zero_flow_error_cells": _apart(tf.zeros_like(known), known),
    }


def write_flow_results(folder: str, metrics: Mapping[str, Any]) -> None:
    """Writes metrics.json, and prints the errors."""
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(os.path.join(folder, "metrics.json"), "w") as file:
        json.dump(dict(metrics), file, indent=1)
    print(
        f"end-point error {metrics['end_point_error']:.3f} pixels, without flow "
        f"{metrics['zero_flow_error']:.3f}; on maps {metrics['end_point_error_cells']:.3f} cells, "
        f"without flow {metrics['zero_flow_error_cells']:.3f}; {metrics['pairs']} pairs"
    )
    print(f"evaluation written to {folder}")


def _apart(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.norm(one - other, axis=-1), axis=[1, 2])
