"""Settings of the data for training and evaluation."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class Data(hyperparams.Config):
    """One input: TFRecord files of examples (docs/formats.md).

    Attributes:
        input_path: TFRecord files, as a pattern or several patterns separated by commas.
        is_training: whether examples are shuffled, repeated and flipped.
        global_batch_size: number of clips per step, over all replicas. A clip is one image unless
            `task.clip` says otherwise; in the evaluation of a `mega` it is the next frame of a
            video.
        seed: seed of the order and the flips.
        shuffle_buffer_size: number of examples held in RAM for shuffling.
        flip_probability: probability of a horizontal flip in training.
        empty_fraction: share of empty images in training batches; a negative value keeps the share
            of the data.
        max_boxes: largest number of groundtruth boxes per image; more is an error.
        shard_files: whether several hosts read different files rather than different examples.
            This is faster on many hosts, but the batches then depend on the number of hosts.
        sample_1_of_n: n, to evaluate only every n-th example.
        cache: whether the encoded examples stay in RAM after the first pass.
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
        frames: number of frames in a clip; 1 trains on single images. In training, every labelled
            frame has a loss.
        spacing: distance between the frames of a clip, in frames of the burst.
    """

    frames: int = 1
    spacing: int = 1


@dataclasses.dataclass
class Memory(hyperparams.Config):
    """The memory bank that is joined with keyframes, and the window of it that they see.

    Attributes:
        bank: folder of the bank; empty for no memory.
        horizon: length of the window, centred on the keyframe: `minute`, `hour`, `day`, `week`,
            `month` (30 days) or `any`.
        calendar: whether the window is the calendar's minute, ..., month of the keyframe instead,
            as in the released code.
        causal: whether the window ends at the keyframe, for online use.
        include_keyframe: whether the window contains the keyframe's own entries.
        policy: rule to choose entries from a window that is too large: `nearest` in time, `newest`,
            `uniform`, or `diverse` (slow: it is better to prune the bank with it).
        max_entries: number of entries in a window; smaller windows are padded.
        variant: encoding of place and time: `paper` or `released`.
        strict: whether a camera that is not in the bank is an error; otherwise its window is empty.
        cache_megabytes: RAM in MiB for cameras kept as float32.
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
