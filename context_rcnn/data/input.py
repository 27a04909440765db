"""The detector's input: TFRecords of examples to batches, deterministic and with static shapes.

A batch is of clips: `frames` images each, one by default. Rows of images lie clip after clip:

    image        uint8   [clips * frames, height, width, 3], padded at the bottom and right; or
                 what is stored of it, float32 [clips * frames, boxes, columns]
    image_shape  float32 [clips * frames, 2], height and width of what is not padding
    key          int64   [clips * frames], a hash of the image id; `image_key` computes the same
    valid        bool    [clips * frames], whether it teaches (training) or counts (evaluation)
    boxes        float32 [clips * frames, max_boxes, 4], y1 x1 y2 x2 in pixels of `image`
    classes      int64   [clips * frames, max_boxes], from 1
    box_valid    bool    [clips * frames, max_boxes]
    proposals, proposal_scores, proposal_valid
                         the same of another detector's boxes, where the model wants them
    clip_valid   bool    [clips, frames], False where the burst has no such frame: `clips`
    clip_frames  int32   [clips, frames], places in the video, where whole videos are read: `videos`
and, where a memory bank is joined, what `memory_bank.join` adds for the clip's keyframe
(`context_features` [clips, ...], ...).
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.data.clips import STILL
from context_rcnn.data.frames import FrameSampler
from context_rcnn.data.proposals import best_proposals
from context_rcnn.data.records import LabelState

# Only images whose every object has a box, or that are known to be empty, say what is background.
TEACHING_STATES = (LabelState.EMPTY, LabelState.BOXES)
SUFFIX = ".tfrecord"  # of the files that `context-rcnn examples` writes
# What a batch has of each frame; all else is of clips.
OF_FRAMES = frozenset(
    ("image", "image_shape", "key", "valid", "boxes", "classes", "box_valid")
    + ("proposals", "proposal_scores", "proposal_valid")
)
EVALUATION_LOT = 0  # what is drawn to be evaluated is always the same


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """How a clip of records becomes a row of a batch.

    Attributes:
        image_size: Height and width of the network's input.
        keep_aspect_ratio: Fit and pad rather than stretch.
        max_boxes: Largest number of groundtruth boxes per image.
        num_classes: Classes of boxes go from 1 to this; None does not look.
        proposals: Number of proposals of another detector per image; 0 for none.
        join: Adds the keyframe's memory, mirrored if the image is: (example, flip) -> dict.
        stored: Makes what stands in place of pixels: (example, boxes, shape, flip) -> tensor.
    """

    image_size: tuple[int, int]
    keep_aspect_ratio: bool = False
    max_boxes: int = 100
    num_classes: int | None = None
    proposals: int = 0
    join: Callable[[dict[str, tf.Tensor], tf.Tensor], dict[str, tf.Tensor]] | None = None
    stored: Callable[..., tf.Tensor] | None = None

    def __call__(
        self, records: tf.Tensor, clip_valid: tf.Tensor, keyframe: int, flip: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """A row of serialized records [frames]; all its frames are mirrored, or none."""
        frames = [examples.parse_example(record) for record in tf.unstack(records)]
        images = [self.image(frame, flip) for frame in frames]
        row = {name: tf.stack([image[name] for image in images]) for name in images[0]}
        key = frames[keyframe]
        memory = self.join(key, flip) if self.join else {}
        memory = {name: value for name, value in memory.items() if name not in key}
        teaches = tf.stack([has_state(frame, TEACHING_STATES) for frame in frames])
        return memory | row | {"valid": clip_valid & teaches, "clip_valid": clip_valid}

    def frame(self, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One frame without its labels, as a batch has it."""
        return self.image(example, tf.constant(False))

    def image(self, example: dict[str, tf.Tensor], flip: tf.Tensor) -> dict[str, tf.Tensor]:
        """One frame and its labels."""
        boxes = example["boxes"]
        boxes = tf.cond(flip, lambda: flip_boxes(boxes), lambda: boxes)
        if self.stored:
            original = tf.stack([example["height"], example["width"]])
            message = ["image/height or image/width is missing:", example["image_id"]]
            known = not self.keep_aspect_ratio or tf.reduce_all(original > 0)
            with tf.control_dependencies([tf.debugging.Assert(known, message)]):
                shape = fitted(original, self.image_size, self.keep_aspect_ratio)
            image = self.stored(example, boxes, shape, flip)
        else:
            image, shape = self.pixels(example, flip)
        boxes = boxes * tf.tile(shape, [2])
        count = tf.shape(boxes)[0]
        message = ["max_boxes is too small for this image:", example["image_id"], count]
        checks = [tf.debugging.Assert(count <= self.max_boxes, message)]
        if self.num_classes:
            known = (example["classes"] >= 1) & (example["classes"] <= self.num_classes)
            message = ["not all in the label map:", example["image_id"], example["classes"]]
            # An empty image may have a class of its own.
            checks.append(tf.debugging.Assert((count == 0) | tf.reduce_all(known), message))
        with tf.control_dependencies(checks):
            padding = [[0, self.max_boxes - count]]
        # A box without area, as old records sometimes hold, teaches nothing; nor does NaN.
        has_area = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)
        boxes = tf.where(has_area[:, tf.newaxis], boxes, 0.0)
        given = self._given(example, shape, flip) if self.proposals else {}
        return given | {
            "image": image,
            "image_shape": tf.ensure_shape(shape, [2]),
            "key": image_key(example["image_id"]),
            "boxes": tf.ensure_shape(tf.pad(boxes, [*padding, [0, 0]]), [self.max_boxes, 4]),
            "classes": tf.ensure_shape(tf.pad(example["classes"], padding), [self.max_boxes]),
            "box_valid": tf.ensure_shape(tf.pad(has_area, padding), [self.max_boxes]),
        }

    def pixels(self, example: dict[str, tf.Tensor], flip: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The resized image, and its height and width without padding."""
        image = tf.io.decode_image(example["image_bytes"], channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        image, shape = resize(image, self.image_size, self.keep_aspect_ratio)
        image = tf.cond(flip, lambda: flip_image(image, shape), lambda: image)
        return tf.ensure_shape(image, [*self.image_size, 3]), shape

    def _given(
        self, example: dict[str, tf.Tensor], shape: tf.Tensor, flip: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The proposals of one frame."""
        boxes, scores = example["proposals"], example["proposal_scores"]
        message = ["as many proposals as scores:", example["image_id"], tf.size(scores)]
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.shape(boxes)[0] == tf.size(scores), message)]
        ):
            boxes = tf.cond(flip, lambda: flip_boxes(boxes), lambda: boxes)
        given = best_proposals(boxes[None], scores[None], shape[None], self.proposals)
        return {name: value[0] for name, value in given.items()}


