"""A model that names given boxes answers from what its extractor saw of them as from the image."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from context_rcnn.configs import schema
from context_rcnn.data.label_map import format_label_map
from context_rcnn.export.exported import EmbeddedImage, ExportedModel, GivenImage
from tests.tolerance import assert_detections_close

SIZE, COUNT = (48, 64), 3


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head with random weights, on a network that says the colours of a crop's quarters."""
    from context_rcnn.export.boxes import export_boxes
    from context_rcnn.export.export import export_run
    from context_rcnn.tasks.detection import DetectionTask

    folder = tmp_path_factory.mktemp("head")

    class Quarters(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def embed(self, crops):
            return {"vectors": tf.reshape(tf.nn.avg_pool2d(crops / 255.0, 4, 4, "VALID"), [-1, 12])}

    network = Quarters()
    tf.saved_model.save(network, str(folder / "network"), signatures=network.embed)
    made_by = export_boxes(str(folder / "network"), str(folder / "extractor"), SIZE, COUNT)
    (folder / "labels.pbtxt").write_text(format_label_map({"fox": 1, "deer": 2}))
    config = schema.load_experiment("memory_head")
    config.task.override(
        {
            "label_map": str(folder / "labels.pbtxt"),
            "learn_on": "images",
            "model": {
                "image_size": list(SIZE),
                "backbone": {"embedder": str(folder / "network")},
                "proposals": {"count": COUNT},
                "detections": {"count": COUNT},
            },
            "temporal": {
                "context_rcnn": {
                    "depth": 8,
                    "long_term": {"entry_size": 12 + 9, "extractor": made_by["hash"]},
                }
            },
            "memory": {"max_entries": 4},
        }
    )
    tf_keras.utils.set_random_seed(3)
    model = DetectionTask(config.task).build_model()
    for variable in model.trainable_variables:
        variable.assign(tf.random.normal(variable.shape, stddev=0.5))
    (folder / "run").mkdir()
    schema.save_experiment(config, f"{folder}/run/params.yaml")
    tf.train.Checkpoint(model=model).save(f"{folder}/run/ckpt")
    export_run(f"{folder}/run", f"{folder}/model", extractor=f"{folder}/extractor")
    return types.SimpleNamespace(model=ExportedModel(folder / "model"), folder=folder)


@pytest.fixture(scope="module")
def given():
    """Images of different shapes with three boxes, with one whose score is 0, and without any."""
    rng = np.random.default_rng(0)
    boxes = np.float32([[0.1, 0.2, 0.6, 0.5], [0.0, 0.0, 1.0, 1.0], [0.4, 0.5, 0.9, 0.95]])
    scores = np.float32([0.3, 0.9, 0.5])
    rows = []
    for kept, size in ((3, (60, 50, 3)), (1, (40, 90, 3)), (0, (48, 64, 3))):
        pixels = rng.integers(0, 256, size).astype(np.uint8)
        known = scores[:kept] if kept == 3 else np.zeros(kept, np.float32)
        rows.append(GivenImage(tf.io.encode_png(pixels).numpy(), boxes[:kept], known))
    return rows


@pytest.fixture(scope="module")
def embedded(head, given):
    outputs = head.model.extract(given)
    rows = [{name: value[i] for name, value in outputs.items()} for i in range(len(given))]
    return [EmbeddedImage.of(row) for row in rows]


@pytest.fixture(scope="module")
def memory(head):
    features = np.random.default_rng(1).normal(size=(5, 12 + 9)).astype(np.float32)
    keys, values = head.model.project(features)
    return keys[None], values[None]


def test_its_answers_are_those_of_the_image(head, given, embedded, memory):
    valid = np.array([[True] * 5, [False, True, False, True, False], [True] * 5])
    assert [len(row.scores) for row in embedded] == [3, 1, 0]
    for call, rest in (
        (head.model.detect, ()),
        (head.model.detect_with_projected, (*memory, valid)),
    ):
        expected, found = call(given, *rest), call(embedded, *rest)
        assert (expected["scores"] > 0).sum(axis=1).tolist() == [3, 1, 0]
        assert_detections_close(
            {f"detection_{name}": value for name, value in found.items()},
            {f"detection_{name}": value for name, value in expected.items()},
        )
    alone = head.model.detect(embedded)
    assert np.abs(alone["scores"] - found["scores"]).max() > 1e-3, "the memory counts"


def test_it_says_which_entries_are_looked_at(head, embedded, memory):
    valid = np.zeros([3, 5], bool)
    valid[0, 3] = valid[1, 1] = valid[2, 2] = True
    found = head.model.explain_with_projected(embedded, *memory, valid)
    answer = head.model.detect_with_projected(embedded, *memory, valid)
    np.testing.assert_allclose(found["scores"], answer["scores"], rtol=1e-5)
    for i, entry in ((0, 3), (1, 1)):
        there = found["scores"][i] >= 0
        assert (found["attention_index"][i, there, 0] == entry).all()
        np.testing.assert_allclose(found["attention_weight"][i, there, 0], 1.0, rtol=1e-5)
        np.testing.assert_allclose(found["attention_weight"][i, there, 1:], 0.0, atol=1e-6)


def test_images_and_embedded_images_do_not_mix(head, given, embedded):
    assert head.model.description["embedded"] is True
    with pytest.raises(ValueError, match="or all of them"):
        head.model.detect([given[0], embedded[1]])


def test_the_doctor_knows_these_functions(head, capsys):
    from context_rcnn import cli

    assert cli.main(["doctor", f"--model={head.folder / 'model'}"]) == 0
    assert "detect_embedded_with_projected" in capsys.readouterr().out
