"""The frozen extractor: what it gives, and what its hash stands for.

`test_export.py` asks it in a fresh process, as a file of its own and as part of a model.
"""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn import configs
from context_rcnn.data import input as input_lib
from context_rcnn.detectors.faster_rcnn import build_faster_rcnn
from context_rcnn.export import extractor as extractor_lib

SIZE = (64, 96)


def build(seed=0):
    tf_keras.utils.set_random_seed(seed)
    model = build_faster_rcnn(
        configs.FasterRcnn(
            num_classes=3,
            image_size=list(SIZE),
            backbone=configs.Backbone(model_id=10, depth_multiplier=0.125),
            anchors=configs.Anchors(size=32.0, scales=[0.5, 1.0]),
            proposals=configs.Proposals(filters=8, pre_nms=100, count=12),
            detections=configs.Detections(score_threshold=0.2, count=6),
        )
    )
    model(tf.zeros([1, *SIZE, 3]), tf.constant([SIZE], tf.float32))
    for variable in model.trainable_variables:
        if any(part in variable.name for part in ("rpn-", "classes/kernel", "boxes/kernel")):
            variable.assign(tf.random.normal(variable.shape, stddev=0.1))
    return model


def make(model, source="detections", **changes):
    options = {
        "image_size": SIZE,
        "keep_aspect_ratio": True,
        "source": source,
        "class_names": {1: "a", 2: "b", 3: "c"},
    } | changes
    return extractor_lib.Extractor(model, **options)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def made(model):
    """The extractor of each source."""
    return {source: make(model, source) for source in extractor_lib.SOURCES}


@pytest.mark.parametrize("source", extractor_lib.SOURCES)
def test_features_are_those_of_the_boxes_they_come_with(model, made, photographs, source):
    """Cropping the boxes that come out by hand gives the features that come out."""
    outputs = made[source].extract(tf.constant(photographs))
    for i, encoded in enumerate(photographs):
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image, shape = input_lib.resize(image, SIZE, True)
        maps = model.look(image[None], shape[None]).maps
        boxes = outputs["boxes"][i : i + 1] * tf.tile(shape[None], [1, 2])[:, None]
        crops = model.box_head(model.box_head.crop(maps, boxes), training=False)
        expected = crops.numpy().mean(axis=(2, 3))[0]
        valid = outputs["scores"][i].numpy() >= 0
        assert valid.any()
        np.testing.assert_allclose(
            outputs["features"][i].numpy()[valid], expected[valid], atol=2e-3
        )
        assert not outputs["features"][i].numpy()[~valid].any()
        assert not outputs["boxes"][i].numpy()[~valid].any()
        assert (np.diff(outputs["scores"][i].numpy()) <= 1e-6).all(), "best first"