def image_key(image_id: tf.Tensor) -> tf.Tensor:
    """A 63-bit hash of the image id: accelerators carry integers, not strings."""
    return tf.strings.to_hash_bucket_fast(image_id, 2**63 - 1)


def resize(
    image: tf.Tensor, size: Sequence[int], keep_aspect_ratio: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the image as uint8 [*size, 3], and the height and width that are not padding."""
    shape = fitted(tf.shape(image)[:2], size, keep_aspect_ratio)
    image = tf.image.resize(image, tf.cast(shape, tf.int32), antialias=True)
    image = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
    image = tf.image.pad_to_bounding_box(image, 0, 0, *size)
    return image, shape


def fitted(original: tf.Tensor, size: Sequence[int], keep_aspect_ratio: bool) -> tf.Tensor:
    """Height and width, float32, to which an image of this height and width is resized."""
    shape = tf.constant(size)
    if keep_aspect_ratio:
        original = tf.cast(original, tf.float32)
        scale = tf.reduce_min(tf.cast(shape, tf.float32) / original)
        shape = tf.clip_by_value(tf.cast(tf.round(original * scale), tf.int32), 1, shape)
    return tf.cast(shape, tf.float32)


def flip_image(image: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Mirrors the image left to right, and leaves the padding in its place."""
    width = tf.cast(shape[1], tf.int32)
    inside = tf.image.flip_left_right(image[:, :width])
    return tf.concat([inside, image[:, width:]], axis=1)


def flip_boxes(boxes: tf.Tensor) -> tf.Tensor:
    """Mirrors normalised boxes y1 x1 y2 x2."""
    y1, x1, y2, x2 = tf.unstack(boxes, axis=1)
    return tf.stack([y1, 1.0 - x2, y2, 1.0 - x1], axis=1)


def find_files(input_path: str, field: str = "input_path") -> list[str]:
    """Returns the files that comma-separated patterns match, sorted; a ValueError where none.

    A pattern of the Object Detection API's, `train-?????-of-?????`, also matches our names, which
    have `.tfrecord` behind.
    """
    files: list[str] = []
    for pattern in filter(None, (part.strip() for part in input_path.split(","))):
        # A name that exists is taken as it is, whatever brackets there are in it.
        matches = [pattern] if tf.io.gfile.exists(pattern) else tf.io.gfile.glob(pattern)
        matches = matches or tf.io.gfile.glob(f"{pattern}{SUFFIX}")
        if not matches:
            raise ValueError(f"{field}: no file matches {pattern!r}{_near(pattern)}")
        files += matches
    if not files:
        raise ValueError(f"{field}: set it to the TFRecord files of examples")
    return sorted(set(files))


def _near(pattern: str) -> str:
    """What there is in the folder of a pattern that matches nothing."""
    folder = os.path.dirname(pattern)
    there = sorted(tf.io.gfile.glob(os.path.join(folder, f"*{SUFFIX}")))
    if not there:
        return f"; {folder or 'the current folder'} has no files that end in {SUFFIX}"
    more = f" and {len(there) - 1} more" if len(there) > 1 else ""
    return f"; {folder or 'the current folder'} has {os.path.basename(there[0])}{more}"


def count_images(files: Sequence[str]) -> str:
    """A sentence on the images that train and those left out, from the manifests of the files."""
    counts, unknown = dict.fromkeys(("boxed", "empty", "image_level", "unlabelled"), 0), 0
    manifests: dict[str, dict] = {}
    for file in files:
        folder, name = os.path.split(file)
        if folder not in manifests:
            manifests[folder] = _read_manifest(os.path.join(folder, "manifest.json"))
        shard = manifests[folder].get(name)
        unknown += shard is None
        for state in counts:
            counts[state] += (shard or {}).get(state, 0)
    words = (
        f"{counts['boxed']} images with boxes and {counts['empty']} empty ones; left out: "
        f"{counts['image_level']} whose label has no box, {counts['unlabelled']} without a label"
    )
    if unknown:
        words += f"; {unknown} files without a manifest are not counted"
        words += " (`context-rcnn validate --examples` reads them)"
    return words


def _read_manifest(path: str) -> dict[str, dict]:
    """Counts by shard file."""
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path) as file:
        return {shard["file"]: shard for shard in json.load(file).get("shards", [])}


