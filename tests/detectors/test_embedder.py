"""A network on crops of given boxes: its vectors against NumPy, and what is no such network."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn import configs
from context_rcnn.detectors import embedder
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.detectors.heads import pool_boxes
from context_rcnn.detectors.two_stage import Proposals
from context_rcnn.export.boxes import export_boxes, settings_of
from context_rcnn.export.extractor import load_extractor

SIZE = (48, 64)


def save(folder, function, *specs):
    module = tf.Module()
    module.gain = tf.Variable(2.0)
    module.function = tf.function(lambda *inputs: function(module.gain, *inputs), specs)
    tf.saved_model.save(module, str(folder), signatures=module.function)
    return str(folder)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Means of the four quarters of a crop of 8x8, doubled."""
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)

    def quarters(gain, crops):
        return {"vectors": gain * tf.reshape(tf.nn.avg_pool2d(crops, 4, 4, "VALID"), [-1, 12])}

    return save(tmp_path_factory.mktemp("network"), quarters, spec)


def expected_vectors(image, box):
    """Of a square of the box's longer side around its middle, sampled at the centres of 8x8 pixels;
    black outside of the image."""
    half = max(box[2] - box[0], box[3] - box[1]) / 2
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    crop = np.zeros([8, 8, 3])
    for i in range(8):
        for j in range(8):
            y = middle[0] - half + 2 * half * (i + 0.5) / 8 - 0.5
            x = middle[1] - half + 2 * half * (j + 0.5) / 8 - 0.5
            if 0 <= y <= image.shape[0] - 1 and 0 <= x <= image.shape[1] - 1:
                top, left = int(y), int(x)
                down, right = min(top + 1, SIZE[0] - 1), min(left + 1, SIZE[1] - 1)
                for row, of_row in ((top, 1 - y + top), (down, y - top)):
                    for column, of_column in ((left, 1 - x + left), (right, x - left)):
                        crop[i, j] += of_row * of_column * image[row, column]
    return 2 * crop.reshape(2, 4, 2, 4, 3).mean((1, 3)).ravel()


def test_box_features_are_the_networks_vectors_of_square_crops(network):
    model = build_faster_rcnn(settings_of(network, SIZE, 3).replace(num_classes=2))
    image = np.random.default_rng(0).integers(0, 256, [*SIZE, 3]).astype(np.uint8)
    boxes = np.float32([[4, 5, 20, 40], [0, 0, 47, 63], [30, 50, 46, 62]])
    given = Proposals(tf.constant([boxes]), tf.ones([1, 3]), tf.ones([1, 3], tf.bool))
    shapes = tf.constant([SIZE], tf.float32)
    seen = model.look(tf.constant(image[None]), shapes, given=given)
    found = pool_boxes(model.features(seen, training=False))[0]
    for vector, box in zip(found, boxes, strict=True):
        np.testing.assert_allclose(vector, expected_vectors(image, box), rtol=1e-4, atol=1e-2)
    model(tf.constant(image[None]), shapes, given=given)
    learning = {id(variable) for variable in model.trainable_variables}
    assert learning == {id(variable) for variable in model.box_predictor.variables}
    assert any(variable.shape == () for variable in model.variables)  # the network's own, frozen


def test_a_bank_and_a_store_get_the_same_vectors(network, tmp_path):
    described = export_boxes(network, str(tmp_path / "boxes"), SIZE, 2)
    module, read = load_extractor(str(tmp_path / "boxes"))
    assert read == described and described["depth"] == 12 and described["given"] == 2
    image = np.random.default_rng(1).integers(0, 256, [*SIZE, 3]).astype(np.uint8)
    both = (image, image[:, ::-1])
    encoded = tf.constant([tf.io.encode_png(one).numpy() for one in both])
    boxes = np.float32([[0.1, 0.2, 0.5, 0.6], [0.0, 0.5, 0.9, 0.9], [0.3, 0.3, 0.4, 0.9]])
    flipped = np.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=1)
    given = tf.constant(np.stack([boxes, flipped])), tf.constant([[0.3, 0.9, 0.5]] * 2)
    bank = module.extract(encoded, *given)
    np.testing.assert_allclose(bank["scores"], [[0.9, 0.5]] * 2)
    np.testing.assert_allclose(bank["boxes"][0], boxes[[1, 2]], atol=1e-6)
    np.testing.assert_allclose(
        bank["features"][0, 0], expected_vectors(image, boxes[1] * [48, 64, 48, 64]), atol=0.05
    )
    labelled = np.zeros([2, 16, 4], np.float32)
    labelled[:, 0] = boxes[0]
    store = module.propose(encoded, tf.constant(labelled), tf.constant(False), *given)
    np.testing.assert_allclose(store["features"], bank["features"], rtol=1e-5)
    np.testing.assert_allclose(
        store["labelled_features"][0, 0],
        expected_vectors(image, boxes[0] * [48, 64, 48, 64]),
        atol=0.05,
    )
    # The mirror image of the first is the second, and its boxes are the second's.
    mirrored = module.propose(encoded[:1], labelled[:1], tf.constant(True), *(g[1:] for g in given))
    np.testing.assert_allclose(mirrored["features"][0], store["features"][1], rtol=1e-4, atol=1e-3)


