"""Equations 1 and 2 of MEGA against an implementation in NumPy that loops over pairs of boxes."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.layers.relation import Pool, RelationModule, geometry_embedding, join_pools
from tests.layers.relation_loops import Box, relate, weights_of

BATCH, BOXES, REFERENCES, DEPTH, HEADS, FAR = 2, 3, 5, 8, 2, 4
KINDS = [("paper", False), ("paper", True), ("released", False), ("released", True)]


def some_pool(rng, count, valid):
    corner = rng.uniform(0, 60, (BATCH, count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (BATCH, count, 2))], -1)
    return Pool(
        rng.normal(size=(BATCH, count, DEPTH)).astype(np.float32),
        boxes.astype(np.float32),
        rng.integers(0, 9, (BATCH, count)).astype(np.int32),
        np.array(valid, bool),
    )


@pytest.fixture
def pools():
    rng = np.random.default_rng(1)
    return (
        some_pool(rng, BOXES, [[1, 1, 0], [1, 1, 1]]),
        some_pool(rng, REFERENCES, [[1, 0, 1, 1, 0], [1, 1, 1, 1, 1]]),
    )


def random_module(location, variant, seed=2, **options):
    options = {"location": location, "variant": variant, "max_frames": FAR, **options}
    module = RelationModule(DEPTH, heads=HEADS, name="relation", **options)
    module(
        *(
            Pool(
                *map(tf.constant, some_pool(np.random.default_rng(0), 2, [[1, 1]] * 2)),
            )
            for _ in "BP"
        )
    )
    rng = np.random.default_rng(seed)
    for variable in module.variables:
        variable.assign(rng.normal(scale=0.5, size=variable.shape))
    return module


def np_relation(module, boxes, references):
    """f_rm of valid boxes, the features of the others."""
    out = np.array(boxes.features, float)
    for b in range(BATCH):
        asking, seen = (
            [Box(*(part[b, i] for part in pool[:3])) for i in np.nonzero(pool.valid[b])[0]]
            for pool in (boxes, references)
        )
        out[b, boxes.valid[b]] = relate(
            weights_of(module), HEADS, FAR, asking, seen, module._variant == "released"
        )
    return out


def test_places_can_count_without_times(pools):
    module = random_module(True, "paper", timed=False)
    boxes, references = pools
    output, _ = module(boxes, references)
    expected = np_relation(module, boxes, references)
    np.testing.assert_allclose(output[boxes.valid], expected[boxes.valid], rtol=1e-4, atol=1e-4)
    later = references._replace(frames=references.frames + 3)
    np.testing.assert_array_equal(module(boxes, later)[0], output)
    elsewhere = references._replace(boxes=references.boxes[:, ::-1])
    assert np.abs(module(boxes, elsewhere)[0] - output).max() > 1e-3


@pytest.mark.parametrize("variant,location", KINDS)
def test_equals_a_loop_over_pairs_of_boxes(pools, variant, location):
    module = random_module(location, variant)
    output, weights = module(*pools)
    boxes, references = pools
    expected = np_relation(module, boxes, references)
    np.testing.assert_allclose(output[boxes.valid], expected[boxes.valid], rtol=1e-4, atol=1e-4)
    total = np.where(boxes.valid, 1.0, 0.0)[:, None].repeat(HEADS, 1)
    np.testing.assert_allclose(tf.reduce_sum(weights, -1), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant,location", KINDS)
def test_padding_and_order_of_references_change_nothing(pools, variant, location):
    boxes, references = pools
    module = random_module(location, variant)
    expected, _ = module(boxes, references)
    order = [3, 1, 4, 0, 2]
    shuffled = Pool(*(part[:, order] for part in references))
    spoiled = shuffled._replace(
        features=np.where(shuffled.valid[..., None], shuffled.features, np.nan),
        boxes=np.where(shuffled.valid[..., None], shuffled.boxes, 0.0).astype(np.float32),
    )
    np.testing.assert_allclose(module(boxes, spoiled)[0], expected, rtol=1e-5, atol=1e-5)


def test_a_box_that_sees_nothing_keeps_its_features(pools):
    boxes, references = pools
    module = random_module(True, "released")
    alone = np.zeros((BATCH, BOXES, REFERENCES), bool)
    alone[:, 1] = True
    output = module(boxes, references, alone)[0].numpy()
    np.testing.assert_array_equal(output[:, [0, 2]], boxes.features[:, [0, 2]])
    assert np.abs(output[:, 1] - boxes.features[:, 1]).min() > 1e-3


def test_time_matters_to_the_location_based_module_of_the_paper_only(pools):
    boxes, references = pools
    later = references._replace(frames=references.frames + np.arange(REFERENCES, dtype=np.int32))
    changed = {
        (variant, location): not np.allclose(
            *(random_module(location, variant)(boxes, pool)[0] for pool in (references, later))
        )
        for variant, location in KINDS
    }
    assert [kind for kind, moved in changed.items() if moved] == [("paper", True)]


def test_frames_count_relative_to_each_other(pools):
    boxes, references = pools
    module = random_module(True, "paper")
    moved = [pool._replace(frames=pool.frames + 1000) for pool in pools]
    np.testing.assert_allclose(
        module(*moved)[0], module(boxes, references)[0], rtol=1e-5, atol=1e-5
    )


def test_the_released_code_adds_where_relation_networks_takes_the_larger():
    """A reference as large as the box and one width to its right: log 1 and log 1.001."""
    box, reference = (tf.constant([[corners]]) for corners in ([0.0, 0, 9, 9], [0.0, 10, 9, 19]))
    for variant, delta in (("paper", 0.0), ("released", 0.0009995003)):
        waves = geometry_embedding(box, reference, variant)[0, 0, 0]
        np.testing.assert_allclose(waves[0], np.sin(100 * delta), atol=1e-5)
        np.testing.assert_allclose(waves[8], np.cos(100 * delta), atol=1e-5)


@pytest.mark.parametrize("depth,deviation", [(1024, 0.01), (64, 0.04)])
def test_queries_and_keys_begin_as_far_apart_at_any_width(depth, deviation):
    module = RelationModule(depth, heads=2, location=False)
    pool = Pool(
        tf.zeros([1, 2, depth]),
        tf.zeros([1, 2, 4]),
        tf.zeros([1, 2], tf.int32),
        tf.ones([1, 2]) > 0,
    )
    module(pool, pool)
    for layer in (module._query, module._key):
        assert np.std(layer.kernel) == pytest.approx(deviation, rel=0.1)
    assert np.std(module._value.kernel) == pytest.approx(0.01, rel=0.1)


def test_geometry_keeps_under_moving_and_scaling_the_image():
    rng = np.random.default_rng(3)
    boxes, references = (some_pool(rng, 4, [[1] * 4] * 2).boxes for _ in range(2))
    # An edge is a pixel that belongs to the box: scaling keeps it so.
    scaled = [
        (b + np.float32([0, 0, 1, 1])) * 3 - np.float32([0, 0, 1, 1]) for b in (boxes, references)
    ]
    expected = geometry_embedding(boxes, references)
    np.testing.assert_allclose(
        geometry_embedding(*(b + 100 for b in (boxes, references))), expected, atol=1e-2
    )
    np.testing.assert_allclose(geometry_embedding(*scaled), expected, atol=1e-2)


def test_gradients_reach_boxes_references_and_all_weights_but_not_padding(pools):
    boxes, references = (Pool(*map(tf.constant, pool)) for pool in pools)
    module = random_module(True, "paper")
    with tf.GradientTape() as tape:
        tape.watch([boxes.features, references.features])
        output, _ = module(boxes, references)
        loss = tf.reduce_sum(tf.boolean_mask(output, boxes.valid) ** 2)
    gradients = tape.gradient(
        loss, [boxes.features, references.features, *module.trainable_variables]
    )
    assert all(np.abs(g).max() > 1e-7 for g in gradients)
    assert np.all(np.isfinite(gradients[1]))
    assert not np.any(gradients[1][~pools[1].valid])


def test_compiles_under_xla_and_joins_pools(pools):
    boxes, references = (Pool(*map(tf.constant, pool)) for pool in pools)
    module = random_module(True, "paper")
    compiled = tf.function(lambda b, r: module(b, r)[0], jit_compile=True, autograph=False)
    both = join_pools(references, boxes)
    np.testing.assert_allclose(compiled(boxes, both), module(boxes, both)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options,message",
    [({"variant": "other"}, "paper, released"), ({"heads": 3}, "multiple of heads, got 3")],
)
def test_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ValueError, match=message):
        RelationModule(DEPTH, location=True, **{"heads": 2, **options})
