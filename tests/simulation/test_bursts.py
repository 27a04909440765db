"""The frames of one camera trap and the truth about them."""

import dataclasses
import datetime

import numpy as np
import pytest
from PIL import Image

from context_rcnn.simulation import bursts
from context_rcnn.simulation.bursts import CameraTrap
from context_rcnn.simulation.habits import Trigger, plan_network
from context_rcnn.simulation.scenes import Mount, View
from context_rcnn.simulation.settings import CameraTrapSettings
from context_rcnn.simulation.species import lookalike
from context_rcnn.simulation.sprites import animal_sprite

LIFE = dict(days=14, image_size=(160, 120))
NOON = 12 * 3600


def network(seed=5):
    return plan_network(CameraTrapSettings(seed=seed, cameras=8, days=14))


@pytest.fixture(scope="module")
def camera() -> CameraTrap:
    return CameraTrap(5, network()[0], **LIFE)


def visits(camera, *difficulties):
    return [t for t in camera.triggers if t.visit and t.visit.difficulty in difficulties]


def box_by_hand(mask):
    pixels = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    left, top = min(x for x, _ in pixels), min(y for _, y in pixels)
    right, bottom = max(x for x, _ in pixels), max(y for _, y in pixels)
    return left, top, right - left + 1, bottom - top + 1


def test_written_boxes_are_tight_around_the_visible_pixels(study, camera):
    start = datetime.datetime(2019, 5, 1)
    boxes = study.boxes()
    by_time = {i["datetime"]: i["id"] for i in study.labels["images"] if i["location"] == "cam_00"}
    compared = 0
    for trigger in [t for t in camera.triggers if t.visit][::3]:
        for frame in camera.frames(trigger):
            time = start + datetime.timedelta(seconds=frame.second)
            written = [tuple(box["bbox"]) for box in boxes[by_time[str(time)]]]
            assert written == [box_by_hand(animal.mask) for animal in frame.animals]
            compared += len(written)
    assert compared > 20


def test_masks_are_where_the_picture_changes(camera, monkeypatch):
    """The same frame without its animals, noise and all, tells where they really are."""
    monkeypatch.setattr(bursts, "_shade_ground", lambda *_: None)
    alone = [t for t in visits(camera, "clear") if t.visit.count == 1]
    assert len(alone) >= 3
    for trigger in alone:
        shown = next(camera.frames(trigger))
        with monkeypatch.context() as patch:
            patch.setattr(bursts._Walk, "actors", lambda *_: [])
            bare = next(camera.frames(trigger))
        changed = np.abs(shown.image.astype(int) - bare.image).max(axis=2) > 3
        x, y, w, h = box_by_hand(changed)
        left, top, width, height = shown.animals[0].box
        corners = np.array((x, y, x + w, y + h))
        assert np.abs(corners - (left, top, left + width, top + height)).max() <= 2


def test_nearer_animals_take_pixels_from_farther_ones(camera):
    for trigger in camera.triggers:
        if trigger.visit and trigger.visit.count > 1:
            for frame in camera.frames(trigger):
                owners = sum((a.mask.astype(int) for a in frame.animals), np.zeros((120, 160)))
                assert owners.max() <= 1


def test_things_in_front_hide_animals(camera):
    view = camera.views[0][1]
    nearest = max(camera.scene.props, key=lambda prop: prop.foot)
    assert view.occlusion(nearest.foot + 1) is None
    hidden = view.occlusion(nearest.foot - 1)
    inner = np.s_[camera.scene.margin : -camera.scene.margin]
    assert np.allclose(hidden, nearest.alpha[inner, inner] / 255, atol=0.01)


@pytest.mark.parametrize("difficulty", ["far", "night", "blur", "camouflage", "cropped"])
def test_look_alikes_are_equal_where_ambiguous_and_differ_where_clear(difficulty):
    def swapped(trigger):
        other = lookalike(trigger.visit.species, ("zebra", "wild_ass"))
        return dataclasses.replace(trigger, visit=dataclasses.replace(trigger.visit, species=other))

    compared = 0
    for plan in network():
        camera = CameraTrap(5, plan, **LIFE)
        horses = [
            next((t for t in visits(camera, d) if t.visit.species in ("zebra", "wild_ass")), None)
            for d in (difficulty, "clear")
        ]
        for trigger in filter(None, horses):
            one, two = next(camera.frames(trigger)), next(camera.frames(swapped(trigger)))
            same = np.array_equal(one.image, two.image)
            assert same == (trigger.visit.difficulty == difficulty)
            assert {a.species for a in one.animals} != {a.species for a in two.animals}
            compared += same
    assert compared


def test_hidden_pixels_belong_to_no_animal(camera, monkeypatch):
    wall = np.zeros((120, 160), np.float32)
    wall[:, :80] = 1
    monkeypatch.setattr(View, "occlusion", lambda *_: wall)
    masks = [a.mask for t in visits(camera, "clear") for f in camera.frames(t) for a in f.animals]
    assert any(mask[:, 80:].any() for mask in masks)
    assert not any(mask[:, :80].any() for mask in masks)


