"""Paths of cameras and animals, and spells of hiding."""

import numpy as np
import pytest

from context_rcnn.simulation.canvas import generator
from context_rcnn.simulation.looks import animal_looks, picture_looks, spells
from context_rcnn.simulation.motion import animal_path, camera_path, mirrored
from context_rcnn.simulation.settings import VideoSettings

SETTINGS = VideoSettings(static_fraction=0.0, still_fraction=0.0)


def paths(count=40, frames=120, settings=SETTINGS):
    return [animal_path(generator(1, k), frames, settings) for k in range(count)]


def test_animals_move_with_inertia():
    """Accelerations are constant for stretches of 12 frames and more."""
    for path in paths():
        changes = np.diff(path.velocities)
        joints = 1 + np.flatnonzero(np.abs(np.diff(changes)) > 1e-9 * np.abs(changes).max())
        between = np.diff(np.concatenate([[0], joints]))
        assert np.all(between >= 12)
        np.testing.assert_allclose(
            np.diff(path.columns), (path.velocities[1:] + path.velocities[:-1]) / 2, atol=1e-9
        )


def test_some_stretches_are_steady_some_speed_up_and_some_turn():
    changes = np.concatenate([np.diff(path.velocities) for path in paths()])
    turns = sum((np.diff(np.sign(path.velocities)) != 0).sum() for path in paths())
    assert 0.15 < np.mean(np.abs(changes) < 1e-12) < 0.8 and turns > 40


def test_speeds_are_within_what_was_asked_and_reach_both_ends():
    speeds = np.concatenate([np.abs(path.velocities[:1]) for path in paths(300)]) / 16
    assert 0.2 <= speeds.min() < 0.25 and 1.7 < speeds.max() <= 2.0
    everywhere = np.concatenate([np.abs(path.velocities) for path in paths(100)]) / 16
    assert everywhere.max() <= 2.0 + 1e-9


def test_animals_stay_about_the_middle():
    columns = np.concatenate([path.columns for path in paths(100)])
    assert np.abs(columns).max() < 2 * 256 and np.mean(np.abs(columns) < 128) > 0.7


def test_static_animals_do_not_move():
    for path in paths(10, settings=VideoSettings(static_fraction=1.0)):
        assert np.ptp(path.columns) == 0 and np.ptp(path.swelling) == 0
        assert set(path.directions) in ({1}, {-1})


def test_animals_face_where_they_go():
    for path in paths(10):
        moving = np.abs(path.velocities) > 1e-6
        np.testing.assert_array_equal(path.directions[moving], np.sign(path.velocities[moving]))


def test_one_that_mirrors_another_meets_it_in_the_middle():
    for path in paths(20, frames=60):
        other = mirrored(path, 30)
        apart = path.columns - other.columns
        meeting = np.argmin(np.abs(apart))
        assert abs(apart[meeting]) < 1e-9 and abs(path.velocities[meeting]) > 0
        assert apart.min() < 0 < apart.max()
        moving = np.abs(path.velocities) > 1e-6
        np.testing.assert_array_equal(other.directions[moving], -path.directions[moving])


@pytest.mark.parametrize("pan, jitter", [(2.0, 0.0), (0.0, 2.0), (1.5, 1.25)])
def test_cameras_pan_and_shake_by_more_than_a_cell(pan, jitter):
    settings = VideoSettings(still_fraction=0.0, pan=pan, jitter=jitter)
    steps = [np.diff(camera_path(generator(2, k), 100, settings), axis=0) for k in range(60)]
    largest = np.array([np.abs(step).max(axis=0) for step in steps])
    most = 16 * np.array([pan + jitter, jitter])
    assert (largest <= most + 1).all()  # a pixel of rounding
    assert np.mean(largest[:, 0] > 16) > 0.2
    assert (largest[:, 1] > 0).any() == (jitter > 0)
    assert (largest.max(axis=0) >= 0.75 * most).all()


@pytest.mark.parametrize("scale, first, last", [("flicker", 1, 2), ("short", 4, 8),
                                                ("long", 12, 24)])  # fmt: skip
def test_spells_last_as_long_as_their_scale(scale, first, last):
    shares, lengths = [], []
    for k in range(60):
        hidden = spells(generator(3, k), 300, 0.35, scale, SETTINGS)
        shares.append(np.mean(hidden == 0))
        numbers = hidden[(hidden > 0) & (hidden != hidden[0]) & (hidden != hidden[-1])]
        lengths += np.unique(numbers, return_counts=True)[1].tolist()
        assert np.all(np.diff(np.flatnonzero(np.diff(hidden))) > 0)
    assert min(lengths) == first and max(lengths) == last
    # A flicker leaves at least a frame between two spells, so it shows more than asked.
    assert np.mean(shares) == pytest.approx(0.42 if scale == "flicker" else 0.36, abs=0.03)


def test_mixed_spells_have_all_lengths():
    hidden = spells(generator(3, 0), 3000, 0.35, "mixed", SETTINGS)
    lengths = set(np.unique(hidden[hidden > 0], return_counts=True)[1])
    assert {1, 2, 4, 8} <= lengths and max(lengths) > 12


def test_one_look_lasts_for_a_spell_and_outlines_are_hidden_as_often_as_asked():
    dissolved = []
    for k in range(200):
        looks = animal_looks(generator(4, k), 60, "zebra", SETTINGS)
        runs = [looks[0]] + [b for a, b in zip(looks, looks[1:], strict=False) if a != b]
        dissolved += [run in ("faint", "defocus") for run in runs if run != "clear"]
    assert np.mean(dissolved) == pytest.approx(0.3, abs=0.04)


def test_a_share_of_animals_never_shows_itself():
    settings = VideoSettings(never_fraction=0.4, scales=("flicker",))
    never = ["clear" not in animal_looks(generator(5, k), 60, "zebra", settings)
             for k in range(300)]  # fmt: skip
    assert np.mean(never) == pytest.approx(0.4, abs=0.08)


def test_pictures_are_spoilt_for_the_share_that_was_asked():
    settings = VideoSettings(blur_fraction=0.2)
    looks = [look for k in range(100) for look in picture_looks(generator(6, k), 60, settings)]
    assert set(looks) == {"", "defocus", "glare"}
    assert np.mean([look != "" for look in looks]) == pytest.approx(0.2, abs=0.04)
    unspoilt = picture_looks(generator(6, 0), 60, VideoSettings(blur_fraction=0.0))
    assert set(unspoilt) == {""}
