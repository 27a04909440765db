"""R-FCN: the vote of the bins, necks on both sides of port 1, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.detectors import freezing, rfcn
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.necks import build_neck
from tests.detectors.conftest import tiny_config
from tests.tolerance import LOGITS, assert_close

IMAGES = np.random.default_rng(2).integers(0, 255, (2, 64, 128, 3)).astype(np.uint8)
SHAPES = tf.constant([[64.0, 128.0]] * 2)


def tiny_rfcn(neck="none", port_behind="conv5", kind="rfcn", agnostic=True):
    config = tiny_config(kind)
    config.neck = configs.Neck(type=neck, channels=8, width=12, dilation=2)
    config.backbone.port_behind = port_behind
    config.boxes.class_agnostic = agnostic
    return config


def build(config, **options):
    tf_keras.utils.set_random_seed(1)
    model = build_faster_rcnn(config, **options)
    model(IMAGES, SHAPES)
    return model


@pytest.mark.parametrize("agnostic", [True, False])
def test_scores_and_offsets_are_means_of_the_bins_maps(agnostic):
    """The 1x1 convolutions as NumPy, on a box of which every bin is the one cell."""
    head = rfcn.PositionSensitiveHead(2, class_agnostic=agnostic)
    features = tf.random.stateless_normal([1, 4, 4, 5], [3, 4])
    box = tf.constant([[[32.0, 16.0, 47.0, 31.0]]])
    crops = head.crop({"5": features}, box)
    logits, offsets = rfcn.Vote(2)(head(crops))
    cell = features[0, 2, 1].numpy()
    for found, layer, size in ((logits, head._classes, 3), (offsets, head._boxes, 12)):
        size = 4 if agnostic and size == 12 else size
        kernel, bias = (w.numpy() for w in layer.weights)
        bins = (cell @ kernel[0, 0] + bias).reshape(49, size)
        np.testing.assert_allclose(found[0, 0], bins.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_stmn_neck_has_the_convolutions_and_sizes_of_its_authors():
    neck = build_neck(configs.Neck(type="stmn"))
    maps = {"4": tf.zeros([1, 3, 3, 1024]), "5": tf.zeros([1, 3, 3, 2048])}
    at_port = neck.before(maps)
    assert at_port["5"].shape[3] == 1024 and at_port["4"] is maps["4"]
    assert neck(at_port)["5"].shape[3] == 512
    kernels = {v.name.split("/")[-2]: v.shape.as_list() for v in neck.weights if "kernel" in v.name}
    assert kernels == {
        "reduce": [3, 3, 2048, 512],
        "widen": [1, 1, 512, 1024],
        "swapped": [3, 3, 1024, 1024],
        "out": [1, 1, 1024, 512],
    }
    assert neck.count_params() == 9_437_696 + 525_312 + 9_438_208 + 524_800


def receptive(function, cells):
    """Which cells around the middle one change its output, rows relative to it."""
    x = tf.Variable(tf.random.stateless_uniform(cells, [5, 6]))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(function(x)[:, cells[1] // 2, cells[2] // 2])
    seen = np.abs(tape.gradient(y, x).numpy()).max(axis=(0, 3)) > 0
    return set(np.nonzero(seen)[0] - cells[1] // 2)


def test_the_first_convolution_of_the_necks_is_dilated_by_six():
    tf_keras.utils.set_random_seed(1)
    for kind in ("stmn", "fgfa"):
        neck = build_neck(configs.Neck(type=kind, channels=8, width=12))
        assert receptive(lambda x, n=neck: n.before({"5": x})["5"], [1, 15, 15, 3]) == {-6, 0, 6}


def test_activations_of_the_stmn_neck():
    """ReLU behind all but the last."""
    tf_keras.utils.set_random_seed(1)
    neck = build_neck(configs.Neck(type="stmn", channels=4, width=6, dilation=1))
    x = tf.random.stateless_normal([1, 5, 5, 3], [7, 8])
    at_port = neck.before({"5": x})
    swapped = neck.swapped(at_port["5"]).numpy()
    out = neck(at_port)["5"].numpy()
    assert at_port["5"].numpy().min() == 0 and swapped.min() == 0 and out.min() < 0
    expected = swapped @ neck.out.kernel.numpy()[0, 0] + neck.out.bias.numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_fgfa_neck_gives_either_stage_half_of_what_the_memory_returns():
    model = build(tiny_rfcn("fgfa"))
    at_port = {}

    def port(maps, **_):
        at_port.update(maps)
        return {"5": tf.concat([maps["5"][..., :6] * 0.0, maps["5"][..., 6:]], axis=-1)}

    plain, seen = model.look(IMAGES, SHAPES), model.look(IMAGES, SHAPES, port=port)
    assert {k: v.shape[3] for k, v in at_port.items()} == {"5": 12}
    np.testing.assert_array_equal(plain.maps["4"], at_port["5"][..., :6])
    np.testing.assert_array_equal(seen.maps["5"], at_port["5"][..., 6:])
    # The first stage has a bias and 1x1 kernels alone: without its half all places say the same.
    scores = seen.rpn["objectness"].numpy().reshape(2, -1, 6)
    assert np.ptp(scores, axis=1).max() == 0 < np.ptp(plain.rpn["objectness"].numpy())


@pytest.mark.parametrize("port_behind, levels", [("conv3", "3"), ("conv4", "4"), ("conv5", "45")])
def test_a_map_memory_may_sit_behind_each_stage(port_behind, levels):
    """Wherever the port is, the detector is the same, and what the memory returns is used."""
    kind = "dc5" if port_behind == "conv4" else "rfcn"  # the same code for both
    model, plain = build(tiny_rfcn("stmn", port_behind, kind)), build(tiny_rfcn("stmn", kind=kind))
    assert len(model.variables) == len(plain.variables)
    for to, of in zip(parts_of(model), parts_of(plain), strict=True):
        to.set_weights(of.get_weights())
    seen = {}

    def shift(maps, **_):
        seen.update(maps)
        return {level: x + 1.0 for level, x in maps.items()}

    found, expected = model(IMAGES, SHAPES), plain(IMAGES, SHAPES)
    assert_close(found["class_logits"], expected["class_logits"])
    changed = model.look(IMAGES, SHAPES, port=shift)
    assert "".join(seen) == levels
    if port_behind == "conv3":
        assert seen["3"].shape[1:3] == (8, 16)
    apart = changed.maps["5"] - model.look(IMAGES, SHAPES).maps["5"]
    assert np.abs(apart).max() > 1e-3


def parts_of(model):
    """Whatever has weights, in an order that does not depend on where the port is."""
    neck = model.neck
    heads = (model.rpn_head, model.box_head, model.box_predictor)
    return (model.checkpoint_items["backbone"], *neck.embedding, neck.swapped, neck.out, *heads)


class Swap(tf_keras.layers.Layer):
    """Stands for a memory: a convolution of the same shape."""

    def __init__(self):
        super().__init__()
        self.conv = tf_keras.layers.Conv2D(12, 3, padding="same", activation="relu")

    def call(self, maps, *, images=None, shapes=None, memory=None, training=None):
        return {**maps, "5": self.conv(maps["5"])}


def test_a_memory_in_place_of_the_swapped_convolution_can_be_the_still_detector(tmp_path):
    still = build(tiny_rfcn("stmn"))
    model = build(tiny_rfcn("stmn"), map_memory=Swap(), swaps_convolution=True)
    assert len(model.variables) == len(still.variables)
    assert model.neck.swapped is None
    # Through a checkpoint, in which the layer lies under a name to rely on.
    path = tf.train.Checkpoint(model=still).write(str(tmp_path / "still"))
    tf.train.Checkpoint(model=model).read(path).expect_partial()
    for part in ("kernel", "bias"):
        name = f"model/neck/swapped/{part}/.ATTRIBUTES/VARIABLE_VALUE"
        getattr(model.map_memory.conv, part).assign(tf.train.load_variable(path, name))
    found, expected = model(IMAGES, SHAPES), still(IMAGES, SHAPES)
    assert_close(found["class_logits"], expected["class_logits"], share=LOGITS)
    assert float(tf.reduce_max(tf.abs(expected["class_logits"]))) > 0


@pytest.mark.slow
def test_the_first_block_of_conv5_may_stay_undilated():
    tf_keras.utils.set_random_seed(1)
    reach = {}
    for first in (True, False):
        config = tiny_rfcn()
        config.backbone.model_id = 50
        config.backbone.dilate_first_block = first
        resnet = build_faster_rcnn(config).checkpoint_items["backbone"]
        reach[first] = receptive(resnet.conv5(), [1, 21, 21, resnet.output["4"].shape[3]])
    assert reach == {True: set(range(-6, 7, 2)), False: set(range(-5, 6))}


@pytest.mark.parametrize("depth", [18, 34, 50, pytest.param(101, marks=pytest.mark.slow)])
def test_every_depth_has_conv5_at_stride_sixteen(depth):
    config = tiny_rfcn("rfcn")
    config.backbone.model_id = depth
    model = build_faster_rcnn(config)
    shape = model.backbone.compute_output_shape([1, 64, 128, 3])
    assert list(shape["5"][1:3]) == [4, 8]
    assert sorted(model.checkpoint_items["backbone"].output) == ["2", "3", "4", "5"]


def test_what_does_not_fit_is_refused_with_the_reason():
    memory = tf_keras.layers.Layer()
    with pytest.raises(ValueError, match="a memory of boxes has nothing to hold"):
        build_faster_rcnn(tiny_rfcn(), box_memory=memory)
    with pytest.raises(ValueError, match="choose model.neck.type stmn or"):
        build_faster_rcnn(tiny_rfcn("rfcn"), map_memory=memory, swaps_convolution=True)
    with pytest.raises(ValueError, match="leave model.backbone.port_behind at conv5"):
        build_faster_rcnn(
            tiny_rfcn("stmn", port_behind="conv4"), map_memory=memory, swaps_convolution=True
        )
    with pytest.raises(ValueError, match="model.neck.type is for dc5, rfcn, not c4; got 'stmn'"):
        build_faster_rcnn(tiny_rfcn("stmn", kind="c4"))
    with pytest.raises(ValueError, match="port_behind is for dc5, rfcn, not fpn"):
        build_faster_rcnn(tiny_rfcn(port_behind="conv3", kind="fpn"))
    with pytest.raises(ValueError, match="must be one of none, rfcn, stmn, fgfa, got 'fpn'"):
        build_faster_rcnn(tiny_rfcn("fpn"))
    with pytest.raises(ValueError, match="must be one of conv3, conv4, conv5, got 'conv2'"):
        build_faster_rcnn(tiny_rfcn(port_behind="conv2"))
    config = tiny_rfcn()
    config.boxes.hidden = [16]
    with pytest.raises(ValueError, match="rfcn has no dense layers"):
        build_faster_rcnn(config)


def test_an_extractor_of_it_is_refused():
    from context_rcnn.export.extractor import Extractor

    with pytest.raises(ValueError, match="a bank has nothing to remember"):
        Extractor(
            build(tiny_rfcn()),
            image_size=(64, 128),
            keep_aspect_ratio=False,
            source="detections",
            class_names={1: "a"},
        )


@pytest.mark.parametrize("port_behind", ["conv3", "conv5"])
def test_parts_have_the_names_of_other_detectors(port_behind):
    model = build(tiny_rfcn("stmn", port_behind))
    parts = freezing.parts_of(model)
    stages = ["conv1", "res2", "res3", "res4", "res5"]
    assert {*stages, "backbone", "neck", "first_stage", "box_head"} == set(parts)
    assert len(parts["neck"]) == 4

    def variables(names):
        return {id(v) for name in names for layer in parts[name] for v in layer.variables}

    assert variables(stages) == variables(["backbone"])
    everything = variables(["backbone", "neck", "first_stage", "box_head"])
    assert everything == {id(v) for v in model.variables}


def test_a_box_may_have_three_by_three_places():
    """Each of the nine has maps of its own: a box of nine cells, one a place."""
    head = rfcn.PositionSensitiveHead(1, class_agnostic=True, bins=3)
    cells = tf.random.stateless_normal([1, 3, 3, 5], [3, 4])
    crops = head.crop({"5": cells}, tf.constant([[[0.0, 0.0, 47.0, 47.0]]]))
    assert crops.shape == (1, 1, 3, 3, 6)
    logits, _ = rfcn.Vote(1)(crops)
    kernel = head._classes.kernel.numpy()[0, 0].reshape(5, 9, 2)
    by_hand = np.einsum("pd,dpc->c", cells.numpy().reshape(9, 5), kernel) / 9
    np.testing.assert_allclose(logits[0, 0], by_hand, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="boxes.bins is for rfcn, not c4; got 3"):
        config = tiny_config("c4")
        config.boxes.bins = 3
        build_faster_rcnn(config)


def test_bins_may_end_within_cells():
    """A box a quarter of a cell further down takes a quarter of the next row."""
    head = rfcn.PositionSensitiveHead(1, class_agnostic=True, bins=1, exact=True)
    cells = tf.random.stateless_normal([1, 3, 3, 5], [3, 4])
    crops = head.crop({"5": cells}, tf.constant([[[0.0, 0.0, 16.0, 16.0], [4.0, 0.0, 20.0, 16.0]]]))
    logits, _ = rfcn.Vote(1)(crops)
    kernel = head._classes.kernel.numpy()[0, 0]
    first, below = cells.numpy()[0, :2, 0]
    by_hand = np.stack([first, 0.75 * first + 0.25 * below]) @ kernel
    np.testing.assert_allclose(logits[0], by_hand, rtol=1e-4, atol=1e-7)


def test_edges_of_bins_are_checked():
    config = tiny_config("rfcn")
    config.boxes.bin_edges = "pixels"
    with pytest.raises(ValueError, match="bin_edges must be cells or exact, got 'pixels'"):
        build_faster_rcnn(config)
    config = tiny_config("c4")
    config.boxes.bin_edges = "exact"
    with pytest.raises(ValueError, match="boxes.bin_edges is for rfcn, not c4; got 'exact'"):
        build_faster_rcnn(config)
