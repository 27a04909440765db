"""The report's own reading of an evaluation's files gives the numbers that the evaluation gave."""

import numpy as np
import pytest
import tensorflow as tf

from context_rcnn.data import examples
from context_rcnn.evaluation import coco, results
from context_rcnn.evaluation.groundtruth import Image
from context_rcnn.report import compare, curves, runs
from context_rcnn.report.page import ReportOptions, write_report
from context_rcnn.report.pixels import Album

CLASSES = {1: "cat", 2: "dog", 3: "nobody"}
RECALLS = (0.2, 0.5, 0.7)


def evaluate(folder, seed, noise):
    """Random images, and detections that hit some of their boxes; as a run evaluates them."""
    labels, rng = np.random.default_rng(0), np.random.default_rng(seed)
    images, found = [], coco.Detections()
    for i in range(60):
        count = int(labels.integers(0, 4)) if i % 3 else 0
        corners = labels.uniform(0, 0.7, (count, 2))
        boxes = np.concatenate([corners, corners + labels.uniform(0.1, 0.3, (count, 2))], axis=1)
        classes = labels.integers(1, 3, count)
        images.append(Image(f"i{i}", i, f"c{i % 3}", 120, 90, boxes, classes))
        hits = boxes + rng.normal(0, noise, boxes.shape)
        others = np.sort(rng.uniform(0, 1, (4, 2, 2)), axis=1).reshape(4, 4)
        found.add(
            i,
            np.concatenate([hits, others]),
            rng.uniform(0, 1, count + 4).round(2),
            np.concatenate([classes, rng.integers(1, 4, 4)]),
        )
    metrics = results.measure(images, found, CLASSES, RECALLS)
    results.write_results(str(folder), metrics, images, found, CLASSES)
    return str(folder), metrics


def test_numbers_and_thresholds_are_those_of_the_evaluation(tmp_path):
    folder, metrics = evaluate(tmp_path / "step-1", 1, 0.02)
    run = runs.read_run(folder, "--evaluation")
    everything = np.arange(len(run.image_ids))
    measured = curves.measure(run, everything)
    assert measured.mean_ap == pytest.approx(metrics["mAP@.5"], abs=1e-9)
    assert measured.average_recall_1 == pytest.approx(metrics["AR@1"], abs=1e-9)
    for name, curve in measured.curves.items():
        assert curve.boxes == metrics["per_class"][name]["boxes"]
        assert curve.ap == pytest.approx(metrics["per_class"][name]["AP@.5"], abs=1e-9)
    assert measured.curves["nobody"].ap is None

    other, other_metrics = evaluate(tmp_path / "step-2", 2, 0.04)
    baseline = runs.read_run(other, "--baseline")
    empties = [m["false_positives_per_1000_empty_images"] for m in (other_metrics, metrics)]
    pairing = compare.pair(baseline, run)
    assert not pairing.truth_differs and len(pairing.memory) == 60
    for recall in RECALLS:
        rows = [table[f"{recall:g}"] for table in empties]
        compared = compare.compare(baseline, run, pairing, recall)
        if None in (row["threshold"] for row in rows):
            assert compared is None or compared.recall < recall
            continue
        assert compared.thresholds == pytest.approx([row["threshold"] for row in rows])
        rates = [1000 * n / compared.empty_images for n in compared.reported]
        assert rates == pytest.approx([row["detections"] for row in rows])


def test_pixels_are_read_from_examples(tmp_path):
    def record(name, red):
        pixels = tf.fill([40, 60, 3], tf.constant(red, tf.uint8))
        values = {examples.SOURCE_ID: name.encode(), examples.ENCODED: tf.io.encode_png(pixels)}
        values = {k: v if isinstance(v, bytes) else v.numpy() for k, v in values.items()}
        feature = {
            k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()
        }
        feature[examples.BOX_XMIN] = tf.train.Feature(float_list=tf.train.FloatList(value=[0.5]))
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    names = ["plain", "<b>é\n", "../up"]
    path = str(tmp_path / "val-00000-of-00001.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for i, name in enumerate(names):
            writer.write(record(name, 100 * i))
    album = Album()
    for name in (*names, "absent"):
        album.want(name, 30)
    album.fill(str(tmp_path / "page"), examples=path)
    assert [album.get(name).file for name in names] == [f"images/000{i}.jpg" for i in (1, 2, 3)]
    assert (album.get("plain").width, album.get("plain").height) == (30, 20)
    assert album.failures == {"absent": "not in the examples"}

    data = bytearray((tmp_path / "val-00000-of-00001.tfrecord").read_bytes())
    data[40] ^= 255
    (tmp_path / "val-00000-of-00001.tfrecord").write_bytes(data)
    with pytest.raises(ValueError, match="val-00000-of-00001.tfrecord is damaged"):
        album.fill(str(tmp_path / "page"), examples=path)


def test_a_report_of_real_evaluations_has_every_section(tmp_path):
    memory, _ = evaluate(tmp_path / "m" / "evaluation" / "step-1", 1, 0.02)
    baseline, _ = evaluate(tmp_path / "b" / "evaluation" / "step-1", 2, 0.03)
    index = write_report(
        ReportOptions(str(tmp_path / "m"), str(tmp_path / "out"), baseline=str(tmp_path / "b"))
    )
    with open(index) as file:
        text = file.read()
    assert text.count("<section") == 9 and "c2" in text and "nobody" in text
    assert memory != baseline
