"""Settings of the baseline "ST Spatial" (`models.st_spatial`)."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class StSpatial(hyperparams.Config):
    """Box features averaged with those in the same place of nearby frames.

    Attributes:
        window: number of frames that are averaged, with the keyframe in the middle. In training,
            clips must be at least as long.
        decay: base of the weights: a frame weighs decay ** (its distance from the keyframe in
            frames). 1 is the plain mean, 0 the single-frame detector.
    """

    window: int = 3
    decay: float = 0.5


SETTINGS = StSpatial
