"""The plan of a camera network and its cameras' triggers."""

from collections import Counter

import numpy as np
import pytest

from context_rcnn.simulation import habits
from context_rcnn.simulation.habits import DIFFICULTIES, schedule, species_names
from context_rcnn.simulation.settings import MAX_BURST, CameraTrapSettings
from context_rcnn.simulation.species import BY_NAME, CATALOGUE, ELSEWHERE, lookalike
from context_rcnn.simulation.sprites import animal_sprite

NETWORK = dict(
    cameras=12, days=60, species=8, triggers_per_day=4.0, empty_fraction=0.7, val_fraction=0.25
)


def plan_network(seed, **settings):
    return habits.plan_network(CameraTrapSettings(seed=seed, **settings))


@pytest.mark.parametrize("seed", range(5))
def test_homes_of_look_alikes_are_balanced_in_training(seed):
    plans = plan_network(seed, **NETWORK)
    homes = Counter(r.species for p in plans if p.split == "train" for r in p.residents)
    for name in species_names(8):
        other = lookalike(name, species_names(8))
        if other:
            assert abs(homes[name] - homes[other]) <= 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cameras", [1, 2, 3, 5])
def test_validation_has_no_species_of_its_own(seed, cameras):
    plans = plan_network(seed, **{**NETWORK, "cameras": cameras, "days": 3})
    homes = {split: set() for split in ("train", "val")}
    for plan in plans:
        homes[plan.split] |= {r.species for r in plan.residents} | set(plan.strays.values())
        assert plan.visits >= len(plan.residents)
    assert homes["val"] <= homes["train"]
    assert any(plan.split == "train" for plan in plans)


def test_no_camera_is_home_to_both_look_alikes():
    for plan in plan_network(0, **NETWORK):
        kinds = [BY_NAME[r.species].kind for r in plan.residents]
        assert len(set(kinds)) == len(kinds)


def test_look_alikes_differ_in_nothing_but_their_coat():
    for species in CATALOGUE:
        other = BY_NAME.get(lookalike(species.name, species_names(len(CATALOGUE))))
        if other:
            for trait in ("build", "colour", "size", "herd", "hour"):
                assert getattr(species, trait) == getattr(other, trait)
            assert species.coat != other.coat
            assert "plain" not in (species.coat, other.coat)  # both have something to show


@pytest.mark.parametrize("empty_fraction", [0.0, 0.3, 0.9])
def test_share_of_empty_triggers_is_as_asked(empty_fraction):
    plan = plan_network(1, **{**NETWORK, "empty_fraction": empty_fraction})[0]
    triggers = schedule(1, plan, 60)
    empty = sum(trigger.visit is None for trigger in triggers) / len(triggers)
    assert empty == pytest.approx(empty_fraction, abs=0.01)


def test_triggers_come_in_order_and_leave_time_for_the_burst():
    plan = plan_network(2, **{**NETWORK, "triggers_per_day": 400.0, "days": 2})[0]
    triggers = schedule(2, plan, 2)
    assert {trigger.frames for trigger in triggers} == set(range(1, MAX_BURST + 1))
    for before, after in zip(triggers, triggers[1:], strict=False):
        assert after.second > before.second + before.frames


def test_bursts_are_no_longer_than_asked():
    plan = plan_network(2, **{**NETWORK, "triggers_per_day": 100.0, "days": 2}, max_burst=3)[0]
    assert {trigger.frames for trigger in schedule(2, plan, 2)} == {1, 2, 3}


def test_species_keep_to_their_hours():
    plans = plan_network(3, **{**NETWORK, "days": 300})
    hours = {}
    for plan in plans:
        for resident in plan.residents:
            near = [
                abs(trigger.second % 86400 / 3600 - resident.hour) < 4
                for trigger in schedule(3, plan, 300)
                if trigger.visit and trigger.visit.species == resident.species
                if trigger.visit.difficulty != "night"
            ]
            hours[plan.name, resident.species] = sum(near) / len(near)
    assert min(hours.values()) > 0.5


def test_common_species_come_more_often():
    for plan in plan_network(3, **{**NETWORK, "days": 300}):
        visits = Counter(t.visit.species for t in schedule(3, plan, 300) if t.visit)
        most, *_, least = sorted((r.species for r in plan.residents), key=species_names(8).index)
        assert visits[most] > 1.25 * visits[least]


def test_every_resident_is_seen_clearly_at_least_once():
    for plan in plan_network(4, **{**NETWORK, "days": 4}):
        visits = [t.visit for t in schedule(4, plan, 4) if t.visit]
        clear = {visit.species for visit in visits if visit.difficulty == "clear"}
        assert {r.species for r in plan.residents} <= clear


def test_a_camera_does_not_depend_on_the_length_of_others_lives():
    plan = plan_network(6, **NETWORK)[3]
    assert schedule(6, plan, 60) == schedule(6, plan, 60)
    assert schedule(6, plan, 60) != schedule(7, plan, 60)


def test_visits_are_as_clear_as_asked_and_hard_ones_keep_their_proportions():
    plan = plan_network(1, **{**NETWORK, "triggers_per_day": 60.0}, clear_visits=0.2)[0]
    visits = [trigger.visit for trigger in schedule(1, plan, 60) if trigger.visit]
    shares = {name: n / len(visits) for name, n in Counter(v.difficulty for v in visits).items()}
    assert shares["clear"] == pytest.approx(0.2, abs=0.02)
    for name, share in DIFFICULTIES.items():
        if name != "clear":
            assert shares[name] == pytest.approx(0.8 * share / 0.43, abs=0.02)


def test_herds_grow_as_asked():
    def mean_size(herd):
        plans = plan_network(3, **{**NETWORK, "cameras": 4, "triggers_per_day": 30.0}, herd=herd)
        visits = [t.visit for p in plans for t in schedule(3, p, 60) if t.visit]
        return sum(visit.count for visit in visits) / len(visits)

    assert mean_size(0.1) == 1.0
    assert mean_size(2.0) > 1.5 * mean_size(1.0)


def test_the_world_elsewhere_is_another_one():
    home, elsewhere = set(species_names(13)), species_names(40, "elsewhere")
    assert len(set(elsewhere)) == 40 and not home & set(elsewhere)
    builds = [species.build for species in CATALOGUE]
    assert all(species.build not in builds for species in ELSEWHERE)
    # As in a set of many classes, some differ in their coats only.
    for species in ELSEWHERE:
        other = BY_NAME[lookalike(species.name, elsewhere)]
        assert other.build == species.build and other.coat != species.coat
        bare, worn = (animal_sprite(species.name, 60.0, contrast=c) for c in (0.0, 1.0))
        change = np.abs(bare.rgb - worn.rgb).max(axis=2)[bare.alpha > 0.5]
        assert np.mean(change > 0.1) > 0.2  # the coat covers a good part of each
    homes = {r.species for p in plan_network(0, **{**NETWORK, "species": 40}, world="elsewhere")
             for r in p.residents}  # fmt: skip
    assert homes <= set(elsewhere) and len(homes) > 20
