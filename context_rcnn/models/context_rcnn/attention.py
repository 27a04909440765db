"""What a Context R-CNN looks at: the entries that each detection's box attends to most."""

from collections.abc import Mapping

import tensorflow as tf

from context_rcnn.detectors.two_stage import TwoStageDetector, find_origin


def detect_with_attention(
    detector: TwoStageDetector,
    images: tf.Tensor,
    shapes: tf.Tensor,
    memory: Mapping[str, tf.Tensor],
    *,
    top: int = 10,
) -> dict[str, tf.Tensor]:
    """Detects, and returns for each detection the entries of the bank that it attends to.

    A detection's weights are those of the proposal that became it; heads and layers are averaged.

    Args:
        detector: a detector with long-term memory at the box port.
        images, shapes, memory: inputs of the detector.
        top: entries a detection.

    Returns:
        The detections, and `attention_index` int32 and `attention_weight` [images, detections,
        top] into the memory's entries, best first, weight 0 where there are no more.
    """
    weights = {}

    def listen(features, **kwargs):
        features, found = detector.box_memory(features, with_weights=True, **kwargs)
        weights.update(found)
        return features

    seen = detector.look(images, shapes, memory, training=False)
    answer = detector.answer(seen, memory, training=False, port=listen)
    outputs = answer.detections
    if "long_term" not in weights:
        raise ValueError("the detector attends to no memory bank, or was given none")
    origin = find_origin(answer)
    attention = tf.gather(weights["long_term"], origin, batch_dims=1)
    entries = attention.shape[-1]
    top = tf.minimum(top, tf.shape(attention)[-1]) if entries is None else min(top, entries)
    weight, index = tf.math.top_k(attention, top)
    kept = (outputs["detection_scores"] >= 0)[..., None]
    return outputs | {
        "attention_index": index,
        "attention_weight": tf.where(kept, weight, 0.0),
    }
