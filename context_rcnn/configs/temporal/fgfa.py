"""Settings of FGFA (`models.fgfa`), and its experiments."""

import dataclasses

from official.modeling import hyperparams

from context_rcnn import configs
from context_rcnn.configs import experiments
from context_rcnn.configs.temporal import memory_warps


@dataclasses.dataclass
class FgfaTraining(hyperparams.Config):
    """The frames that a keyframe is learned with.

    Attributes:
        frames: number of frames besides the keyframe.
        first, last: the earliest and the latest of them, relative to the keyframe.
        include_keyframe: whether the keyframe's own features take part, as they do in evaluation.
        keyframes: largest number of keyframes per video in one pass over the data, evenly spaced.
    """

    frames: int = 2
    first: int = -9
    last: int = 9
    include_keyframe: bool = False
    keyframes: int = 15


@dataclasses.dataclass
class Fgfa(hyperparams.Config):
    """Maps of a window of frames, moved to its keyframe and averaged.

    Attributes:
        before: number of frames before the keyframe.
        after: number of frames after it, by which detections are late.
        accumulate_flow: whether the flow to an earlier frame is put together from those of single
            steps: one flow network pass per frame instead of one for each frame of the window; only
            without frames that come later.
        embedding: channels of the three layers whose cosines decide what a frame weighs.
        border: what is beyond the edge of a map: `zero` or `clamp`.
        flow: the flow network.
        training: frames used in training.
    """

    before: int = 9
    after: int = 9
    accumulate_flow: bool = False
    embedding: list[int] = dataclasses.field(default_factory=lambda: [512, 512, 2048])
    border: str = "zero"
    flow: memory_warps.DetectorFlow = dataclasses.field(default_factory=memory_warps.DetectorFlow)
    training: FgfaTraining = dataclasses.field(default_factory=FgfaTraining)


SETTINGS = Fgfa


@experiments.register("fgfa_rfcn")
def fgfa_rfcn() -> configs.Experiment:
    """FGFA on R-FCN, trained as Memory Warps says it is: two epochs, four keyframes a step."""
    experiment = memory_warps.memnet_rfcn()
    experiment.task.temporal.type = "fgfa"
    return experiment


@experiments.register("fgfa_tiny")
def fgfa_tiny() -> configs.Experiment:
    """A toy FGFA for simulated videos, trained on a laptop."""
    experiment = memory_warps.memnet_tiny()
    experiment.task.temporal.type = "fgfa"
    fgfa = experiment.task.temporal.fgfa
    fgfa.before = fgfa.after = 4
    fgfa.embedding = [48, 48, 96]
    fgfa.flow.width, fgfa.flow.levels, fgfa.flow.rate = 0.25, 5, 0.1
    fgfa.training.first, fgfa.training.last = -4, 4
    return experiment