def test_a_hash_knows_the_networks_constants_and_not_its_place(tmp_path):
    def three(gain, crops):
        return {"vectors": 3.0 * gain * tf.reduce_mean(crops, axis=[1, 2])}

    def two(gain, crops):
        return {"vectors": 2.0 * gain * tf.reduce_mean(crops, axis=[1, 2])}

    spec, hashes = tf.TensorSpec([None, 8, 8, 3], tf.float32), []
    for name, function in (("a", three), ("b", two)):
        save(tmp_path / name, function, spec)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    for name in ("a", "b", "copy"):
        described = export_boxes(str(tmp_path / name), str(tmp_path / f"boxes {name}"), SIZE, 2)
        hashes.append(described["hash"])
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_box_is_detected_once_as_its_best_class(network):
    config = settings_of(network, SIZE, 3).replace(num_classes=2)
    model = build_faster_rcnn(config.replace(detections={"best_class_only": True, "count": 6}))
    boxes = tf.constant([[[0.0, 0, 20, 20], [10, 10, 30, 40], [20, 5, 40, 60]]])
    given = Proposals(boxes, tf.ones([1, 3]), tf.constant([[True, True, False]]))
    logits = tf.constant([[[0.0, 1, 2], [0, 3, 2], [0, 9, 0]]])
    found = model.detect(logits, tf.zeros([1, 3, 12]), given, tf.constant([SIZE], tf.float32))
    assert found["num_detections"].numpy().tolist() == [2]
    assert found["detection_classes"][0, :2].numpy().tolist() == [1, 2]
    shares = np.exp([3.0, 2.0]) / [1 + np.exp(3) + np.exp(2), 1 + np.exp(1) + np.exp(2)]
    np.testing.assert_allclose(found["detection_scores"][0, :2], shares, rtol=1e-5)
    np.testing.assert_allclose(found["detection_boxes"][0, :2], boxes.numpy()[0, [1, 0]], atol=1e-4)


@pytest.mark.parametrize(
    "shape, dtype, output, message",
    [
        ([None, 8, 8, 1], tf.float32, [12], r"crops \[n, h, w, 3\]"),
        ([None, 8, 8, 3], tf.int32, [12], "must be float32 or uint8"),
        ([None, 8, 8, 3], tf.float32, [2, 6], r"vectors \[n, depth\]"),
    ],
)
def test_what_is_no_embedding_network_is_refused(tmp_path, shape, dtype, output, message):
    def function(gain, crops):
        return {"out": tf.zeros([tf.shape(crops)[0], *output]) * gain}

    folder = save(tmp_path / "network", function, tf.TensorSpec(shape, dtype))
    with pytest.raises(ValueError, match=message):
        embedder.load_embedder(folder)


def test_the_settings_say_what_is_missing(network, tmp_path):
    config = settings_of(network, SIZE, 3).replace(num_classes=1)
    with pytest.raises(ValueError, match="source must be given"):
        build_faster_rcnn(config.replace(proposals={"source": "first_stage"}))
    with pytest.raises(ValueError, match="set it to the SavedModel"):
        build_faster_rcnn(config.replace(backbone={"embedder": ""}))
    with pytest.raises(ValueError, match="there is no SavedModel in it"):
        build_faster_rcnn(config.replace(backbone={"embedder": str(tmp_path)}))
    with pytest.raises(ValueError, match=r"model.backbone.embedder is for embedder, not c4"):
        backbone = configs.Backbone(kind="c4", embedder=network)
        build_faster_rcnn(configs.FasterRcnn(num_classes=1, backbone=backbone))
