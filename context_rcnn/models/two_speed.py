"""A fast detector that answers every frame, and a strong one whose features come late.

Memory Warps, section 4.2: the strong detector's memory of frame t - delay is moved to frame t by
the flow between the two, and averaged with the features of the fast one. The strong detector is
within this one, does not learn, and is saved with it.

    fast      trunk and heads of `task.model`; it learns with the strong one's features as they are
    strong    a trained `memory_warps` with maps of the same size and depth

The stream here has a fixed delay, so that what it detects can be told in advance. With threads, the
two run side by side, and the delay is what it is: `runners.videos.two_speed`.
"""

import os
from collections.abc import Mapping

import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.configs import schema
from context_rcnn.configs.temporal.two_speed import TwoSpeed as Settings
from context_rcnn.data.frames import FrameSampler
from context_rcnn.data.videos import Run
from context_rcnn.detectors import checkpoints
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.two_stage import (
    Memory,
    Port,
    Proposals,
    Seen,
    Tensors,
    TwoStageDetector,
)
from context_rcnn.layers.flow_net import half, half_size
from context_rcnn.models import temporal as temporal_models
from context_rcnn.models.memory_warps.boxes import move_boxes
from context_rcnn.models.memory_warps.memory import build_memory_warps, chains, check_base
from context_rcnn.models.memory_warps.stream import MemoryStream, MemoryView
from context_rcnn.models.streaming import (
    Detections,
    Extract,
    Frame,
    Help,
    RowStream,
    State,
    push,
    where_rows,
)

FIELD = "task.temporal.two_speed"
BY = ("features", "boxes")
STRONG = "strong_"


