"""The interface of MEGA to the rest of the package."""

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.data.frames import FrameSampler
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.models.mega.aggregation import build_mega, training_clips
from context_rcnn.models.mega.stream import MegaStream, build_mega_stream
from context_rcnn.models.streaming import Extract
from context_rcnn.models.temporal import TemporalModel


class MegaModel(TemporalModel):
    """Boxes of a keyframe, related to those of other frames; evaluated frame by frame."""

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        return build_mega(model, self.settings, weight_decay=weight_decay)

    def training_frames(self, clip: configs.Clip, seed: int) -> FrameSampler:
        return training_clips(self.settings, seed)

    def evaluation_window(self, clip: configs.Clip) -> None:
        return None

    def memory_spec(self, frames: int) -> dict[str, tf.TensorSpec]:
        numbers = tf.TensorSpec([None, frames], tf.int32)
        return super().memory_spec(frames) | {"clip_frames": numbers}

    def stream(self, detector: TwoStageDetector, extract: Extract | None = None) -> MegaStream:
        return build_mega_stream(detector, self.settings)

    def attending_stream(self, detector: TwoStageDetector, top: int) -> MegaStream:
        return build_mega_stream(detector, self.settings, attending=top)


MODEL = MegaModel