def test_detections_are_those_of_the_detector(model, made, photographs):
    outputs = made["detections"].extract(tf.constant(photographs))
    image, shape = input_lib.resize(
        tf.io.decode_image(photographs[0], channels=3, expand_animations=False), SIZE, True
    )
    found = model(image[None], shape[None], training=False)
    np.testing.assert_allclose(
        outputs["scores"][0], found["detection_scores"][0], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(outputs["classes"][0], found["detection_classes"][0])


@pytest.mark.parametrize("source", extractor_lib.SOURCES)
def test_fewer_boxes_are_the_best_ones(model, made, photographs, source):
    many, few = made[source], make(model, source, max_boxes=2)
    many, few = (e.extract(tf.constant(photographs)) for e in (many, few))
    for name, value in few.items():
        np.testing.assert_allclose(value, many[name][:, :2], rtol=1e-4, atol=1e-4)


@pytest.mark.whole
def test_a_training_run_is_frozen_with_its_best_checkpoint(tmp_path, photographs):
    from context_rcnn.configs import schema
    from context_rcnn.data.label_map import format_label_map
    from context_rcnn.tasks.detection import DetectionTask

    (tmp_path / "label_map.pbtxt").write_text(format_label_map({"a": 1, "b": 2}))
    config = schema.load_experiment(
        "faster_rcnn_tiny",
        (),
        "task.model.image_size=[64,96],task.model.backbone.depth_multiplier=0.125,"
        f"task.label_map={tmp_path}/label_map.pbtxt,task.model.proposals.count=12",
    )
    schema.save_experiment(config, str(tmp_path / "params.yaml"))
    saved = {}
    for folder, seed in (("", 1), ("best_checkpoint/", 2)):
        tf_keras.utils.set_random_seed(seed)
        run = DetectionTask(config.task).build_model()
        saved[folder] = run
        checkpoint = tf.train.Checkpoint(model=run)
        tf.train.CheckpointManager(checkpoint, f"{tmp_path}/{folder}", 1).save()
    description = extractor_lib.export_extractor(str(tmp_path), str(tmp_path / "frozen"))
    module, loaded = extractor_lib.load_extractor(str(tmp_path / "frozen"))
    assert loaded == description and loaded["classes"] == {"1": "a", "2": "b"}
    expected = make(
        saved["best_checkpoint/"],
        image_size=(64, 96),
        keep_aspect_ratio=False,
        class_names={1: "a", 2: "b"},
    )
    assert description["hash"] == expected.description["hash"]
    found = module.extract(tf.constant(photographs))
    np.testing.assert_allclose(
        found["features"],
        expected.extract(tf.constant(photographs))["features"],
        rtol=1e-4,
        atol=1e-4,
    )
    with pytest.raises(ValueError, match="not the folder of a run"):
        extractor_lib.export_extractor(str(tmp_path / "nowhere"), str(tmp_path / "x"))


def test_a_batch_gives_what_its_images_give_alone(made, photographs):
    extractor = made["detections"]
    together = extractor.extract(tf.constant(photographs))
    for i, encoded in enumerate(photographs):
        alone = extractor.extract(tf.constant([encoded]))
        for name in together:
            np.testing.assert_allclose(together[name][i], alone[name][0], rtol=1e-4, atol=1e-4)


def test_the_hash_changes_with_a_weight_and_with_the_preprocessing(model, made):
    first = made["detections"].description["hash"]
    assert make(model, keep_aspect_ratio=False).description["hash"] != first
    assert made["proposals"].description["hash"] != first
    other = build()
    assert make(other).description["hash"] == first
    other.variables[-1].assign_add(tf.fill(other.variables[-1].shape, 1e-6))
    assert make(other).description["hash"] != first


def test_what_is_no_extractor_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="not an extractor: there is no extractor.json"):
        extractor_lib.load_extractor(str(tmp_path))
    with pytest.raises(ValueError, match="source must be one of detections, proposals"):
        make(model, source="dreams")


@pytest.mark.parametrize("kind", ["s3d", "st_spatial"])
def test_a_run_that_looks_at_whole_windows_is_no_extractor(make_run, tmp_path, kind):
    """It would silently be that of a single frame."""
    run = make_run({"type": kind}, clip={"frames": 3})
    with pytest.raises(ValueError, match=f"{kind} looks at 3 frames at once, and an extractor"):
        extractor_lib.export_extractor(run.folder, str(tmp_path / "extractor"))
    assert not (tmp_path / "extractor").exists()


def test_an_extractor_keeps_what_the_map_port_does(model, made, photographs):
    """Its features are cropped from the maps behind port 1."""
    before = made["detections"].extract(tf.constant(photographs))["features"].numpy()
    port, model.map_memory = (
        model.map_memory,
        lambda maps, **_: {level: value * 0.5 for level, value in maps.items()},
    )
    try:
        after = make(model, "detections").extract(tf.constant(photographs))["features"].numpy()
    finally:
        model.map_memory = port
    assert np.abs(after - before).max() > 1e-2
