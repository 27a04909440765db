"""The interface of a memory: one object, made from its settings, found by name.

Running, evaluating, exporting and compiling ask a `TemporalModel`, and no other file knows which
one it is. `models/NAME` (a file or a folder, named as its settings in `configs/temporal/NAME.py`)
says in `MODEL` which class it is; a memory of another package calls `register`.
"""

import copy
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf
from official.modeling import hyperparams

from context_rcnn import configs
from context_rcnn.configs import temporal as settings_by_name
from context_rcnn.data.clips import ClipOptions
from context_rcnn.data.frames import FrameSampler
from context_rcnn.detectors import checkpoints, freezing
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import Proposals, TwoStageDetector
from context_rcnn.models.streaming import Extract, Stream

M = TypeVar("M", bound="TemporalModel")

_elsewhere: dict[str, type["TemporalModel"]] = {}


class RunNotThere(ValueError):
    """A model is made of the run of another one, which is not there."""


class BankFacts(NamedTuple):
    """What a model has to know of the memory bank that it attends to.

    Attributes:
        name: name of the bank, for messages.
        entry_size: length of its entries.
        extractor: hash of the extractor that made it.
        top_k: boxes of an image that it has at most.
    """

    name: str
    entry_size: int
    extractor: str = ""
    top_k: int = 0