def read_examples(files: Sequence[str], states: Sequence[int] | None) -> tf.data.Dataset:
    """Parsed examples in file order; `states` keeps only those label states, None keeps all."""
    dataset = tf.data.TFRecordDataset(list(files)).map(
        examples.parse_example, tf.data.AUTOTUNE, deterministic=True
    )
    if states is not None:
        dataset = dataset.filter(lambda example: has_state(example, states))
    return dataset


def training_batches(
    files: Sequence[str],
    to_row: ImageInput,
    *,
    batch_size: int,
    seed: int,
    shuffle_buffer_size: int,
    flip_probability: float,
    empty_fraction: float = -1.0,
    clip: FrameSampler = STILL,
    shard: tuple[int, int] = (1, 0),
    shard_files: bool = False,
    cache: bool = False,
) -> tf.data.Dataset:
    """Endless shuffled batches.

    The order and the flips follow from the seed alone. Unless `shard_files`, hosts take turns in
    one common order, so that the global batches do not depend on how many hosts there are.

    Args:
        files: TFRecord files.
        to_row: function that makes a row of a clip.
        batch_size: clips a batch of this host.
        seed: seed of order and flips.
        shuffle_buffer_size: clips held while shuffling.
        flip_probability: probability of a flip, for each clip.
        empty_fraction: share of clips with an empty keyframe; negative keeps that of the data.
        clip: frames around each keyframe.
        shard: number of hosts, and which of them this is.
        shard_files: hosts read different files.
        cache: whether the encoded examples stay in RAM.
    """
    hosts, host = shard
    files = list(files)
    if shard_files:
        if len(files) < hosts:
            raise ValueError(
                f"shard_files needs a file for each of the {hosts} hosts, found {len(files)}"
            )
        files = files[host::hosts]
    if empty_fraction < 0:
        dataset = _shuffled(files, TEACHING_STATES, clip, seed, shuffle_buffer_size, cache)
    else:
        dataset = tf.data.Dataset.sample_from_datasets(
            [
                _shuffled(files, [state], clip, seed, shuffle_buffer_size, cache)
                for state in (LabelState.EMPTY, LabelState.BOXES)
            ],
            weights=[empty_fraction, 1.0 - empty_fraction],
            seed=seed,
        )
    dataset = dataset.enumerate()
    if not shard_files:
        dataset = dataset.shard(hosts, host)

    def row(index, clip_of):
        lot = tf.random.stateless_uniform([], seed=[seed, index])
        return _row(to_row, clip, clip_of, lot < flip_probability)

    return _batched(dataset.map(row, tf.data.AUTOTUNE, deterministic=True), batch_size)


def _row(to_row: ImageInput, clip: FrameSampler, clip_of: Sequence[tf.Tensor], flip: tf.Tensor):
    """A row of what a sampler reads."""
    records, clip_valid, *places = clip_of
    row = to_row(records, clip_valid, clip.keyframe, flip)
    return row | dict(zip(["clip_frames"], places, strict=False))


