"""Settings of the baseline "ST Spatial" (`models.st_spatial`)."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class StSpatial(hyperparams.Config):
    """Box features averaged with those in the same place of nearby frames.

    Attributes:
        window: frames that are averaged, the keyframe in their middle. In training, clips must be
            as long at least.
        decay: a frame weighs decay ** (its distance from the keyframe in frames): 1 is the plain
            mean, 0 the single-frame detector.
    """

    window: int = 3
    decay: float = 0.5


SETTINGS = StSpatial
