"""Settings of what a detector learns from and is measured on."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class Data(hyperparams.Config):
    """One input: TFRecord files of examples (docs/formats.md).

    Attributes:
        input_path: a file pattern, or several separated by commas.
        is_training: shuffle, repeat and flip.
        global_batch_size: clips a step, over all replicas; a clip is one image unless `task.clip`
            says otherwise, and in evaluation of a `mega` the next frame of a video.
        seed: of the order and the flips.
        shuffle_buffer_size: examples held while shuffling.
        flip_probability: of a horizontal flip in training.
        empty_fraction: share of empty images in training batches; negative takes what there is.
        max_boxes: most groundtruth boxes an image may have; more is an error.
        shard_files: several hosts read different files rather than different examples. Faster on
            many hosts; the batches then depend on the number of hosts.
        sample_1_of_n: evaluate every n-th example only.
        cache: keep the encoded examples in memory after the first pass.
    """

    input_path: str = ""
    is_training: bool = False
    global_batch_size: int = 8
    seed: int = 0
    shuffle_buffer_size: int = 1000
    flip_probability: float = 0.5
    empty_fraction: float = -1.0
    max_boxes: int = 100
    shard_files: bool = False
    sample_1_of_n: int = 1
    cache: bool = False


@dataclasses.dataclass
class Clip(hyperparams.Config):
    """Short runs of frames of one burst, in place of single images.

    Attributes:
        frames: of a clip; 1 trains on single images. In training, every labelled frame teaches.
        spacing: every so many-th frame of the burst.
    """

    frames: int = 1
    spacing: int = 1


@dataclasses.dataclass
class Memory(hyperparams.Config):
    """The memory bank that keyframes are joined with, and which part of it they see.

    Attributes:
        bank: Folder of the bank; empty joins nothing.
        horizon: `minute`, `hour`, `day`, `week`, `month` (30 days) or `any`, centred on the
            keyframe.
        calendar: The calendar's minute, ..., month that the keyframe is in, as the released code.
        causal: Only what came before the keyframe, for online use.
        include_keyframe: Keep the keyframe's own entries.
        policy: How a window that is too large is cut: `nearest` in time, `newest`, `uniform`, or
            `diverse` (slow: better prune the bank with it).
        max_entries: Entries of a window, padded to this number.
        variant: Encoding of place and time: `paper` or `released`.
        strict: A camera that is not in the bank is an error, not an empty window.
        cache_megabytes: Memory for cameras kept as float32.
    """

    bank: str = ""
    horizon: str = "month"
    calendar: bool = False
    causal: bool = False
    include_keyframe: bool = True
    policy: str = "nearest"
    max_entries: int = 2000
    variant: str = "paper"
    strict: bool = False
    cache_megabytes: int = 1024
