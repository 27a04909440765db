"""Settings of the baseline S3D (`models.s3d`)."""

import dataclasses

from official.modeling import hyperparams


@dataclasses.dataclass
class S3d(hyperparams.Config):
    """Separable 3D convolutions over nearby frames, on the maps (`c4` only).

    Attributes:
        window: frames that are convolved, the keyframe in their middle. In training, clips must be
            as long at least.
        blocks: Inception blocks, one after the other.
        gating: weight the channels after each convolution in time, as S3D-G does.
    """

    window: int = 3
    blocks: int = 2
    gating: bool = False


SETTINGS = S3d