def test_distractors_are_in_every_frame_at_the_same_place():
    plan = dataclasses.replace(network()[0], fakes=("bear",), bumps=())
    with_fake = CameraTrap(5, plan, **LIFE)
    mask = with_fake.views[0][1].distractors[0]
    hidden = with_fake.views[0][1].occlusion(with_fake.scene.props[-1].foot - 200)
    assert hidden is not None  # it is a prop itself: animals may walk behind it
    by_day = [t for t in with_fake.triggers if t.visit is None and 8 < t.second % 86400 / 3600 < 18]
    ratios = []
    for trigger in by_day:
        for frame in with_fake.frames(trigger):
            assert frame.animals == ()
            grey = frame.image.mean(axis=2)
            around = np.roll(mask, 25, axis=1) | np.roll(mask, -25, axis=1)
            ratios.append(grey[mask].mean() / grey[around & ~mask].mean())
    assert len(ratios) > 30
    assert max(ratios) < 0.85  # the dark bear shows in all of them, fog and rain included


def test_a_bump_shifts_the_whole_view():
    bump = Mount(angle=0.0, dx=0.025, dy=-0.0125)  # of the width: 4 and -2 pixels
    plan = dataclasses.replace(network()[0], bumps=((6 * 86400, bump),))
    camera = CameraTrap(5, plan, **LIFE)
    before, after = (
        next(camera.frames(Trigger(900, day * 86400 + NOON, 1, None))).image.mean(axis=2)
        for day in (5, 6)
    )
    before, after = before - before.mean(), after - after.mean()

    def agreement(dx, dy):
        moved = np.roll(after, (dy, dx), axis=(0, 1))[10:-10, 10:-10]
        kept = before[10:-10, 10:-10]
        return (moved * kept).sum() / np.sqrt((moved**2).sum() * (kept**2).sum())

    shifts = [(dx, dy) for dx in range(-6, 7) for dy in range(-6, 7)]
    assert max(shifts, key=lambda shift: agreement(*shift)) == (4, -2)
    x, y = camera.view_at(0).position(80.0, 60.0)
    assert camera.view_at(7 * 86400).position(80.0, 60.0) == pytest.approx((x - 4, y + 2))


def test_some_cameras_of_a_network_are_bumped():
    bumped = [plan for plan in network() if plan.bumps]
    assert 2 <= len(bumped) <= 8
    for plan in bumped:
        for second, mount in plan.bumps:
            assert 0 < second < 14 * 86400
            assert 0.4 <= abs(mount.angle) <= 1.3 and 0.012 <= abs(mount.dx) <= 0.03


def test_infrared_at_night_and_colour_by_day(camera):
    for hour, colourful in ((2, False), (12, True), (23, False)):
        image = next(camera.frames(Trigger(901, 3 * 86400 + hour * 3600, 1, None))).image
        assert (np.ptp(image.astype(int), axis=2).max() > 20) == colourful


def test_wind_moves_plants_and_nothing_else(camera):
    view = camera.views[0][1]
    still, bent = view.swaying(0), view.swaying(2)
    changed = np.abs(still - bent).max(axis=2) > 0.02
    margin = camera.scene.margin
    sway = camera.scene.sway[margin:-margin, margin:-margin] > 0
    assert changed.any()
    assert not (changed & ~sway).any()


def test_photographs_show_what_was_rendered(study, camera):
    trigger = camera.triggers[0]
    image = next(i for i in study.labels["images"] if i["location"] == "cam_00")
    photo = np.asarray(Image.open(study.root / "images" / image["file_name"]), int)
    rendered = next(camera.frames(trigger)).image.astype(int)
    assert np.abs(photo - rendered).mean() < 8


def test_animals_of_hard_visits_show_themselves_in_some_frames_if_asked():
    plan = dataclasses.replace(network()[0], clear_in_burst=0.5, clear_visits=0.1)
    camera = CameraTrap(5, plan, **LIFE)
    looks = {name: set() for name in ("blur", "camouflage", "night", "far", "cropped")}
    herds = 0
    for trigger in visits(camera, *looks):
        frames = list(camera.frames(trigger))
        for frame in frames:
            looks[trigger.visit.difficulty] |= {animal.difficulty for animal in frame.animals}
            herds += len({animal.difficulty for animal in frame.animals}) > 1
        assert [[a.difficulty for a in f.animals] for f in frames] == [
            [a.difficulty for a in f.animals] for f in camera.frames(trigger)
        ]
    for name in ("blur", "camouflage"):
        assert {name, "clear"} <= looks[name]
    assert looks["far"] <= {"far"} and looks["cropped"] <= {"cropped"}
    assert herds  # one of a herd shows what its neighbour hides


def test_a_clear_look_alike_does_not_look_like_the_other_with_its_coat_hidden():
    shown = {
        (name, contrast): animal_sprite(name, 60.0, contrast=contrast).rgb
        for name in ("zebra", "wild_ass")
        for contrast in (0.0, 1.0)
    }
    assert np.array_equal(shown["zebra", 0.0], shown["wild_ass", 0.0])
    for name in ("zebra", "wild_ass"):
        assert np.abs(shown[name, 1.0] - shown[name, 0.0]).max() > 0.2
