"""Settings of the baseline S3D (`models.s3d`)."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class S3d(hyperparams.Config):
    """Separable 3D convolutions over nearby frames, on the maps (`c4` only).

    Attributes:
        window: number of frames that are convolved, with the keyframe in the middle. In training,
            clips must be at least as long.
        blocks: number of Inception blocks, one after the other.
        gating: whether channels are weighted after each convolution in time, as in S3D-G.
    """

    window: int = 3
    blocks: int = 2
    gating: bool = False


SETTINGS = S3d
