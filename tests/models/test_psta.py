"""PSTA against the paper: NumPy, cases worked by hand, exact numbers of weights."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.configs.reid import FrameBackbone, Psta
from context_rcnn.detectors.backbones import build_resnet
from context_rcnn.layers.reference_attention import Reference, affinities, relation_map
from context_rcnn.models import psta
from tests.models import psta_numpy
from tests.tolerance import assert_close

NORM = {"momentum": 0.9, "epsilon": 1e-5}
SMALL = Psta(image_size=[32, 32], channels=12, middle=6, embedding=4, frames=8)
TINY = SMALL.replace(
    backbone={"model_id": 10, "depth_multiplier": 0.125}, image_size=[48, 32], frames=4, stages=2
)


def settings(**changes):
    return SMALL.replace(**changes)


def shake(layer, seed=0):
    """Random statistics and scales for all batch norms: those of a new layer hide mistakes."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        name = variable.name.rsplit("/", 1)[-1].split(":")[0]
        shape = variable.shape
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.3, shape))
    return layer


def maps_of(shape, seed=1):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def aggregation(changed, maps):
    layer = psta.Aggregation(changed, NORM)
    layer(tf.constant(maps))
    return shake(layer)


WITHOUT = [{"spatial": False}, {"temporal": False}, {"residual": False}]
WITHOUT += [{"spatial": False, "temporal": False}]


@pytest.mark.parametrize(
    "variant, parts",
    [
        *(("paper", {}), ("released", {}), *(("paper", parts) for parts in WITHOUT)),
        *(pytest.param("released", parts, marks=pytest.mark.slow) for parts in WITHOUT),
    ],
    ids=str,
)
def test_the_pyramid_is_the_papers(variant, parts):
    maps = maps_of([2, 4, 3, 2, 12])
    layer = aggregation(settings(variant=variant, frames=4, stages=2, **parts), maps)
    expected = [
        psta_numpy.pyramid(layer.stages, clip, released=variant == "released") for clip in maps
    ]
    assert_close(layer(tf.constant(maps)), expected, 1e-5)


@pytest.mark.parametrize("structure", ["adjacent", "global"])
def test_the_structures_of_one_stage_refine_each_frame_by_its_reference(structure):
    maps = maps_of([2, 3, 3, 2, 12])
    layer = aggregation(settings(structure=structure, frames=3), maps)
    (stage,) = layer.stages
    expected = []
    for clip in maps:
        refined = []
        for t, frame in enumerate(clip):
            other = clip[t + 1 if t < 2 else 1] if structure == "adjacent" else clip.mean(0)
            beta, beta_other = (psta_numpy.blocks(stage.beta, m) for m in (frame, other))
            own = psta_numpy.sra(stage.spatial, frame, beta)
            mutual, _ = psta_numpy.tra(stage.temporal, frame, other, beta, beta_other, False)
            refined.append(psta_numpy.residual(stage.residual, own * frame + mutual * frame, False))
        expected.append([np.mean(refined, axis=(0, 1, 2))])
    assert_close(layer(tf.constant(maps)), expected, 1e-5)


def test_relations_are_the_row_and_then_the_column():
    nodes = np.array([[1, 0], [1, 1]], np.float32)
    theta = np.stack([nodes[:, 0], 2 * nodes[:, 1]], -1)
    phi = np.stack([nodes.sum(1), 0 * nodes[:, 0]], -1)
    theta, phi = (tf.constant(x.reshape(1, 1, 2, 2)) for x in (theta, phi))
    own = affinities(theta, phi)
    np.testing.assert_array_equal(own, [[[1, 2], [1, 2]]])
    found = relation_map(own, own, (1, 2))
    np.testing.assert_array_equal(found[0, 0], [[1, 2, 1, 1], [1, 2, 2, 2]])


@pytest.mark.parametrize("variant, expected", [("paper", 5.2), ("released", 12.24)])
def test_two_cells_are_added_as_worked_by_hand(variant, expected):
    def attention(value):
        return Reference(tf.fill([1, 1, 1, 1], value), tf.ones([1, 1, 1, 1]))

    found = psta.Attentions((attention(0.5), attention(0.25)), (attention(0.8), attention(0.4)))
    stage = psta.Stam(settings(variant=variant, residual=False), NORM)
    maps = tf.fill([1, 1, 1, 1], 2.0), tf.fill([1, 1, 1, 1], 4.0)
    np.testing.assert_allclose(stage.combine(maps, found), [[[[expected]]]], rtol=1e-6)


def test_a_map_sees_its_own_frames_and_no_others():
    maps = maps_of([1, 8, 2, 2, 12])
    layer = aggregation(settings(), maps)
    changed = maps.copy()
    changed[0, 2] += 1  # frame 3, counted from 1
    before, after, counts = maps, changed, []
    for stage, moved in zip(layer.stages, ([1], [0], [0]), strict=True):
        before, after = stage(before, training=False), stage(after, training=False)
        differ = [t for t in range(before.shape[1]) if np.any(before[0, t] != after[0, t])]
        assert differ == moved
        counts.append(before.shape[1])
    assert counts == [4, 2, 1]


