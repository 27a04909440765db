"""How close two computations of the same values have to be.

The same program on the same shapes gives the same bits, and `assert_same_bits` holds it to that.
Anything else (another batch size, a compiled program, NumPy in place of TensorFlow, the same maths
in another graph) adds its terms in another order, which differs from processor to processor. A
float32 carries 1.2e-7 of its size, a sum of n terms loses up to n of that, and a deep network
multiplies what its first layers lose. `python -m tests.kernels` shows how much it is.
"""

from collections.abc import Mapping

import numpy as np

PIXELS = 2e-3
"""Of corners of boxes in images of at most 128 pixels: 130 float32 steps of the largest."""
SCORES = 1e-4
"""Of probabilities that a tiny network concludes from its logits."""
LOGITS = 1e-3
"""Of what a tiny network concludes, as a share of its largest value."""
FLOAT = 1e-6
"""Of a few float32 operations, relative."""


def assert_same_bits(found: Mapping, expected: Mapping) -> None:
    """The same names, and the same values to the last bit; NaN is like NaN."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def assert_close(found, expected, share: float = LOGITS, err_msg: str = "") -> None:
    """Apart by at most a share of the largest expected value."""
    expected = np.asarray(expected)
    apart = share * np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=apart, err_msg=err_msg)


def assert_detections_close(found: Mapping, expected: Mapping) -> None:
    """Boxes to `PIXELS`, other floats to `SCORES`; integers and truths as they are."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        if np.asarray(value).dtype.kind != "f":
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            apart = PIXELS if "boxes" in name else SCORES
            np.testing.assert_allclose(found[name], value, rtol=0, atol=apart, err_msg=name)
