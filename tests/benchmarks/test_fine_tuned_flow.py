"""How flow of animals is measured, by hand."""

import numpy as np
import pytest

from benchmarks import fine_tuned_flow as measured


def test_the_middle_of_a_box_is_cells_whose_centres_are_in_it():
    cells = measured.middle_of((8, 0, 40, 32), sides=(48, 64), size=(6, 8))
    # .6 of 40 pixels around 28: 16 to 40; of 32 around 16: 6.4 to 25.6; centres at 4, 12, 20, ...
    expected = np.zeros((6, 8), bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(cells, expected)


def test_an_animal_of_one_piece_is_not_apart_and_its_mean_is_what_is_off():
    cells = np.zeros((4, 4), bool)
    cells[:2, :2] = True
    true = np.where(cells[..., None], (0.0, 2.0), 0.0)
    before = true.copy()
    before[0, 0], before[0, 1] = (0.0, 0.0), (0.0, 4.0)  # two legs; the mean is right
    after = true + np.array([3.0, 4.0])
    (row,) = measured.measure({"before": before, "after": after, "true flow": true}, [cells])
    assert row == pytest.approx(
        {
            "apart, before": np.sqrt(2),
            "off, before": 0,
            "ground off, before": 0,
            "apart, after": 0,
            "off, after": 5,
            "ground off, after": 5,
            "apart, true flow": 0,
            "off, true flow": 0,
            "ground off, true flow": 0,
        }
    )
    few = np.zeros((4, 4), bool)
    few[0, 0] = True
    assert measured.measure({"true flow": true}, [few]) == []
    assert measured.measure({"true flow": true}, []) == []


def test_a_hue_is_a_direction_and_colour_is_speed():
    right, still = np.array([[[0.0, 2.0]]]), np.zeros((1, 1, 2))
    found = measured.coloured([right, still])
    np.testing.assert_allclose(found[0][0, 0], (1, 0, 0))
    np.testing.assert_allclose(found[1][0, 0], (1, 1, 1))
    assert measured.coloured([still])[0].tolist() == [[[1.0, 1.0, 1.0]]]


def test_examples_are_drawn(tmp_path):
    image = np.zeros((4, 4, 3))
    measured.draw([[image] * 5], tmp_path / "flow.png")
    measured.draw([], tmp_path / "empty.png")
    assert (tmp_path / "flow.png").read_bytes()[:4] == b"\x89PNG"


def test_the_table_has_means_over_animals():
    keys = ("apart", "off", "ground off")
    rows = [{f"{key}, {way}": value for key in keys for way in measured.WAYS} for value in (1, 2)]
    assert (
        measured.as_table(rows).splitlines()[2]
        == "| cells of an animal apart | 1.500 | 1.500 | 1.500 |"
    )
