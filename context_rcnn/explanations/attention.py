"""What a Context R-CNN looks at: the entries that each detection's box attends to most."""

from collections.abc import Mapping

import tensorflow as tf

from context_rcnn.detectors.two_stage import Proposals, TwoStageDetector


def detect_with_attention(
    detector: TwoStageDetector,
    images: tf.Tensor,
    shapes: tf.Tensor,
    memory: Mapping[str, tf.Tensor],
    *,
    top: int = 10,
) -> dict[str, tf.Tensor]:
    """Detects, and says for each detection which entries of the bank it attends to.

    A detection's weights are those of the proposal that became it; heads and layers are averaged.

    Args:
        detector: with long-term memory at the box port.
        images, shapes, memory: as the detector takes them.
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

    maps = detector.maps(images, training=False)
    proposals, _ = detector.propose(maps, shapes, training=False)
    features = detector.box_features(maps, proposals, memory, training=False, port=listen)
    logits, offsets = detector.box_predictor(features)
    outputs = detector.detect(logits, offsets, proposals, shapes)
    if "long_term" not in weights:
        raise ValueError("the detector attends to no memory bank, or was given none")
    origin = find_origin(outputs, logits, proposals)
    attention = tf.gather(weights["long_term"], origin, batch_dims=1)
    entries = attention.shape[-1]
    top = tf.minimum(top, tf.shape(attention)[-1]) if entries is None else min(top, entries)
    weight, index = tf.math.top_k(attention, top)
    kept = (outputs["detection_scores"] >= 0)[..., None]
    return outputs | {
        "attention_index": index,
        "attention_weight": tf.where(kept, weight, 0.0),
    }


def find_origin(
    outputs: Mapping[str, tf.Tensor], logits: tf.Tensor, proposals: Proposals
) -> tf.Tensor:
    """Which proposal became each detection, int32 [images, detections]."""
    # Suppression keeps scores as they are: a detection's is that of its proposal and class.
    scores = tf.gather(
        tf.transpose(tf.nn.softmax(logits), [0, 2, 1]), outputs["detection_classes"], batch_dims=1
    )
    scores = tf.where(proposals.valid[:, None], scores, -2.0)
    off = tf.abs(scores - outputs["detection_scores"][..., None])
    return tf.argmin(off, axis=-1, output_type=tf.int32)