def test_pairs_of_a_stage_share_their_weights():
    maps = maps_of([1, 4, 2, 2, 12])
    layer = aggregation(settings(frames=4, stages=2), maps)
    exchanged = maps[:, [2, 3, 0, 1]]
    stage = layer.stages[0]
    assert_close(stage(exchanged, training=False)[:, ::-1], stage(maps, training=False), 1e-6)


def test_stage_features_are_averaged_over_the_stages_so_far():
    found = psta.stage_means(tf.constant([[[6.0, 0], [0, 6], [3, 3]]]))
    np.testing.assert_allclose(found, [[[6, 0], [3, 3], [3, 3]]], rtol=1e-6)


def test_the_average_is_the_mean_of_all_cells_of_all_frames():
    maps = maps_of([2, 3, 2, 2, 5])
    layer = psta.Aggregation(settings(stages=0, frames=3), NORM)
    np.testing.assert_allclose(layer(maps)[:, 0], maps.mean((1, 2, 3)), rtol=1e-6)


def test_gradients_are_finite_where_all_relations_are_zero():
    maps = tf.Variable(tf.zeros([1, 2, 2, 2, 12]))
    layer = psta.Aggregation(settings(frames=2, stages=1), NORM)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(maps, training=True))
    for gradient in tape.gradient(loss, [maps, *layer.trainable_variables]):
        assert np.isfinite(gradient).all()


# Table 1 with 625 identities: weights, among them the neck's bias that is never trained, and
# thousand millions of multiply-adds. The paper's own leave out most of beta, which is .528, and the
# affinities, .059; its weights of the second row have a beta that nothing uses.
FRAMES, FRAMES_COST = 23_508_032 + 2_099_200, 34.5736
HEAD = 642_673
ROWS = {
    "sum": ({"spatial": False, "temporal": False}, 31_773_843 - 3 * 295_680, 0.9982, 35.58),
    "spatial": ({"temporal": False}, 33_550_233, 0.9982 + 0.5911 + 0.528 + 0.029, 36.27),
    "temporal": ({"spatial": False}, 33_648_921, 0.9982 + 0.5918 + 0.528 + 0.029, 36.27),
    "no_residual": ({"residual": False}, 32_073_759, 0.5911 + 0.5918 + 0.587, 35.86),
    "full": ({}, 35_425_311, 37.342 - FRAMES_COST, 36.86),
}


def traced(layer, *specs):
    return tf.function(layer, autograph=False).get_concrete_function(*specs).graph


def count(layer):
    return sum(int(np.prod(v.shape)) for v in layer.trainable_variables)


def multiply_adds(graph):
    """Outputs of each product, times the terms of each; in thousand millions."""
    total = 0
    for op in graph.get_operations():
        outputs = op.outputs[0].shape if op.outputs else []
        if op.type == "Conv2D":
            total += int(np.prod(outputs)) * int(np.prod(op.inputs[1].shape[:3]))
        elif op.type in ("MatMul", "BatchMatMulV2"):
            transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            total += int(np.prod(outputs)) * op.inputs[0].shape[-2 if transposed else -1]
    return total / 1e9


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=() if row == "full" else pytest.mark.slow) for row in ROWS]
)
def test_a_row_of_table_1_has_the_papers_weights_and_products(row):
    changes, weights, cost, printed = ROWS[row]
    layer = psta.Aggregation(Psta(variant="released", **changes), NORM)
    graph = traced(layer, tf.TensorSpec([1, 8, 16, 8, 1024]))
    assert FRAMES + count(layer) + 3 * HEAD == weights
    assert abs(multiply_adds(graph) - cost) < 2e-3
    beta = 0 if row == "sum" else 0.528
    assert abs(FRAMES_COST + multiply_adds(graph) - beta - printed) < 0.01 * printed


@pytest.mark.slow
def test_a_structure_of_one_stage_has_the_weights_of_one_stage():
    layer = psta.Aggregation(Psta(variant="released", structure="adjacent"), NORM)
    traced(layer, tf.TensorSpec([1, 8, 16, 8, 1024]))
    assert FRAMES + count(layer) + HEAD == 28_879_925


def test_the_baseline_has_the_papers_weights_and_products():
    backbone = build_resnet(50, kind="c4", norm_momentum=0.9, norm_epsilon=1e-5)
    model = psta.Psta(backbone, Psta(variant="released", structure="average"), 625)
    graph = traced(model, tf.TensorSpec([1, 8, 256, 128, 3], tf.uint8))
    assert count(model.backbone) + count(model.reduction) == FRAMES
    assert count(model) + 1024 == 26_249_905  # the bias that the release keeps at zero
    assert abs(multiply_adds(graph) - FRAMES_COST) < 2e-3


@pytest.fixture(scope="module")
def model():
    return shake(psta.build_psta(TINY, num_identities=5))


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(3).integers(0, 256, [3, 4, 48, 32, 3]).astype(np.uint8)


def test_an_embedding_does_not_depend_on_the_other_clips(model, clips):
    assert_close(model.embed(clips[1:2]), model.embed(clips)[1:2])