class TwoSpeedPort(tf_keras.layers.Layer):
    """The map port: the strong detector, and how its features come to the fast one.

    Args:
        strong: detector of a `memory_warps`; it does not learn.
        num_classes: number of classes without background.
    """

    def __init__(self, strong: TwoStageDetector, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        strong.trainable = False
        self.strong = strong
        self.num_classes = num_classes

    def build(self, input_shape):
        shapes = {level: tuple(shape[1:]) for level, shape in input_shape.items()}
        port = self.strong.map_memory
        self.levels = sorted(shapes)
        sizes = {level: shapes[level] for level in self.levels}
        if len(sizes) > 1 or next(iter(sizes.values())) != port.map_shape:
            raise ValueError(
                f"{FIELD}: features are averaged, so both detectors need maps of one size: the "
                f"fast one has {sizes}, the strong one {port.map_shape}; choose the same "
                "image_size, neck.type fgfa and neck.width"
            )
        super().build(input_shape)

    def call(
        self,
        maps: Tensors,
        *,
        images: tf.Tensor | None = None,
        shapes: tf.Tensor | None = None,
        memory: Memory = None,
        training: bool | None = None,
    ) -> Tensors:
        """Without help: the maps as they are."""
        return dict(maps)

    def combine(self, maps: Tensors, image: tf.Tensor, given: Help) -> Tensors:
        """The mean of the fast features and the strong ones, moved; where there is help.

        Args:
            maps: of the fast detector.
            image: half images of the same frames.
            given: what the strong detector has of earlier frames.
        """
        port = self.strong.map_memory
        moved = tf.stop_gradient(port.move(given.maps, port.flow(image, given.image)))
        (level,) = self.levels
        features = maps[level]
        both = 0.5 * (features + tf.cast(moved, features.dtype))
        return {level: where_rows(given.there, both, features)}

    def of_clip(self, images: tf.Tensor, there: tf.Tensor) -> Help:
        """What the strong detector has of the frame before the keyframe of clips.

        Args:
            images: [clips, frames, height, width, 3].
            there: bool [clips, frames].
        """
        strong, frames = self.strong, images.shape[1] - 1
        flat = tf.reshape(images[:, :-1], [-1, *images.shape[2:]])
        maps = strong.maps_of(flat, training=False)
        memory = {"clip_valid": there[:, :-1]} if frames > 1 else None
        maps = strong.map_memory(maps, images=flat, memory=memory, training=False)
        joined = tf.stop_gradient(strong.map_memory.join(maps))
        return Help(joined, half(images[:, -2]), there[:, -2])


class TwoSpeedDetector(TwoStageDetector):
    """The fast detector; of clips it looks at the keyframe, and the strong one at the others."""

    def look(
        self,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Memory = None,
        training: bool | None = None,
        port: Port | None = None,
        given: Proposals | None = None,
    ) -> Seen:
        """As the detector's; of clips, what is returned has a row for each keyframe."""
        there = (memory or {}).get("clip_valid")
        if port is None and there is not None and there.shape[1] > 1:
            frames = there.shape[1]
            clips = tf.reshape(images, [-1, frames, *images.shape[1:]])
            images = clips[:, -1]
            shapes = tf.reshape(shapes, [-1, frames, 2])[:, -1]
            helped = self.map_memory.of_clip(clips, there)

            def port(maps, **_):
                return self.map_memory.combine(maps, half(images), helped)

        return super().look(images, shapes, memory, training, port, given)


class TwoSpeedStream(RowStream, MemoryView):
    """Both detectors in turns, the strong one late by a fixed number of frames.

    Args:
        detector: a two-speed detector.
        settings: its settings.
    """

    def __init__(self, detector: TwoStageDetector, settings: Settings):
        super().__init__(name="two_speed_stream")
        self.detector, self.port = detector, detector.map_memory
        self._strong = MemoryStream(self.port.strong, settings.memory)
        self._every, self._delay = settings.every, settings.delay
        self._boxes = settings.by == "boxes"

    def initial_memory(self, rows: int | tf.Tensor) -> State:
        """What rows remember.

        strong_*      the state of the strong detector
        help_maps     float32 [rows, delay, ...], its memories of the last frames, oldest first
        help_images   float32 [rows, delay, ...], half images of these frames
        help_there    bool [rows, delay]
        and by boxes, in place of maps:
        help_boxes, help_scores   of all proposals and classes, moved on
        """
        strong = self._strong.initial_memory(rows)
        state = {STRONG + name: part for name, part in strong.items()}
        room = [rows, self._delay]
        state["help_there"] = tf.zeros(room, tf.bool)
        if self._boxes:
            count, classes = self.port.strong.proposal_count, self.port.num_classes
            state["help_boxes"] = tf.zeros([*room, count, classes, 4])
            state["help_scores"] = tf.zeros([*room, count, classes])
        else:
            state["help_maps"] = tf.zeros([*room, *self.port.strong.map_memory.map_shape])
            size = half_size(self.port.strong.map_memory.image_size)
            state["help_images"] = tf.zeros([*room, *size, 3])
        return state

    def advance(self, frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
        """Takes one frame of each video, and detects in it."""
        strong, seen = self._step_strong(frame, state)
        changed = {STRONG + name: part for name, part in strong.changed.items()}
        new = {"help_there": strong.there}
        if self._boxes:
            found = self._joined(frame, state, strong.changed["flows"][:, 0], changed)
            new["help_boxes"], new["help_scores"] = self._strong.scored(seen)
        else:
            given = Help(
                state["help_maps"][:, 0], state["help_images"][:, 0], state["help_there"][:, 0]
            )
            found = self.detect_fast(frame, given)
            new |= {"help_maps": strong.maps, "help_images": half(frame.image)}
        queues = {name: changed.get(name, state[name]) for name in new}
        return found, changed | {name: push(queues[name], part) for name, part in new.items()}

    def detect_fast(self, frame: Frame, given: Help | None) -> Detections:
        """What the fast detector finds, with help or without."""

        def port(maps, **_):
            if given is None:
                return maps
            return self.port.combine(maps, half(frame.image), given)

        seen = self.detector.look(frame.image, frame.shape, training=False, port=port)
        return self.detect(seen, frame.valid)

    def step_strong(self, frame: Frame, state: Mapping[str, tf.Tensor]) -> tuple[Help, State]:
        """A look of the strong detector alone at a frame of each video, for a worker of its own."""
        given: list[Help] = []

        def advance(frame: Frame, begins: tf.Tensor, state: State) -> tuple[Detections, State]:
            _, remembered = self._strong.look(frame, state)
            given.append(Help(remembered.maps, half(frame.image), remembered.there))
            return {}, remembered.changed

        _, after = self._strong.step_by(advance, frame, state)
        return given[0], after

    def initial_strong(self, rows: int | tf.Tensor) -> State:
        """The state of the strong detector, of rows that have seen nothing."""
        return self._strong.initial_state(rows)

    def _step_strong(self, frame: Frame, state: State):
        inner = {n.removeprefix(STRONG): p for n, p in state.items() if n.startswith(STRONG)}
        evidence = state["frame"] % self._every == 0
        frame = frame._replace(evidence=evidence)
        seen, remembered = self._strong.look(frame, inner | {"frame": state["frame"]})
        return remembered, seen

    def _joined(self, frame: Frame, state: State, flow: tf.Tensor, changed: State) -> Detections:
        """The fast detector's boxes and the strong one's, brought to this frame."""
        stride = self.port.strong.map_memory.stride
        boxes = state["help_boxes"]
        flat = tf.reshape(boxes, [-1, self._delay * boxes.shape[2] * boxes.shape[3], 4])
        limit = tf.tile(frame.shape, [1, 2])[:, None]
        moved = tf.clip_by_value(move_boxes(flat, flow, stride), 0.0, limit)
        changed["help_boxes"] = tf.reshape(moved, [-1, *boxes.shape[1:]])
        seen = self.detector.look(frame.image, frame.shape, training=False)
        own_boxes, own_scores = self.scored(seen)
        late = where_rows(
            state["help_there"][:, 0], state["help_scores"][:, 0], state["help_scores"][:, 0] * 0.0
        )
        return self.detector.best(
            tf.concat([own_boxes, changed["help_boxes"][:, 0]], axis=1),
            tf.concat([own_scores, late], axis=1),
        )


class TwoSpeedModel(temporal_models.TemporalModel):
    """Two detectors in one; evaluated frame by frame."""

    def bound_to(self, bank: temporal_models.BankFacts | None) -> "TwoSpeedModel":
        """A copy with the settings of the strong detector's run, unless they are known."""
        settings = self.settings
        if settings.model.num_classes or not settings.strong:
            return self
        path = os.path.join(settings.strong, "params.yaml")
        if not tf.io.gfile.exists(path):
            raise temporal_models.RunNotThere(
                f"{FIELD}.strong: {settings.strong} is no run: there is no {path}"
            )
        task = schema.load_experiment(config_files=[path]).task
        if task.temporal.type != "memory_warps":
            raise ValueError(
                f"{FIELD}.strong: {settings.strong} is a run of {task.temporal.type}, expected one "
                "of memory_warps"
            )
        known = {"model": task.model.as_dict(), "memory": task.temporal.memory_warps.as_dict()}
        known["model"]["num_classes"] = -1  # as many as the fast one has
        return self.with_settings(settings.replace(**known))

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        settings = self.settings
        _check(settings)
        check_base(model, FIELD)
        strong_model = settings.model.replace(num_classes=model.num_classes)
        if list(strong_model.image_size) != list(model.image_size):
            raise ValueError(
                f"{FIELD}: both detectors see the same images: image_size is "
                f"{list(model.image_size)}, that of the strong one {list(strong_model.image_size)}"
            )
        strong = build_memory_warps(strong_model, settings.memory)
        port = TwoSpeedPort(strong, model.num_classes, name="two_speed")
        height, width = strong_model.image_size
        shape = tf.constant([[height, width]], tf.float32)
        strong(tf.zeros([1, height, width, 3]), shape)
        strong.trainable = False
        return build_faster_rcnn(
            model,
            weight_decay=weight_decay,
            map_memory=port,
            detector_class=TwoSpeedDetector,
        )

    def training_frames(self, clip: configs.Clip, seed: int) -> FrameSampler:
        training, clocks = self.settings.memory.training, self.settings.memory.clocks
        found = chains(clocks, training.frames, training.stride)
        late = sorted({o - self.settings.delay for chain in found.values() for o in chain})
        return Run((*late, 0), self.settings.keyframes, seed=seed)

    def evaluation_window(self, clip: configs.Clip) -> None:
        return None

    def start(self, detector: TwoStageDetector) -> None:
        field = f"{FIELD}.strong"
        if not self.settings.strong:
            raise ValueError(f"{field}: name the run of a trained memory_warps")
        path = checkpoints.of_run(self.settings.strong, "best_checkpoint")
        checkpoints.restore(path, field, model=detector.map_memory.strong)

    def stream(self, detector: TwoStageDetector, extract: Extract | None = None) -> TwoSpeedStream:
        return TwoSpeedStream(detector, self.settings)


MODEL = TwoSpeedModel


def _check(settings: Settings) -> None:
    """Raises a ValueError for settings that mean nothing."""
    for name in ("every", "delay"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{FIELD}.{name} must be at least 1, got {getattr(settings, name)}")
    if settings.by not in BY:
        raise ValueError(f"{FIELD}.by must be one of {', '.join(BY)}, got {settings.by!r}")
