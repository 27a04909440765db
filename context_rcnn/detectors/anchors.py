"""Anchor boxes: the fixed grid of reference boxes that the first stage refines."""

from collections.abc import Sequence

import tensorflow as tf
from official.vision.ops import anchor_generator


def make_anchors(
    image_size: Sequence[int],
    *,
    levels: Sequence[int],
    sizes: Sequence[float],
    scales: Sequence[float],
    aspect_ratios: Sequence[float],
    centre: float = 0.5,
) -> dict[str, tf.Tensor]:
    """Returns anchors [rows, columns, anchors * 4] per level, as y1, x1, y2, x2 in pixels.

    Args:
        image_size: height and width of the (padded) image.
        levels: the feature levels; level l has stride 2**l.
        sizes: side of the square anchor at scale 1, one a level.
        scales: multiples of the size, e.g. .25, .5, 1, 2.
        aspect_ratios: width over height.
        centre: place of an anchor in its cell: .5 is the middle and 0 the upper left corner.
    """
    if len(sizes) != len(levels):
        raise ValueError(
            f"anchors need one size a level, got sizes {list(sizes)} for levels {levels}"
        )
    for level in levels:
        if any(side % 2**level for side in image_size):
            raise ValueError(
                f"image size {tuple(image_size)} is not a multiple of {2**level}, the stride of "
                f"feature level {level}"
            )
    generator = anchor_generator.AnchorGeneratorv1(
        anchor_sizes={str(level): size for level, size in zip(levels, sizes, strict=True)},
        scales={str(level): list(scales) for level in levels},
        aspect_ratios={str(level): list(aspect_ratios) for level in levels},
        strides={str(level): 2**level for level in levels},
    )
    shifts = {level: (centre - 0.5) * 2 ** int(level) for level in map(str, levels)}
    return {level: anchors + shifts[level] for level, anchors in generator(image_size).items()}


def flatten_anchors(anchors: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the anchors of all levels, finest first, as one [anchors, 4] tensor."""
    return tf.concat([tf.reshape(anchors[level], [-1, 4]) for level in sorted(anchors)], axis=0)
