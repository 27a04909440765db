"""Videos frame by frame, several side by side: what streaming models are evaluated on."""

import itertools
from collections.abc import Callable, Sequence

import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.data.input import TEACHING_STATES, has_state, image_key
from context_rcnn.data.proposals import PROPOSALS
from context_rcnn.data.videos import read_videos


def stream_batches(
    files: Sequence[str],
    to_image: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]],
    *,
    rows: Sequence[int],
    all_rows: int,
    steps: int,
    delay: int,
    anywhere: bool,
    seed: int,
) -> tf.data.Dataset:
    """Exactly `steps` batches that take videos through a model frame by frame.

    Rows of the batch are videos side by side; where one ends, the next begins. Each element has

        image, image_shape  of the next frame of each video
        valid      bool [rows], whether there is one
        ended      bool [rows], whether the video has no more, but a keyframe that waited for more
        video      int64 [rows], a hash of its name
        key, keyed int64 and bool [rows], of the image that is then detected in, `delay` frames ago
    and, where asked for, one frame a step from anywhere in the video, each once:
        anywhere_image, anywhere_shape, anywhere_valid

    Args:
        files: TFRecord files.
        to_image: function from a parsed example to `image`, `image_shape` and `key`.
        rows: the rows of this batch among all.
        all_rows: number of rows of all replicas and hosts together.
        steps: number of steps, the same for all: see `count_steps`.
        delay: frames that a keyframe waits for those after it.
        anywhere: whether to give them.
        seed: seed of the order of the videos.
    """
    datasets = [
        _row_of_videos(list(files), to_image, row, all_rows, delay, anywhere, seed) for row in rows
    ]
    nothing = tf.data.Dataset.from_tensors(
        tf.nest.map_structure(
            lambda spec: tf.zeros(spec.shape, spec.dtype), datasets[0].element_spec
        )
    ).repeat()
    endless = tuple(dataset.concatenate(nothing) for dataset in datasets)
    batches = tf.data.Dataset.zip(endless).map(
        lambda *frames: {name: tf.stack([frame[name] for frame in frames]) for name in frames[0]}
    )
    return batches.take(steps)


def read_lengths(files: Sequence[str]) -> list[int]:
    """Frames of each video, in the order in which `stream_batches` takes them."""
    videos = tf.data.Dataset.from_tensor_slices(list(files)).flat_map(read_videos)
    return [int(length) for length in videos.map(tf.size).as_numpy_iterator()]


def count_steps(lengths: Sequence[int], all_rows: int, delay: int) -> int:
    """Steps until the last of videos of these lengths is through."""
    return max(
        sum(length + delay for length in itertools.islice(lengths, row, None, all_rows))
        for row in range(all_rows)
    )


def anywhere_order(
    first: dict[str, tf.Tensor], count: tf.Tensor | int, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """A hash of the name of a video, int64, and the order of its frames from anywhere.

    Args:
        first: its first frame, parsed.
        count: number of its frames.
        seed: seed of the order.
    """
    name = tf.strings.join([first["camera"], first["seq_id"], first["image_id"]], "\n")
    number = tf.strings.to_hash_bucket_fast(name, 2**63 - 1)
    lots = tf.random.stateless_uniform([count], seed=tf.stack([tf.cast(seed, tf.int64), number]))
    return number, tf.argsort(lots)


def _row_of_videos(files, to_image, row, all_rows, delay, anywhere, seed) -> tf.data.Dataset:
    videos = tf.data.Dataset.from_tensor_slices(files).flat_map(read_videos).shard(all_rows, row)

    def frames(video):
        count = tf.shape(video)[0]
        first = examples.parse_example(video[0])
        number, order = anywhere_order(first, count, seed)

        def step(t):
            valid = t < count
            # Past the end the last frame stands there, and is not looked at.
            new = to_image(examples.parse_example(video[tf.minimum(t, count - 1)]))
            key = examples.parse_example(video[tf.clip_by_value(t - delay, 0, count - 1)])
            element = {
                "image": new["image"],
                "image_shape": new["image_shape"],
                "valid": valid,
                "ended": ~valid,
                "video": number,
                "key": image_key(key["image_id"]),
                "keyed": (t >= delay) & has_state(key, TEACHING_STATES),
            }
            element |= {name: new[name] for name in PROPOSALS if name in new}
            if anywhere:
                other = to_image(examples.parse_example(video[order[tf.minimum(t, count - 1)]]))
                element |= {
                    "anywhere_image": other["image"],
                    "anywhere_shape": other["image_shape"],
                    "anywhere_valid": valid,
                }
            return element

        return tf.data.Dataset.from_tensor_slices(tf.range(count + delay)).map(
            step, tf.data.AUTOTUNE, deterministic=True
        )

    return videos.flat_map(frames)