class TemporalModel:
    """A detector without memory, `type: none`; memories override what is different.

    Args:
        settings: settings of this memory, from `configs/temporal`; read, never written.
        memory: settings of the join of keyframes with a memory bank.
        name: name of this memory in the settings, for messages.
    """

    def __init__(
        self,
        settings: Any,
        memory: configs.Memory | None = None,
        name: str = settings_by_name.NONE,
    ):
        self.settings = settings
        self.name = name
        self.memory = memory or configs.Memory()

    @property
    def uses_bank(self) -> bool:
        """Whether it attends to a memory bank."""
        return self.describe()["memory"] is not None

    @property
    def window(self) -> int:
        """Frames around a keyframe, itself included, that the model looks at in one pass."""
        return 1

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        """The detector with its ports; variables are made when it is called."""
        return build_faster_rcnn(model, weight_decay=weight_decay)

    def training_frames(self, clip: configs.Clip, seed: int) -> FrameSampler:
        """Which frames it learns with, which of them is the keyframe, and which teach.

        Args:
            clip: the settings of clips.
            seed: seed of the draws.
        """
        if clip.frames < self.window:
            raise ValueError(
                f"task.clip.frames is {clip.frames}, fewer than the {self.window} frames of the "
                f"window of {self.name}: its boxes would never see a neighbour"
            )
        return ClipOptions(clip.frames, clip.spacing)

    def evaluation_window(self, clip: configs.Clip) -> FrameSampler | None:
        """The frames that a keyframe is evaluated with; None where it is evaluated by its stream.

        Args:
            clip: the settings of clips.
        """
        return ClipOptions(self.window, clip.spacing)

    def memory_spec(self, frames: int) -> dict[str, tf.TensorSpec]:
        """What of a batch is memory, for the ports; a part that a batch lacks is not there.

        Args:
            frames: number of frames in a clip.
        """
        return {"clip_valid": tf.TensorSpec([None, frames], tf.bool)}

    def bound_to(self, bank: BankFacts | None) -> "TemporalModel":
        """A copy whose settings hold the facts about the bank; ValueError for another bank.

        Args:
            bank: None where none is joined.
        """
        return self

    def start(self, detector: TwoStageDetector) -> None:
        """Takes what the memory itself starts from, before any checkpoint of a detector.

        Args:
            detector: detector to fill.
        """

    def warm_start(self, detector: TwoStageDetector, checkpoint: str, field: str) -> None:
        """Takes the weights of a trained still-image detector; the memory's own stay as they are.

        Args:
            detector: detector to fill.
            checkpoint: checkpoint of the other detector.
            field: the setting that names it, for messages.
        """
        new = [*detector.map_memory.variables, *detector.box_memory.variables]
        checkpoints.restore(checkpoint, field, new=new, model=detector)

    def stream(self, detector: TwoStageDetector, extract: Extract | None = None) -> Stream | None:
        """What takes rows through the detector frame by frame; None if nothing does.

        Args:
            detector: the detector from `build`.
            extract: the frozen extractor of the bank, or None.
        """
        return None

    def describe(self) -> dict[str, Any]:
        """The description of the memory in an exported model: see `docs/serving.md`."""
        return {"memory": None, "short_term_window": 0}

    @property
    def extractor_hash(self) -> str:
        """Of the extractor that made the bank; "" where none is known or needed."""
        return ""

    def check_single_images(self, what: str) -> None:
        """Raises a ValueError if it cannot detect in single images, or frame by frame."""
        if self.window > 1:
            raise ValueError(f"{self.name} looks at {self.window} frames at once, and {what}")

    def attended(
        self,
        detector: TwoStageDetector,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Mapping[str, tf.Tensor],
        top: int,
    ) -> dict[str, tf.Tensor]:
        """Detections, and which entries of the bank each attends to most.

        Args:
            detector: the detector from `build`.
            images, shapes, memory: inputs of the detector.
            top: entries a detection.

        Returns:
            Detections, and `attention_index` int32 and `attention_weight` [images, detections,
            top] into the bank's entries, best first, weight 0 where there are no more.
        """
        raise ValueError("the detector attends to no memory bank")

    def attending_stream(self, detector: TwoStageDetector, top: int) -> Stream:
        """The stream, whose detections also say which boxes of other frames they draw on.

        They have `attention_weight`, `attention_frame`, `attention_anywhere` and `attention_box`
        [rows, detections, top], as `models.mega.attention.most_attended` returns them.

        Args:
            detector: the detector from `build`.
            top: boxes a detection.
        """
        raise ValueError(f"{self.name} does not relate boxes of frames")

    def memory_maps(
        self,
        detector: TwoStageDetector,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Mapping[str, tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """How much the memory holds of each place of a clip's frames.

        Args:
            detector: the detector from `build`.
            images, shapes, memory: inputs of the detector.

        Returns:
            Maps [images, height, width] of a memory of maps, by words for how it was computed.
        """
        raise ValueError(f"{self.name} has no memory of maps")

    def of_slim(self, source: Any) -> "TemporalModel":
        """A copy with what the variables of a TensorFlow 1 checkpoint say of its memory.

        Args:
            source: the checkpoint, see `tasks.slim_checkpoints`.
        """
        return self

    def fill_from_slim(self, detector: TwoStageDetector, source: Any) -> None:
        """Takes the weights of the memory from such a checkpoint."""

    def with_settings(self: M, settings: hyperparams.Config) -> M:
        """A copy with other settings."""
        other = copy.copy(self)
        other.settings = settings
        return other


MODEL = TemporalModel


def register(name: str, settings: type[hyperparams.Config], model: type[TemporalModel]) -> None:
    """Makes a memory of another package known as `task.temporal.type: NAME`."""
    settings_by_name.register(name, settings)
    _elsewhere[name] = model


def make(temporal: configs.Temporal, memory: configs.Memory | None = None) -> TemporalModel:
    """The model that the settings name."""
    choices = settings_by_name.registered()
    name = temporal.type
    if name not in choices:
        raise ValueError(f"task.temporal.type must be one of {', '.join(choices)}, got {name!r}")
    if name in _elsewhere:
        model = _elsewhere[name]
    elif name == settings_by_name.NONE:
        model = TemporalModel
    else:
        model = importlib.import_module(f"context_rcnn.models.{name}").MODEL
    return model(temporal.get(), memory, name)


def build(
    temporal: TemporalModel, model: configs.FasterRcnn, *, weight_decay: float = 0.0
) -> TwoStageDetector:
    """The detector of a temporal model, with all its variables."""
    detector = temporal.build(model, weight_decay=weight_decay)
    height, width = model.image_size
    memory = {
        name: tf.zeros([1, *(size or 1 for size in spec.shape[1:])], spec.dtype)
        for name, spec in temporal.memory_spec(1).items()
    }
    shape = tf.constant([[height, width]], tf.float32)
    given = None
    if model.proposals.source == "given":
        count = model.proposals.count
        given = Proposals(tf.zeros([1, count, 4]), tf.zeros([1, count]), tf.zeros([1, count]) > 0)
    detector(tf.zeros([1, height, width, 3]), shape, memory=memory, given=given)
    if model.backbone.freeze_batch_norm:
        freezing.freeze_batch_norms(detector)
    return detector
