"""One simulated video: what its frames show, and its optical flow."""

import dataclasses

import numpy as np
import pytest

from context_rcnn.simulation.bursts import LOOKS
from context_rcnn.simulation.film import PAIRS, Film
from context_rcnn.simulation.film import _carried as carried
from context_rcnn.simulation.settings import VideoSettings

SMALL = VideoSettings(seed=2, image_size=(128, 96), frames=24, cell=8.0)


def film(index=0, **settings):
    return Film(dataclasses.replace(SMALL, **settings), index)


def films(count, **settings):
    return [film(index, **settings) for index in range(count)]


def moved(flow):
    """Whole places `[height, width]` to which the flow leads: rows and columns."""
    rows, columns = np.mgrid[: flow.valid.shape[0], : flow.valid.shape[1]]
    to = np.rint(np.stack([rows, columns], -1) + flow.vectors[..., ::-1]).astype(int)
    return to[..., 0], to[..., 1]


def test_the_flow_of_an_empty_place_is_exact():
    moving = 0
    for one in films(6, pan=2.0, jitter=2.0, occluders=2):
        one._cast = []
        for a, b in ((0, 1), (3, 11), (11, 3), (20, 0)):
            flow = one.flow(a, b)
            rows, columns = moved(flow)
            inside = (rows >= 0) & (rows < 96) & (columns >= 0) & (columns < 128)
            np.testing.assert_array_equal(flow.valid, inside)
            there = one.albedo(b)[rows[inside], columns[inside]]
            np.testing.assert_array_equal(there, one.albedo(a)[inside])
            moving += np.abs(flow.vectors).max() > 8
    assert moving > 8  # by more than a cell


def test_the_flow_of_animals_is_that_of_their_pixels():
    agreeing = []
    for one in films(8, still_fraction=1.0, clear_fraction=1.0, never_fraction=0.0, never_shown=(),
                     rare_poses=(), blur_fraction=0.0, occluders=0):  # fmt: skip
        for a in range(0, 20, 3):
            flow = one.flow(a, a + 1)
            owners = one._draw(a).owners()
            rows, columns = moved(flow)
            on = (owners >= 0) & flow.valid
            there = one.albedo(a + 1)[rows[on], columns[on]]
            agreeing.append(np.abs(there - one.albedo(a)[on]).max(axis=1) < 0.08)
    share = np.concatenate(agreeing).mean()
    assert np.concatenate(agreeing).size > 5000
    assert share > 0.85  # the rest are swinging legs, and edges when the animal grows


def test_valid_flow_leads_back_to_where_it_came_from():
    """Depth and occlusion: a pixel that something covers in the other frame has no way back."""
    left_out = 0
    for one in films(8, animals=4, crossing_fraction=1.0):
        for a, b in ((2, 5), (8, 16), (20, 12)):
            there, back = one.flow(a, b), one.flow(b, a)
            rows, columns = moved(there)
            valid = there.valid
            returned = back.vectors[rows[valid], columns[valid]] + there.vectors[valid]
            assert np.abs(returned).max() < 1.5  # a pixel, and growth of an animal
            inside = (rows >= 0) & (rows < 96) & (columns >= 0) & (columns < 128)
            left_out += (inside & ~valid).sum()
    assert left_out > 1000


def test_animals_of_one_video_may_all_be_of_one_species():
    casts = [[member.species for member in one._cast]
             for one in films(12, animals=4, crossing_fraction=0.0, one_species=1.0)]  # fmt: skip
    assert all(len(set(cast)) == 1 for cast in casts)
    assert len({cast[0] for cast in casts}) > 3 and max(map(len, casts)) > 2


def test_points_of_an_animal_that_grows_move_apart():
    # A drawing 4 wide and 8 high at (10, 20) becomes one of twice the size at (30, 40).
    x, y = carried(np.array([10.0, 13.0]), np.array([20.0, 27.0]), (10, 20, 4, 8), (30, 40, 8, 16))
    np.testing.assert_allclose(x, [30.5, 36.5])
    np.testing.assert_allclose(y, [40.5, 54.5])


def test_an_animal_that_turns_shows_its_other_side():
    checked = 0
    for one in films(6, animals=1, occluders=0, still_fraction=1.0):
        (member,) = one._cast
        still = dataclasses.replace(
            member.path,
            columns=np.zeros(24),
            velocities=np.where(np.arange(24) < 12, 1.0, -1.0),
            swelling=np.ones(24),
        )
        one._cast = [dataclasses.replace(member, path=still, looks=["plain"] * 24, pace=0.0)]
        animal = one._draw(11).owners() == 0
        if animal.sum() > 50:
            assert one.flow(10, 11).valid[animal].all()
            assert not one.flow(11, 12).valid[animal].any()
            checked += 1
    assert checked >= 3


