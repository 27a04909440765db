"""The interface of Memory Warps to the rest of the package."""

import tensorflow as tf

from context_rcnn import configs
from context_rcnn.data.frames import FrameSampler
from context_rcnn.data.videos import Run
from context_rcnn.detectors import checkpoints
from context_rcnn.detectors.two_stage import TwoStageDetector
from context_rcnn.layers.flow_net import FlowNetS
from context_rcnn.models.memory_warps.gaps import build_stream
from context_rcnn.models.memory_warps.memory import FIELD, build_memory_warps, chains
from context_rcnn.models.streaming import Extract, Stream
from context_rcnn.models.temporal import TemporalModel


class MemoryWarpsModel(TemporalModel):
    """Maps that are moved along; evaluated frame by frame."""

    def build(self, model: configs.FasterRcnn, *, weight_decay: float = 0.0) -> TwoStageDetector:
        return build_memory_warps(model, self.settings, weight_decay=weight_decay)

    def training_frames(self, clip: configs.Clip, seed: int) -> FrameSampler:
        training = self.settings.training
        found = chains(self.settings.clocks, training.frames, training.stride)
        offsets = tuple(sorted({offset for chain in found.values() for offset in chain}))
        teaching = tuple(range(len(offsets))) if training.supervise == "all" else ()
        return Run(offsets, training.keyframes, teaching, seed)

    def evaluation_window(self, clip: configs.Clip) -> None:
        return None

    def start(self, detector: TwoStageDetector) -> None:
        load_flow_net(
            detector.map_memory.flow_net,
            self.settings.flow.init_checkpoint,
            f"{FIELD}.flow.init_checkpoint",
        )

    def stream(self, detector: TwoStageDetector, extract: Extract | None = None) -> Stream:
        return build_stream(detector, self.settings)


def load_flow_net(net: FlowNetS, checkpoint: str, field: str) -> None:
    """Takes the weights of a trained flow network, if one is named.

    Args:
        net: network to fill, with variables.
        checkpoint: checkpoint of an experiment of flow, or the folder of its run.
        field: the setting that names it, for messages.
    """
    if checkpoint:
        trained = tf.Module()
        trained.net = net
        checkpoints.restore(checkpoints.find_checkpoint(checkpoint, field), field, model=trained)
