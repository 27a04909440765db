"""Grouped convolutions against a loop."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.layers.grouped_convolution import GroupedConv2D


def loop(x, kernel, bias, groups, stride, rate):
    """NumPy, tap by tap; `x` [height, width, channels], `kernel` [3, 3, channels / groups, out]."""
    height, width, channels = x.shape
    of_group, out = channels // groups, kernel.shape[3]
    sides = [-(-side // stride) for side in (height, width)]
    # As "same" pads: what is too much goes to the end.
    pads = [
        max((n - 1) * stride + 2 * rate + 1 - side, 0) // 2
        for n, side in zip(sides, (height, width), strict=True)
    ]
    y = np.zeros([*sides, out])
    for i, j, o in np.ndindex(*y.shape):
        group = o // (out // groups)
        for a, b in np.ndindex(3, 3):
            row, column = i * stride + a * rate - pads[0], j * stride + b * rate - pads[1]
            if 0 <= row < height and 0 <= column < width:
                seen = x[row, column, group * of_group : (group + 1) * of_group]
                y[i, j, o] += seen @ kernel[a, b, :, o]
    return np.maximum(y + bias, 0)


@pytest.mark.parametrize("stride, rate", [(1, 1), (2, 1), (1, 2)])
def test_groups_do_not_see_each_other(stride, rate):
    tf.random.set_seed(1)
    layer = GroupedConv2D(8, 3, stride, "same", dilation_rate=rate, groups=4, activation="relu")
    x = tf.random.stateless_normal([1, 5, 7, 12], [1, 2])
    layer.build(x.shape)
    layer.bias.assign(tf.range(8.0) / 10.0)
    found = layer(x)
    kernel, bias = layer.get_weights()
    assert kernel.shape == (3, 3, 3, 8)
    expected = loop(x[0].numpy(), kernel, bias, 4, stride, rate)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5)