def test_a_camera_may_stand_still():
    for one in films(4, still_fraction=1.0):
        assert not one._camera[1:].tolist() or np.ptp(one._camera, axis=0).max() == 0


def test_look_alikes_are_equal_where_they_hide_and_differ_where_they_show():
    seen = set()
    for one in films(24, animals=1, frames=40):
        (member,) = one._cast
        (pair,) = [pair for pair in PAIRS if member.species in pair]
        other = film(one._index, animals=1, frames=40)
        twin = pair[1 - pair.index(member.species)]
        other._cast = [dataclasses.replace(member, species=twin)]
        for number in range(0, 40, 5):
            shot, swapped = one.shot(number), other.shot(number)
            if not shot.animals:
                continue
            same = np.array_equal(shot.image, swapped.image)
            look = shot.animals[0].look
            assert same == (look not in ("clear", "partial"))
            assert shot.animals[0].shows == (look == "clear")
            seen.add(look)
    assert seen >= {"clear", "plain", "blur", "faint", "defocus", "head_on", "picture_defocus"}


def test_classes_that_never_show_themselves_never_do():
    looks = [
        (animal.species, animal.look)
        for one in films(30, frames=10)
        for number in range(0, 10, 3)
        for animal in one.shot(number).animals
    ]
    deer = [look for species, look in looks if species in SMALL.never_shown]
    rare = [look for species, look in looks if species in SMALL.rare_poses]
    assert len(deer) > 10 and not {"clear", "partial"} & set(deer)
    assert len(rare) > 10
    assert {look.partition("_")[0] for look in rare} <= {"clear", "partial", "head", "picture"}
    assert rare.count("head_on") > len(rare) / 2
    others = [look for species, look in looks if species in ("zebra", "wild_ass")]
    assert "clear" in others


def test_hard_ends_show_nothing():
    for one in films(6, frames=20, hard_ends=5, clear_fraction=0.9, never_fraction=0.0):
        shows = [any(a.shows for a in one.shot(n).animals) for n in range(20)]
        assert not any(shows[:5] + shows[-5:])


def test_look_alikes_cross():
    crossed = 0
    for one in films(10, crossing_fraction=1.0, animals=2, frames=60, static_fraction=0.0):
        first, second = one._cast
        assert (first.species, second.species) in [*PAIRS, *(pair[::-1] for pair in PAIRS)]
        apart = first.path.columns - second.path.columns
        crossed += apart.min() < 0 < apart.max()
    assert crossed == 10


def test_a_hidden_outline_stands_out_less():
    """Contrast with the background inside the box, with and without the animal."""
    found = {look: [] for look in ("plain", "faint", "defocus")}
    for one in films(5, animals=1, occluders=0, blur_fraction=0.0):
        (member,) = one._cast
        for look, strengths in found.items():
            one._cast = []
            one._kept.clear()
            empty = one.albedo(6)
            one._cast = [dataclasses.replace(member, looks=[look] * one.frames)]
            one._kept.clear()
            for animal in one.shot(6).animals:
                x, y, w, h = animal.box
                change = np.abs(one.albedo(6) - empty).max(axis=2)[y : y + h, x : x + w]
                strengths.append(np.abs(np.diff(change, axis=1)).max())
    mean = {look: np.mean(strengths) for look, strengths in found.items()}
    assert mean["faint"] < 0.4 * mean["plain"] and mean["defocus"] < 0.4 * mean["plain"]


def test_the_box_of_a_dissolved_animal_is_that_of_its_sharp_outline():
    compared = 0
    for one in films(5, animals=1, occluders=0, blur_fraction=0.0):
        (member,) = one._cast
        boxes = []
        for look in ("plain", "faint", "defocus"):
            one._cast = [dataclasses.replace(member, looks=[look] * one.frames)]
            one._kept.clear()
            boxes.append([animal.box for animal in one.shot(6).animals])
        assert boxes[0] == boxes[1]
        if boxes[0] and boxes[2]:
            # Half a pixel of rounding where the dissolved picture is larger by an odd number.
            assert np.abs(np.subtract(boxes[0], boxes[2])).max() <= 1
            compared += 1
    assert compared >= 3


def test_frames_beyond_the_end_are_refused():
    with pytest.raises(ValueError, match="frame 24 of a video of 24 frames"):
        film().shot(24)


def test_every_look_has_a_name_that_is_drawn():
    assert {"clear", "plain", "blur", "camouflage", "faint", "defocus", "head_on"} <= set(LOOKS)
