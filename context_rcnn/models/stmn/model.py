"""The interface of STMN to the rest of the package."""

from collections.abc import Mapping

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.data.frames import FrameSampler
from context_rcnn.data.ordered_clips import OrderedClips
from context_rcnn.detectors import checkpoints
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.models.stmn.memory import LEVEL, build_stmn, cells_inside
from context_rcnn.models.stmn.stream import StmnStream, build_stmn_stream
from context_rcnn.models.streaming import Extract
from context_rcnn.models.temporal import TemporalModel

SWAPPED = "model/neck/swapped"
"""The convolution that becomes the memory, in checkpoints of still-image detectors."""


class StmnModel(TemporalModel):
    """A memory of maps in the place of a convolution; evaluated frame by frame."""

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        return build_stmn(model, self.settings, weight_decay=weight_decay)

    def training_frames(self, clip: configs.Clip, seed: int) -> FrameSampler:
        training = self.settings.training
        return OrderedClips(
            training.frames,
            training.stride,
            training.sequences,
            sampling=training.sampling,
            stills=training.stills,
            seed=seed,
            field="task.temporal.stmn.training",
        )

    def evaluation_window(self, clip: configs.Clip) -> None:
        return None

    def warm_start(self, detector: TwoStageDetector, checkpoint: str, field: str) -> None:
        """Takes the weights of a still-image detector with the same neck.

        The memory takes those of the convolution whose place it has.
        """
        new = list(detector.map_memory.variables)
        if self.settings.fresh_head:
            new += [*detector.box_head.variables, *detector.box_predictor.variables]
        fresh = [variable.numpy() for variable in new]
        kernel, bias = (
            checkpoints.read_variable(checkpoint, f"{SWAPPED}/{part}", field)
            for part in ("kernel", "bias")
        )
        checkpoints.restore(checkpoint, field, new=new, model=detector)
        for variable, value in zip(new, fresh, strict=True):
            variable.assign(value)
        try:
            detector.map_memory.start_from(kernel, bias)
        except ValueError as error:
            raise ValueError(f"{field}: {checkpoint}: {SWAPPED}: {error}") from None

    def memory_maps(
        self,
        detector: TwoStageDetector,
        images: tf.Tensor,
        shapes: tf.Tensor,
        memory: Mapping[str, tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        """Figure 4: the length of the forward memory's cells, as it is and never moved along."""
        heard: dict[str, tf.Tensor] = {}

        def listen(maps, **given):
            heard.update(maps)
            return maps

        detector.look(images, shapes, memory, training=False, port=listen)
        there, features = memory["clip_valid"], heard[LEVEL]
        size = [-1, there.shape[1]]
        inside = cells_inside(shapes, images.shape[1:3], features.shape[1:3])
        clips, inside = (tf.reshape(x, [*size, *x.shape[1:]]) for x in (features, inside))
        maps = {}
        for name, still in (("aligned", False), ("not aligned", True)):
            memories = detector.map_memory.forward(clips, there, inside, still=still)
            lengths = tf.norm(tf.cast(memories, tf.float32), axis=-1)
            maps[name] = tf.reshape(lengths, [-1, *lengths.shape[2:]])
        return maps

    def stream(self, detector: TwoStageDetector, extract: Extract | None = None) -> StmnStream:
        return build_stmn_stream(detector, self.settings)


MODEL = StmnModel
