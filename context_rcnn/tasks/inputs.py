"""Inputs of the detection task: what a batch of this model, data and bank is made of."""

from typing import cast

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.data import input as input_lib
from context_rcnn.data import video_stream
from context_rcnn.data.proposals import best_proposals
from context_rcnn.memory_bank.encoding import Variant
from context_rcnn.memory_bank.join import MemoryJoin
from context_rcnn.memory_bank.window import Horizon, Policy, WindowOptions
from context_rcnn.models.streaming import Stream
from context_rcnn.models.temporal import BankFacts


def make_join(memory: configs.Memory, with_image_ids: bool = False) -> MemoryJoin:
    """What joins keyframes with the memory bank of the settings."""
    return MemoryJoin(
        memory.bank,
        WindowOptions(
            cast(Horizon, memory.horizon),
            memory.calendar,
            memory.causal,
            memory.include_keyframe,
            cast(Policy, memory.policy),
        ),
        max_entries=memory.max_entries,
        variant=cast(Variant, memory.variant),
        with_image_ids=with_image_ids,
        strict=memory.strict,
        cache_bytes=memory.cache_megabytes << 20,
    )


def bank_facts(join: MemoryJoin) -> BankFacts:
    """What a model has to know of the bank."""
    bank = join.bank
    extractor, top_k = bank.info.extractor_hash, bank.boxes_per_image()
    return BankFacts(str(bank.folder), join.entry_size, extractor, top_k)


def describe_join(join: MemoryJoin) -> str:
    """How many keyframes found a memory, since the start."""
    counts, missing = join.counts, join.missing_cameras
    words = f"memory: {counts['windows']} windows, {counts['empty']} of them empty"
    if missing:
        names = ", ".join(sorted(missing)[:5])
        words += f"; {len(missing)} cameras are not in the bank ({names})"
    return words


class Share:
    """The part of a global batch that this host and its replicas make.

    Args:
        context: input context of the distribution strategy, or None for a single device.
        global_batch_size: clips or rows of a step.
        field: the input's name in the settings.
    """

    def __init__(
        self, context: tf.distribute.InputContext | None, global_batch_size: int, field: str
    ):
        context = context or tf.distribute.InputContext()
        self.hosts, self.host = context.num_input_pipelines, context.input_pipeline_id
        self.replicas = context.num_replicas_in_sync
        if global_batch_size % self.replicas:
            raise ValueError(
                f"{field}.global_batch_size {global_batch_size} is not a multiple of the "
                f"{self.replicas} replicas"
            )
        self.all_rows = global_batch_size
        self.batch_size = context.get_per_replica_batch_size(global_batch_size)

    @property
    def shard(self) -> tuple[int, int]:
        """Number of hosts, and which of them this is."""
        return self.hosts, self.host


def stream_batches(
    files: list[str], to_row: input_lib.ImageInput, stream: Stream, share: Share, steps: int
) -> tf.data.Dataset:
    """Videos frame by frame: one after the other, each replica takes its rows of a step."""
    rows = share.all_rows // share.hosts
    first = share.host * rows
    dataset = video_stream.stream_batches(
        files,
        to_row.frame,
        rows=range(first, first + rows),
        all_rows=share.all_rows,
        steps=steps,
        delay=stream.latency,
        anywhere="elsewhere" in stream.inputs,
        seed=stream.seed,
    )
    parts = rows // share.batch_size

    def in_parts(step):
        """[rows, ...] to [parts, rows / parts, ...]."""
        return {
            name: tf.reshape(value, [parts, value.shape[0] // parts, *value.shape[1:]])
            for name, value in step.items()
        }

    return dataset.map(in_parts).unbatch()


def dummy_images(images: int, size: tuple[int, int]) -> dict[str, tf.Tensor]:
    """Black images as a batch has them."""
    height, width = size
    return {
        "image": tf.zeros([images, height, width, 3], tf.uint8),
        "image_shape": tf.tile(tf.constant([[height, width]], tf.float32), [images, 1]),
        "key": tf.range(images, dtype=tf.int64),
        "valid": tf.ones([images], tf.bool),
    }


def dummy_proposals(images: int, size: tuple[int, int], count: int) -> dict[str, tf.Tensor]:
    """The whole image, as often as there are proposals; nothing for a count of 0."""
    if not count:
        return {}
    height, width = size
    return best_proposals(
        tf.tile(tf.constant([[[0.0, 0.0, 1.0, 1.0]]]), [images, count, 1]),
        tf.ones([images, count]),
        tf.tile(tf.constant([[height, width]], tf.float32), [images, 1]),
        count,
    )


def dummy_labels(images: int, size: tuple[int, int], most: int) -> dict[str, tf.Tensor]:
    """One box per image."""
    height, width = size
    first = tf.one_hot(tf.zeros([images], tf.int32), most)
    box = tf.constant([0.2, 0.2, 0.7, 0.6]) * tf.constant([height, width] * 2, tf.float32)
    return {
        "boxes": first[..., None] * box,
        "classes": tf.cast(first, tf.int64),
        "box_valid": first > 0,
    }


def dummy_memory(spec: dict[str, tf.TensorSpec], clips: int, entries: int) -> dict[str, tf.Tensor]:
    """A memory that is full of ones.

    Args:
        spec: spec of the memory, from the temporal model.
        clips: clips of the batch, the first axis.
        entries: entries of a window, every other axis that is free.
    """
    return {
        name: tf.ones([clips, *(size or entries for size in part.shape[1:])], part.dtype)
        for name, part in spec.items()
    }
