"""What the functions of an exported detector have in common."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

Tensors = dict[str, tf.Tensor]


def function_of(function: Callable[..., Any], *inputs: Any) -> Any:
    """A tf.function of these inputs. No Python in it has to be converted, which takes long."""
    return tf.function(function, input_signature=inputs, autograph=False)


def save(module: tf.Module, folder: str, signatures: Mapping[str, Any]) -> None:
    """Writes a SavedModel. Its gradients are left out, which nobody who detects asks for."""
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, folder, signatures=signatures, options=options)


def normalised(found: Tensors, shapes: tf.Tensor) -> Tensors:
    """Detections with boxes as fractions of the image."""
    return {
        "detection_boxes": found["detection_boxes"] / tf.tile(shapes, [1, 2])[:, None],
        "detection_scores": found["detection_scores"],
        "detection_classes": found["detection_classes"],
    }


def with_rows(name: str, value: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """The value, once it is sure that it has a row for each image, or one for all."""
    rows = tf.shape(value)[0]
    message = f"{name} needs a row for each image, or one for all of them: rows, images:"
    with tf.control_dependencies([check((rows == 1) | (rows == images), message, rows, images)]):
        return tf.identity(value)


def check(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Operation:
    """What the caller did wrong, as an InvalidArgumentError, here and from a server."""
    return tf.debugging.Assert(condition, [message, *values], summarize=10)