def _shuffled(
    files: Sequence[str],
    states: Sequence[int],
    clip: FrameSampler,
    seed: int,
    buffer_size: int,
    cache: bool,
) -> tf.data.Dataset:
    """Endless clips whose keyframes have these label states, in an order that the seed decides."""
    dataset = tf.data.Dataset.from_tensor_slices(list(files))
    if not cache:
        dataset = dataset.shuffle(len(files), seed=seed)
    # Made here, not where a file is read: there it would begin again with its seed.
    lots = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    dataset = tf.data.Dataset.zip(dataset, lots).interleave(
        clip.read,
        cycle_length=min(16, len(files)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    dataset = dataset.filter(functools.partial(_keyframe_has, clip, states))
    if cache:
        dataset = dataset.cache()
    return dataset.shuffle(buffer_size, seed=seed).repeat()


def evaluation_batches(
    files: Sequence[str],
    to_row: ImageInput,
    *,
    batch_size: int,
    steps: int,
    clip: FrameSampler = STILL,
    shard: tuple[int, int] = (1, 0),
    sample_1_of_n: int = 1,
) -> tf.data.Dataset:
    """Exactly `steps` full batches in file order, filled up with rows whose `valid` is False.

    Of each clip only the keyframe is `valid`: it alone has all its neighbours. Every host gives the
    same number of batches, so that none waits for another.
    """
    hosts, host = shard
    dataset = tf.data.Dataset.from_tensor_slices(list(files))
    dataset = dataset.flat_map(functools.partial(clip.read, lot=EVALUATION_LOT))
    dataset = dataset.filter(functools.partial(_keyframe_has, clip, TEACHING_STATES))
    dataset = dataset.shard(sample_1_of_n, 0) if sample_1_of_n > 1 else dataset
    dataset = dataset.shard(hosts, host) if hosts > 1 else dataset
    is_keyframe = tf.constant([i == clip.keyframe for i in range(clip.frames)])

    def row(*clip_of):
        row = _row(to_row, clip, clip_of, tf.constant(False))
        return row | {"valid": row["valid"] & is_keyframe}

    dataset = dataset.map(row, tf.data.AUTOTUNE, deterministic=True)
    filling = tf.data.Dataset.from_tensors(
        tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), dataset.element_spec)
    )
    return _batched(dataset.concatenate(filling.repeat()).take(steps * batch_size), batch_size)


def chosen_batches(
    files: Sequence[str],
    to_row: ImageInput,
    keys: Sequence[int],
    *,
    batch_size: int,
    clip: FrameSampler = STILL,
) -> tf.data.Dataset:
    """The keyframes with these keys in file order; the last batch may be smaller."""
    wanted = tf.constant(list(keys), tf.int64)

    def is_wanted(records, *_):
        example = examples.parse_example(records[clip.keyframe])
        return tf.reduce_any(image_key(example["image_id"]) == wanted)

    dataset = tf.data.Dataset.from_tensor_slices(list(files))
    dataset = dataset.flat_map(functools.partial(clip.read, lot=EVALUATION_LOT))
    dataset = dataset.filter(is_wanted)
    dataset = dataset.map(
        lambda *clip_of: _row(to_row, clip, clip_of, tf.constant(False)),
        tf.data.AUTOTUNE,
        deterministic=True,
    )
    return _batched(dataset, batch_size, drop_remainder=False)


def _batched(
    dataset: tf.data.Dataset, batch_size: int, drop_remainder: bool = True
) -> tf.data.Dataset:
    """Full batches, a few ahead of the step that takes them."""
    options = tf.data.Options()
    # TensorFlow 2.20's tuner sleeps for up to a minute at a time, and an iterator is only deleted
    # when it wakes: an evaluation could end minutes after its last image. Without it, as many
    # images are read at once as there are processors.
    options.autotune.enabled = False
    dataset = dataset.batch(batch_size, drop_remainder=drop_remainder).map(_frame_after_frame)
    return dataset.prefetch(4).with_options(options)


def _frame_after_frame(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """[clips, frames, ...] to [clips * frames, ...], of all that frames have."""
    clips, frames = batch["clip_valid"].shape
    flat = {
        name: tf.reshape(batch[name], [clips * frames if clips else -1, *batch[name].shape[2:]])
        for name in batch
        if name in OF_FRAMES
    }
    return dict(batch) | flat


def _keyframe_has(
    clip: FrameSampler, states: Sequence[int], records: tf.Tensor, *rest: tf.Tensor
) -> tf.Tensor:
    return has_state(examples.parse_example(records[clip.keyframe]), states)


def has_state(example: dict[str, tf.Tensor], states: Sequence[int]) -> tf.Tensor:
    """Whether a parsed example has one of these label states."""
    states = tf.constant([int(state) for state in states], tf.int64)
    return tf.reduce_any(tf.cast(example["label_state"], tf.int64) == states)
