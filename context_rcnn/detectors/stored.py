"""What a detector saw in an image, in place of the image.

A detector that is frozen up to its box features sees the same of an image every time. Stored once,
that is all that its box memory and its predictor need, in training and in inference. A stored image
takes the place of pixels in every batch: a tensor [boxes, depth + 5] with a row for each proposal,
best first, and then for each labelled box:

    feature  [depth], averaged over space
    box      [4], y1 x1 y2 x2 in pixels of the resized image
    score    of the first stage, 0 in padding

A crop of a stored image is the row of its box. What a memory adds to all places of a channel
before a mean, it adds as well behind it, so pooled features give the same predictions.
"""

import hashlib
import json
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from context_rcnn import configs

COLUMNS = 5
"""Of a row, besides its feature."""


def is_stored(images: tf.Tensor) -> bool:
    """Whether these are stored images, [images, boxes, depth + 5]."""
    return len(images.shape) == 3


def split(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Features [images, boxes, depth], boxes [images, boxes, 4] and scores [images, boxes]."""
    return images[..., :-COLUMNS], images[..., -COLUMNS:-1], images[..., -1]


def join(features: tf.Tensor, boxes: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Stored images of what `split` returns."""
    return tf.concat([features, boxes, scores[..., None]], axis=-1)


def crop(features: tf.Tensor, boxes: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Features [images, wanted, 1, 1, depth] of wanted boxes, each of which is among the boxes."""
    # Nearest rather than equal: a compiler may round corners that are computed twice differently.
    apart = tf.reduce_sum(tf.abs(wanted[:, :, None] - boxes[:, None]), axis=-1)
    place = tf.argmin(apart, axis=-1, output_type=tf.int32)
    return tf.gather(features, place, batch_dims=1)[:, :, None, None]


def fingerprint(parts: list[tf_keras.layers.Layer], model: configs.FasterRcnn) -> str:
    """A hash of all that decides what a detector sees in an image.

    Args:
        parts: parts of the detector up to its box features.
        model: settings of the detector.
    """
    settings: dict[str, Any] = {
        "image_size": list(model.image_size),
        "keep_aspect_ratio": model.keep_aspect_ratio,
        "kind": model.backbone.kind,
        "norm_epsilon": model.backbone.norm_epsilon,
        "anchors": model.anchors.as_dict(),
        "proposals": [model.proposals.pre_nms, model.proposals.nms_iou, model.proposals.count],
    }
    late = [model.proposals.clip_anchors, model.proposals.suppress_unclipped]
    if any(late):
        settings["late_clipping"] = late
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    # Sorted: frozen, a layer lists its variables in another order.
    values = (variable.numpy() for part in parts for variable in part.variables)
    for of_variable in sorted(map(_digest, values)):
        digest.update(of_variable)
    return digest.hexdigest()


def _digest(value: np.ndarray) -> bytes:
    digest = hashlib.blake2b(f"{value.dtype.str}{value.shape}".encode(), digest_size=16)
    digest.update(value.tobytes())
    return digest.digest()
