"""A bank of what a network sees in MegaDetector's boxes, straight from photographs."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from beam_pipelines import (
    boxes,
    build_memory_bank,
    create_examples,
    extraction,
    store_features,
)
from beam_pipelines.sources import examples_files
from context_rcnn.memory_bank.store import Bank

COLOURS = {"a.jpg": (200, 40, 40), "b.jpg": (40, 200, 40), "c.jpg": (40, 40, 200)}
GREY = (90, 90, 90)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Grey photographs with a coloured animal, MegaDetector's results, and a network that says the
    mean colour of a crop."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "photos" / "site 1").mkdir(parents=True)
    images = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        image = Image.new("RGB", (160, 120), GREY)
        image.paste(colour, (40, 30, 80, 70))
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2023:05:0{number + 1} 06:07:08"
        image.save(folder / "photos" / "site 1" / name, exif=exif, quality=95)
        animal = {"category": "1", "conf": 0.6, "bbox": [0.25, 0.25, 0.25, 1 / 3]}
        branch = {"category": "1", "conf": 0.2, "bbox": [0.6, 0.6, 0.3, 0.3]}
        images.append({"file": f"site 1/{name}", "detections": [branch, animal][: number + 1]})
    results = {"detection_categories": {"1": "animal"}, "images": images}
    (folder / "md.json").write_text(json.dumps(results))

    class Colour(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.uint8)])
        def embed(self, crops):
            return {"vectors": tf.reduce_mean(tf.cast(crops, tf.float32), axis=[1, 2])}

    network = Colour()
    tf.saved_model.save(network, str(folder / "embedder"), signatures=network.embed)
    return folder


def flags(photos, *more):
    return [
        f"--input_folder={photos / 'photos'}",
        f"--embedder={photos / 'embedder'}",
        *("--image_size", "120", "160", "--boxes=2", "--num_shards=1", "--dtype=float32"),
        *more,
    ]


def test_the_best_box_of_each_photograph_is_remembered(photos, tmp_path):
    given = [f"--detections={photos / 'md.json'}", f"--output_dir={tmp_path / 'bank'}"]
    assert build_memory_bank.main(flags(photos, *given)) == 0
    bank = Bank.open(tmp_path / "bank")
    entries = bank.camera("site 1")
    assert bank.info.feature_source == "boxes of another detector"
    np.testing.assert_allclose(entries.scores, [0.2, 0.6, 0.6], atol=1e-6)
    expected = [GREY, COLOURS["b.jpg"], COLOURS["c.jpg"]]  # of a.jpg only the branch is given
    np.testing.assert_allclose(entries.features.read(np.arange(3)), expected, atol=6)
    assert entries.dated.all() and np.diff(entries.seconds).tolist() == [86400, 86400]
    assert build_memory_bank.main(flags(photos, *given)) == 0  # the same network, the same hash


@pytest.fixture(scope="module")
def examples(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    given = [f"--input_folder={photos / 'photos'}", f"--detections={photos / 'md.json'}"]
    assert create_examples.main([*given, f"--output_dir={folder}", "--val_fraction=0"]) == 0
    return f"--examples={folder}"


def test_a_bank_is_made_of_a_store_without_another_look(
    photos, examples, tmp_path, monkeypatch, capsys
):
    sees = [*flags(photos)[1:-1], "--dtype=float16"]
    store, folder = str(tmp_path / "store"), str(tmp_path / "bank")
    assert store_features.main([examples, *sees, f"--output_dir={store}"]) == 0

    def look(*args):
        raise AssertionError("the network looks again")

    monkeypatch.setattr(extraction, "_run", look)
    monkeypatch.setattr(boxes, "freeze_boxes", look)
    given = [examples, f"--store={store}", "--num_shards=1"]
    assert build_memory_bank.main([*given, f"--output_dir={folder}"]) == 0
    bank = Bank.open(folder)
    assert bank.info.extractor_hash == Bank.open(store).info.extractor_hash
    assert bank.info.feature_source == "boxes of another detector"
    entries = bank.camera("site 1")
    np.testing.assert_allclose(entries.scores, [0.2, 0.6, 0.6], atol=1e-6)
    expected = [GREY, COLOURS["b.jpg"], COLOURS["c.jpg"]]
    np.testing.assert_allclose(entries.features.read(np.arange(3)), expected, atol=6)
    np.testing.assert_allclose(entries.boxes[1], [0.25, 0.25, 7 / 12, 0.5], atol=1e-5)
    assert entries.dated.all() and np.diff(entries.seconds).tolist() == [86400, 86400]
    assert entries.classes.tolist() == [1, 1, 1] and entries.ranks.tolist() == [0, 0, 0]
    assert build_memory_bank.main([*given, "--dtype=float32", f"--output_dir={folder}2"]) == 2
    assert build_memory_bank.main([examples, f"--store={folder}", f"--output_dir={folder}3"]) == 2
    said = capsys.readouterr().err
    assert "has features of type float16: give --dtype float16" in said
    assert "not a store of images" in said


def test_a_network_without_boxes_is_refused(photos, tmp_path, capsys):
    assert build_memory_bank.main(flags(photos, f"--output_dir={tmp_path / 'bank'}")) == 2
    assert "--embedder sees given boxes" in capsys.readouterr().err


@pytest.mark.parametrize("pipeline", [store_features, build_memory_bank])
def test_examples_without_boxes_of_another_detector_are_refused(photos, tmp_path, capsys, pipeline):
    def example(**more):
        features = {"image/encoded": b"jpeg", "image/source_id": b"a", "image/location": b"site"}
        values = {
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for name, value in features.items()
        }
        values |= {
            f"image/proposals/{name}": tf.train.Feature(
                float_list=tf.train.FloatList(value=[value])
            )
            for name, value in more.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()

    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as file:
        for _ in range(3):
            file.write(example())
    argv = [f"--examples={tmp_path}/*.tfrecord", f"--embedder={photos / 'embedder'}"]
    assert pipeline.main([*argv, f"--output_dir={tmp_path / 'out'}"]) == 2
    assert "none of the 3 images has proposals" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "nothing is written"
    edges = {"bbox/ymin": 0.1, "bbox/xmin": 0.2, "bbox/ymax": 0.5, "bbox/xmax": 0.6}
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as file:
        file.write(example(**edges, score=0.9))
    boxes.check_proposals(examples_files(f"{tmp_path}/*.tfrecord"))
