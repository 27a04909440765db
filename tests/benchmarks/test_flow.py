"""What flows are compared with has the same direction and units."""

import types

import numpy as np

from benchmarks.flow import as_table, cells_of, dis_flow
from benchmarks.true_flow import remembered, true_flows


def test_a_cell_is_the_mean_of_its_pixels():
    flow = np.zeros((16, 24, 2), np.float32)
    flow[8:, 16:] = (8.0, -4.0)
    flow[8, 16] += 64.0
    expected = np.zeros((2, 3, 2))
    expected[1, 2] = (1.0 + 1 / 8, -0.5 + 1 / 8)
    np.testing.assert_allclose(cells_of(flow, (2, 3)), expected, rtol=1e-6)


def test_dis_flow_leads_from_now_to_before_in_rows_and_columns():
    rng = np.random.default_rng(1)
    wide = rng.uniform(size=(12, 16, 3)).repeat(8, 0).repeat(8, 1).astype(np.float32)
    now, before = wide[8:72, 8:104], wide[5:69, 10:106]  # what is here was 3 down, 2 to the left
    found = np.median(dis_flow(now, before)[16:-16, 16:-16], axis=(0, 1))
    np.testing.assert_allclose(found, [3, -2], atol=0.5)


def test_true_flow_leads_to_the_frame_of_each_memory():
    class Film:
        def flow(self, number, other):
            vectors = np.full((32, 64, 2), (16.0, 8.0 * (number - other)))
            return types.SimpleNamespace(vectors=vectors)

    for schedule, t, back in (("hold", 6, (1, 2)), ("hold", 4, (1, 4)), ("interleaved", 6, (1, 4))):
        memory = types.SimpleNamespace(schedule=schedule, clocks=(1, 4))
        temporal = types.SimpleNamespace(type="memory_warps", memory_warps=memory)
        found = true_flows(Film(), t, remembered(t, temporal), (2, 4, 7))
        np.testing.assert_allclose(found[:, 0, 0], [(0.5 * n, 1.0) for n in back])
        assert not true_flows(Film(), 0, remembered(0, temporal), (2, 4, 7)).any()


def test_an_fgfa_remembers_the_frames_of_its_window_oldest_first():
    temporal = types.SimpleNamespace(type="fgfa", fgfa=types.SimpleNamespace(before=3))
    assert remembered(7, temporal) == [4, 5, 6]
    assert remembered(1, temporal) == [-2, -1, 0]


def test_errors_are_shown_by_motion():
    errors = {"motion": np.array([0.1, 2.0]), "no flow": np.array([0.1, 2.0])}
    assert as_table(errors).splitlines()[2:] == [
        "| 0 to 0.25 | 1 | 0.100 |",
        "| 0.25 to 1 | 0 | - |",
        "| above 1 | 1 | 2.000 |",
        "| all | 2 | 1.050 |",
    ]
