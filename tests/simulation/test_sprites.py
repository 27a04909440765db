"""The drawing of animals."""

import numpy as np
import pytest

from context_rcnn.simulation.habits import species_names
from context_rcnn.simulation.species import CATALOGUE, lookalike
from context_rcnn.simulation.sprites import animal_sprite

NAMES = species_names(len(CATALOGUE))
PAIRS = [(n, lookalike(n, NAMES)) for n in NAMES if (lookalike(n, NAMES) or "") > n]


def mean_colour(sprite):
    return (sprite.rgb * sprite.alpha[..., None]).sum(axis=(0, 1)) / sprite.alpha.sum()


@pytest.mark.parametrize("pair", PAIRS)
def test_look_alikes_have_one_outline_and_nearly_one_mean_colour(pair):
    one, two = (animal_sprite(name, 48) for name in pair)
    assert np.array_equal(one.alpha, two.alpha)
    assert np.abs(mean_colour(one) - mean_colour(two)).max() < 0.06


@pytest.mark.parametrize("pair", PAIRS)
def test_look_alikes_differ_clearly_when_large(pair):
    one, two = (animal_sprite(name, 40) for name in pair)
    solid = one.alpha > 0.5
    assert (np.abs(one.rgb - two.rgb)[solid].max(axis=1) > 0.1).mean() > 0.1


@pytest.mark.parametrize("pair", PAIRS)
def test_look_alikes_are_equal_without_contrast(pair):
    one, two = (animal_sprite(name, 40, contrast=0) for name in pair)
    assert np.array_equal(one.rgb, two.rgb)


@pytest.mark.parametrize("name", NAMES)
def test_sprites_are_as_long_as_asked(name):
    for length in (12, 33, 60):
        columns = np.flatnonzero(animal_sprite(name, length).alpha.max(axis=0) > 0.1)
        assert abs(columns[-1] - columns[0] + 1 - length) <= 1


def test_animals_stride():
    assert not np.array_equal(
        animal_sprite("zebra", 40, pose=0).alpha, animal_sprite("zebra", 40, pose=1).alpha
    )
