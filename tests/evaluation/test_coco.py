"""COCO numbers against pycocotools called directly, through its own files and `summarize`."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from context_rcnn.evaluation import coco
from context_rcnn.evaluation.groundtruth import Image

NAMES = {1: "bobcat", 2: "deer", 3: "never seen"}


def make_scene(seed=0, images=24):
    """Images of three cameras, a third of them empty; detections are jittered truths and noise."""
    rng = np.random.default_rng(seed)
    scene, detections = [], coco.Detections()
    for i in range(images):
        n = 0 if i % 3 == 0 else int(rng.integers(1, 4))
        corner = rng.uniform(0, 0.6, (n, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.4, (n, 2))], axis=1)
        image = Image(
            id=f"im {i}",
            key=1000 + i,
            camera=f"cam_{i % 3 if i % 2 else 0}",
            width=200,
            height=100,
            boxes=boxes,
            classes=rng.integers(1, 3, n),
        )
        scene.append(image)
        if i == 5:
            continue  # An image that no detection came back for.
        noise = rng.uniform(0, 0.5, (3, 2))
        found = np.concatenate(
            [
                boxes + rng.normal(0, 0.02, boxes.shape),
                np.concatenate([noise, noise + 0.3], axis=1),
                np.zeros((4, 4)),  # padding rows
            ]
        )
        scores = np.concatenate([rng.uniform(0.3, 1, n), rng.uniform(0, 0.6, 3), [-1.0] * 4])
        classes = np.concatenate([image.classes, rng.integers(1, 3, 3), [0] * 4])
        detections.add(image.key, found, scores, classes)
    return scene, detections


def direct(scene, detections, tmp_path, image_ids=None, category=None):
    """The twelve COCO statistics, by pycocotools alone."""
    groundtruth = {
        "images": [{"id": i + 1, "width": 200, "height": 100} for i in range(len(scene))],
        "categories": [{"id": k, "name": v} for k, v in NAMES.items()],
        "annotations": [],
    }
    results = []
    for i, image in enumerate(scene):
        for (y1, x1, y2, x2), label in zip(image.boxes, image.classes, strict=True):
            box = [x1 * 200, y1 * 100, (x2 - x1) * 200, (y2 - y1) * 100]
            groundtruth["annotations"].append(
                {
                    "id": len(groundtruth["annotations"]) + 1,
                    "image_id": i + 1,
                    "category_id": int(label),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
        for (y1, x1, y2, x2), score, label in zip(
            *detections.get(image.key, ([], [], [])), strict=True
        ):
            box = [x1 * 200, y1 * 100, (x2 - x1) * 200, (y2 - y1) * 100]
            results.append(
                {"image_id": i + 1, "category_id": int(label), "bbox": box, "score": float(score)}
            )
    (tmp_path / "gt.json").write_text(json.dumps(groundtruth))
    (tmp_path / "dt.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "gt.json")
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "dt.json")), "bbox")
        if image_ids:
            evaluation.params.imgIds = image_ids
        if category:
            evaluation.params.catIds = [category]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def test_overall_numbers_equal_pycocotools(tmp_path):
    scene, detections = make_scene()
    found, expected = coco.evaluate(scene, detections, NAMES), direct(scene, detections, tmp_path)
    for name, index in (("mAP", 0), ("mAP@.5", 1), ("mAP@.75", 2), ("AR@1", 6), ("AR@10", 7)):
        assert found[name] == pytest.approx(expected[index], abs=1e-9), name
    assert 0.2 < found["mAP@.5"] < 0.999


def test_per_class_numbers_equal_pycocotools_run_on_that_class(tmp_path):
    scene, detections = make_scene()
    found = coco.evaluate(scene, detections, NAMES)["per_class"]
    for label in (1, 2):
        expected = direct(scene, detections, tmp_path, category=label)
        row = found[NAMES[label]]
        assert row["AP"] == pytest.approx(expected[0], abs=1e-9)
        assert row["AP@.5"] == pytest.approx(expected[1], abs=1e-9)
        assert row["AR@1"] == pytest.approx(expected[6], abs=1e-9)
        assert row["boxes"] == sum(int((image.classes == label).sum()) for image in scene)
    assert found["never seen"]["AP"] is None and found["never seen"]["boxes"] == 0


def test_per_camera_numbers_equal_pycocotools_run_on_that_camera(tmp_path):
    scene, detections = make_scene()
    found = coco.evaluate(scene, detections, NAMES)["per_camera"]
    assert sum(row["images"] for row in found.values()) == len(scene)
    for camera, row in found.items():
        ids = [i + 1 for i, image in enumerate(scene) if image.camera == camera]
        expected = direct(scene, detections, tmp_path, image_ids=ids)
        assert row["mAP@.5"] == pytest.approx(expected[1], abs=1e-9)


def test_images_without_detections_lower_the_score():
    scene, detections = make_scene()
    whole = coco.evaluate(scene, detections, NAMES)["mAP@.5"]
    half = coco.Detections({k: v for k, v in detections.items() if k % 2})
    assert coco.evaluate(scene, half, NAMES)["mAP@.5"] < 0.8 * whole


def test_detections_on_empty_images_lower_the_score():
    scene, detections = make_scene()
    clean = coco.Detections(detections)
    for image in scene:
        if not len(image.boxes):
            clean.pop(image.key, None)
    noisy = coco.Detections(clean)
    for image in scene:
        if not len(image.boxes):
            noisy.add(
                image.key, np.array([[0, 0, 1, 1]] * 2), np.array([0.99] * 2), np.array([1, 2])
            )
    assert (
        coco.evaluate(scene, noisy, NAMES)["mAP@.5"] < coco.evaluate(scene, clean, NAMES)["mAP@.5"]
    )


def test_a_detector_that_finds_nothing_scores_zero():
    scene, _ = make_scene()
    found = coco.evaluate(scene, coco.Detections(), NAMES)
    assert found["mAP@.5"] == 0 and found["AR@1"] == 0


def test_a_perfect_detector_scores_one():
    scene, _ = make_scene()
    perfect = coco.Detections()
    for image in scene:
        perfect.add(image.key, image.boxes, np.full(len(image.boxes), 0.9), image.classes)
    found = coco.evaluate(scene, perfect, NAMES)
    assert found["mAP"] == pytest.approx(1.0) and found["AR@100"] == pytest.approx(1.0)


def test_images_know_their_video_and_their_place_in_it():
    scene, _ = make_scene(images=6)
    bursts, places = ["b", "a", "b", "", "", "b"], [7, 0, 5, 1, 2, 9]
    scene = [
        dataclasses.replace(image, camera="north", burst=burst, place=place)
        for image, burst, place in zip(scene, bursts, places, strict=True)
    ]
    truth, _ = coco.to_coco(scene, {}, NAMES)
    names = {video["id"]: video["name"] for video in truth["videos"]}
    assert [(names[image["video_id"]], image["frame_id"]) for image in truth["images"]] == [
        ("b", 2),
        ("a", 0),
        ("b", 0),
        ("im 3", 0),  # without a burst
        ("im 4", 0),
        ("b", 4),
    ]
    # A burst of the same name elsewhere is another one.
    scene[1] = dataclasses.replace(scene[1], camera="south", burst="b")
    assert len(coco.to_coco(scene, {}, NAMES)[0]["videos"]) == 4


def test_written_files_are_what_pycocotools_reads(tmp_path):
    from context_rcnn.evaluation import results

    scene, detections = make_scene()
    metrics = results.measure(scene, detections, NAMES, [0.5, 0.9])
    results.write_results(str(tmp_path), metrics, scene, detections, NAMES)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "groundtruth_coco.json")
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "detections_coco.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["mAP@.5"] == pytest.approx(evaluation.stats[1], abs=1e-9)
    assert stored["images_without_detections"] == 1
    table = (tmp_path / "metrics.txt").read_text()
    assert "bobcat" in table and f"{stored['mAP@.5']:.3f}" in table
    assert not any("None" in line for line in table.splitlines())
