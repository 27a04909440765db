"""What a memory's coefficients say of where it comes from, by hand."""

import numpy as np

from benchmarks import alignment


def test_mean_and_spread_by_hand():
    shares, flow = np.zeros((1, 3, 9)), np.zeros((1, 3, 2))
    shares[0, 0, 5] = 1.0  # the cell to the right
    flow[0, 0] = [0, 1]
    shares[0, 1] = 1 / 9  # all cells
    flow[0, 1] = [3, 4]
    shares[0, 2, [1, 7]] = 0.5  # above and below
    motion, off, spread = alignment.compared(shares, flow)
    np.testing.assert_allclose(motion, [[1, 5, 0]])
    np.testing.assert_allclose(off, [[0, 5, 0]], atol=1e-12)
    np.testing.assert_allclose(spread, [[0, np.sqrt(2 / 3 * 2), 1]], atol=1e-12)


def test_the_table_goes_by_motion():
    lines = alignment.as_table(np.array([[0.1, 0.5, 1.0], [3.0, 2.0, 1.0], [4.0, 1.0, 2.0]]))
    assert "| 0 to 0.25 | 1 | 0.10 | 0.50 | 1.00 |" in lines
    assert "| 0.25 to 0.5 | 0 | - | - | - |" in lines
    assert "| above 2 | 2 | 3.50 | 1.50 | 1.50 |" in lines
