"""The attention of the Object Detection API's TensorFlow 1 checkpoints of Context R-CNN.

What its first release calls                             is here
AttentionBlock/fully_connected{,_1,_2}, fully_connected  queries, keys, values, output

and its later one, whose heads and layers are blocks side by side and one after the other:
SelfAttentionBlock/...                                   the short-term block, if there is one
AttentionBlock{head}_AttentionLayer{layer}/...           the long-term blocks
fully_connected{,_1,...}                                 their outputs, in the order of their making

The later release adds the asking boxes twice to what attention says, and where it works on crops,
these are pooled to 7x7 before.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import tf_keras

from context_rcnn.configs.temporal.context_rcnn import ContextRcnn
from context_rcnn.detectors.slim_weights import BATCH_NORM, Source, assign
from context_rcnn.layers.context_attention import ContextAttention

_FIRST = re.compile(r"AttentionBlock")
_LATER = re.compile(r"AttentionBlock(\d+)_AttentionLayer(\d+)")
_SELF = "SelfAttentionBlock"
_PROJECTION = re.compile(r"((?:.*/)?)(\w*AttentionBlock\w*)/(fully_connected(?:_\d)?)/weights")
_OUTPUT = re.compile(r"(?:.*/)?fully_connected(?:_(\d+))?/weights")
Projections = list[str]
"""Scopes of queries, keys, values and output."""


class _Attention(NamedTuple):
    """What a checkpoint has of attention, in our order of blocks."""

    short_term: list[Projections]
    long_term: list[Projections]
    heads: int
    layers: int
    later: bool


def settings_of(source: Source, context: ContextRcnn) -> ContextRcnn:
    """Settings of the attention that follow from the shapes of its weights, not from the config."""
    found = _attention(source)
    context.norm_order = "dense_first"
    context.repeat_input = found.later and bool(found.long_term)
    context.short_term.window = len(found.short_term)
    context.short_term.heads = context.short_term.layers = 1
    context.long_term.enabled = bool(found.long_term)
    for _, key, _, _ in found.long_term:
        length, context.depth = source.take(f"{key}/weights").shape
        context.long_term.entry_size = int(length)
        context.long_term.top_k = context.long_term.top_k or 1
    context.long_term.heads, context.long_term.layers = found.heads, found.layers
    for _, key, _, _ in found.short_term:
        context.depth = source.take(f"{key}/weights").shape[1]
    features = source.take("SecondStageBoxPredictor/ClassPredictor/weights").shape[0]
    # Its first release added the context to crops, whatever the config says.
    *_, output = (found.short_term + found.long_term)[0]
    added_to = source.take(f"{output}/weights").shape[1]
    if added_to == features:
        context.position = "features"
    else:
        context.position = "pooled_crops" if found.later else "crops"
    return context


def fill(port: tf_keras.layers.Layer, source: Source) -> None:
    """Assigns the weights of the projections."""
    found = _attention(source)
    names = found.short_term + found.long_term
    for block, scopes in zip(_blocks(port), names, strict=True):
        for name, projection in zip(scopes, block.projections, strict=True):
            dense, norm = projection.parts
            assign(dense, [source.take(f"{name}/weights")], name)
            moments = [source.take(f"{name}/BatchNorm/{part}") for part in BATCH_NORM]
            assign(norm, moments, f"{name}/BatchNorm")


def _attention(source: Source) -> _Attention:
    """The blocks of a checkpoint, of either release.

    Raises:
        ValueError: If blocks, projections or outputs are missing; it names what there is.
    """
    inside: dict[str, Projections] = {}
    for name in source.find(_PROJECTION.pattern):
        match = _PROJECTION.fullmatch(name)
        if match:
            inside.setdefault(match[2], []).append(name.removesuffix("/weights"))
    outputs = [name for name in source.find(_OUTPUT.pattern) if "AttentionBlock" not in name]
    outputs.sort(key=_number)
    order = sorted(inside, key=_made)
    places = [(int(match[2]), int(match[1])) for match in map(_LATER.fullmatch, order) if match]
    layers, heads = (1 + max((place[i] for place in places), default=0) for i in range(2))
    later = bool(places) or _SELF in inside
    known = all(name == _SELF or (_LATER if later else _FIRST).fullmatch(name) for name in order)
    complete = len(places) in (0, layers * heads) and all(len(x) == 3 for x in inside.values())
    if not order or not known or not complete or len(outputs) != len(order):
        listed = [name for names in inside.values() for name in names]
        raise ValueError(
            "--checkpoint: each attention block has three projections inside of it and one "
            f"outside; found {listed} and {outputs}"
        )
    blocks = {
        name: [*inside[name], output.removesuffix("/weights")]
        for name, output in zip(order, outputs, strict=True)
    }
    short_term = [blocks.pop(_SELF)] if _SELF in blocks else []
    return _Attention(short_term, list(blocks.values()), heads, layers, later)


def _made(block: str) -> tuple[int, int]:
    """When a block is made: attention within the frame first, then layer by layer."""
    match = _LATER.fullmatch(block)
    return (int(match[2]), int(match[1])) if match else (-1, 0)


def _number(output: str) -> int:
    """Of the layers called `fully_connected` in their order, 0 for the first."""
    match = _OUTPUT.fullmatch(output)
    return int(match[1] or 0) if match else 0


def _blocks(port: tf_keras.layers.Layer) -> Iterator[ContextAttention]:
    for stack in (port.short_term, port.long_term):
        if stack is not None:
            yield from stack.blocks