def test_an_embedding_is_the_last_stage_behind_its_neck(model, clips):
    outputs = model(clips, training=False)
    assert outputs["features"].shape == (3, 2, 12) and outputs["logits"].shape == (3, 2, 5)
    neck = model.necks[-1]
    last = outputs["features"][:, -1] - neck.moving_mean
    expected = last / np.sqrt(neck.moving_variance + 1e-5) * neck.gamma
    assert_close(model.embed(clips), expected, 1e-5)


@pytest.mark.slow
def test_the_whole_model_compiles_and_computes_the_same(model, clips):
    compiled = tf.function(model.embed, jit_compile=True, autograph=False)
    assert_close(compiled(clips), model.embed(clips))


def test_a_checkpoint_restores_the_model(model, clips, tmp_path):
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))
    other = psta.build_psta(TINY, num_identities=5)
    tf.train.Checkpoint(model=other).read(path).assert_existing_objects_matched().expect_partial()
    np.testing.assert_array_equal(other.embed(clips), model.embed(clips))


def test_maps_keep_a_sixteenth_of_the_image(model, clips):
    assert model.frame_maps(clips).shape == (3, 4, 3, 2, 12)
    strided = TINY.replace(backbone={"last_stride": 2}, image_size=[64, 32], stages=0)
    other = psta.build_psta(strided, 2)
    assert other.frame_maps(tf.zeros([1, 4, 64, 32, 3], tf.uint8)).shape == (1, 4, 2, 1, 12)


def test_attention_is_that_of_the_first_stage_by_frame(model, clips):
    found, active = model.attention_maps(clips), model.activations(clips)
    maps = model.frame_maps(clips).numpy()
    stage = model.aggregation.stages[0]
    for t in range(0, 4, 2):
        pair = maps[1, t], maps[1, t + 1]
        beta = [psta_numpy.blocks(stage.beta, m) for m in pair]
        mutual = psta_numpy.tra(stage.temporal, *pair, *beta, False)
        for i, frame in enumerate(pair):
            own = psta_numpy.sra(stage.spatial, frame, beta[i])
            expected = np.linalg.norm((own + mutual[i]) * frame, axis=-1)
            assert_close(active[1, t + i], expected, 1e-4)
            channel = psta_numpy.excite(stage.spatial.channel, frame.mean((0, 1)))
            assert_close(found["spatial"][1, t + i], own[..., 0] / channel[0], 1e-4)
    assert found["temporal"].shape == (3, 4, 3, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros([1, 4, 64, 32, 3], np.uint8),
        np.zeros([1, 2, 48, 32, 3], np.uint8),
        np.full([1, 4, 48, 32, 3], np.nan, np.float32),
    ],
    ids=["size", "frames", "floats"],
)
def test_clips_of_another_kind_are_refused(model, wrong):
    with pytest.raises(ValueError, match=r"takes clips uint8 \[clips, 4, 48, 32, 3\]"):
        model.embed(tf.constant(wrong))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frames": 6}, "task.model.frames is 6, which is no multiple of 2\\^task.model.stages"),
        ({"variant": "other"}, "task.model.variant must be one of paper, released"),
        ({"structure": "tree"}, "task.model.structure must be one of pyramid"),
        ({"backbone": {"last_stride": 3}}, "task.model.backbone.last_stride"),
        ({"frames": 1, "structure": "global"}, "refined by others"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        psta.check_settings(Psta().replace(**changes))


@pytest.mark.slow
def test_any_power_of_two_of_frames_can_be_aggregated():
    for frames, stages in ((2, 1), (16, 4)):
        maps = maps_of([1, frames, 2, 1, 12])
        layer = psta.Aggregation(settings(frames=frames, stages=stages), NORM)
        assert layer(maps).shape == (1, stages, 12)


def test_a_rectangle_is_erased_in_all_frames_and_nothing_else():
    images = tf.random.normal([2, 3, 6, 4, 3], seed=1)
    found = psta.erased(images, tf.constant([[1, 2, 3, 1], [0, 0, 0, 0]])).numpy()
    expected = images.numpy()
    expected[0, :, 1:4, 2:3] = (0.485, 0.456, 0.406)
    np.testing.assert_array_equal(found, expected)


def test_backbone_settings_are_those_of_the_release():
    assert (FrameBackbone().norm_momentum, FrameBackbone().norm_epsilon) == (0.9, 1e-5)


@pytest.mark.parametrize("variant, starts_as_identity", [("paper", True), ("released", False)])
def test_with_its_shortcut_a_residual_block_starts_as_the_identity(variant, starts_as_identity):
    maps = np.random.default_rng(2).uniform(0, 1, [2, 4, 3, 6]).astype(np.float32)
    block = psta.Residual(6, 4, variant=variant, norm=NORM)
    assert np.array_equal(block(maps), maps) == starts_as_identity
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(block(maps, training=True) * maps)
    kernels = [v for v in block.trainable_variables if "kernel" in v.name]
    (scale,) = [v for v in block.trainable_variables if "gamma" in v.name and v.shape == [6]]
    assert len(kernels) == 3 and np.any(tape.gradient(total, scale))
