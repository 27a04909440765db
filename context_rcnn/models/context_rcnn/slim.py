"""The attention of the Object Detection API's TensorFlow 1 checkpoints of Context R-CNN.

What it calls                                            is here
AttentionBlock/fully_connected{,_1,_2}, fully_connected  queries, keys, values, output
"""

from collections.abc import Iterator

import tf_keras

from context_rcnn.configs.temporal.context_rcnn import ContextRcnn
from context_rcnn.detectors.slim_weights import BATCH_NORM, Source, assign
from context_rcnn.layers.context_attention import ContextAttention


def settings_of(source: Source, context: ContextRcnn) -> ContextRcnn:
    """Settings of the attention that follow from the shapes of its weights, not from the config."""
    _, key, _, output = _attention_names(source)
    length, context.depth = source.take(f"{key}/weights").shape
    context.long_term.entry_size = int(length)
    context.long_term.top_k = context.long_term.top_k or 1
    context.norm_order = "dense_first"
    features = source.take("SecondStageBoxPredictor/ClassPredictor/weights").shape[0]
    # Its first release added the context to crops, whatever the config says, a later one does not.
    added_to = source.take(f"{output}/weights").shape[1]
    context.position = "features" if added_to == features else "crops"
    return context


def fill(port: tf_keras.layers.Layer, source: Source) -> None:
    """Assigns the weights of the projections."""
    for block in _blocks(port):
        for name, projection in zip(_attention_names(source), block.projections, strict=True):
            dense, norm = projection.parts
            assign(dense, [source.take(f"{name}/weights")], name)
            moments = [source.take(f"{name}/BatchNorm/{part}") for part in BATCH_NORM]
            assign(norm, moments, f"{name}/BatchNorm")


def _attention_names(source: Source) -> list[str]:
    """Scopes of queries, keys, values and output."""
    inside = source.find(r"(.*/)?AttentionBlock/fully_connected(_\d)?/weights")
    outside = [
        name
        for name in source.find(r"(.*/)?fully_connected/weights")
        if "AttentionBlock/" not in name
    ]
    if len(inside) != 3 or len(outside) != 1:
        raise ValueError(
            "--checkpoint: one attention block has three projections in AttentionBlock and one "
            f"outside of it; found {inside} and {outside}"
        )
    return [name.removesuffix("/weights") for name in inside + outside]


def _blocks(port: tf_keras.layers.Layer) -> Iterator[ContextAttention]:
    for stack in (port.short_term, port.long_term):
        if stack is not None:
            yield from stack.blocks
