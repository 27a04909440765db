"""Networks of tf_keras.applications as embedding networks: crops in, vectors out."""

import inspect
from typing import Any

import tensorflow as tf
import tf_keras

from context_rcnn.export.functions import save

SIZE = 224


def names() -> list[str]:
    """The networks that there are, such as `MobileNetV2`."""
    found = inspect.getmembers(tf_keras.applications, inspect.isfunction)
    return sorted(name for name, _ in found)


def export_network(name: str, folder: str, *, weights: str = "imagenet", size: int = SIZE) -> int:
    """Writes a network as a SavedModel that `detectors.embedder` reads; returns its depth.

    Args:
        name: one of `names()`.
        folder: folder to write.
        weights: `imagenet`, which is downloaded, `none`, or a file of weights.
        size: side of the crops.

    Raises:
        ValueError: If there is no such network.
    """
    if name not in names():
        raise ValueError(f"--network {name}: there are {', '.join(names())}")
    build = getattr(tf_keras.applications, name)
    network = build(
        include_top=False,
        weights=None if weights == "none" else weights,
        pooling="avg",
        input_shape=(size, size, 3),
    )
    prepare: Any = inspect.getmodule(build).preprocess_input  # type: ignore[union-attr]
    spec = tf.TensorSpec([None, size, size, 3], tf.float32, "crops")

    @tf.function(input_signature=[spec], autograph=False)
    def embed(crops: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"vectors": network(prepare(crops), training=False)}

    module = tf.Module(name="embedder")
    module.network, module.embed = network, embed
    save(module, folder, {"serving_default": embed})
    return network.output_shape[-1]
