"""Measures of videos against loops written out, and motion by hand."""

import numpy as np
import pytest

from context_rcnn.evaluation import coco, motion
from context_rcnn.evaluation.groundtruth import Image

NAMES = {1: "horse", 2: "zebra"}
SIDE = 100  # pixels of an image


def moving(step, frames=21, camera="video", size=0.2):
    """A video of one box that moves right by `step` of its width in each frame."""
    images = []
    for t in range(frames):
        x = 0.05 + step * size * t
        images.append(
            Image(
                id=f"{camera}/{t}",
                key=hash((camera, t)),
                camera=camera,
                width=SIDE,
                height=SIDE,
                boxes=np.array([[0.4, x, 0.4 + size, x + size]]),
                classes=np.array([1]),
                burst="v",
                place=t,
                tracks=("7",),
            )
        )
    return images


@pytest.mark.parametrize(
    ("step", "speed"), [(0.0, "slow"), (0.005, "slow"), (0.02, "medium"), (0.1, "fast")]
)
def test_motion_iou_by_hand(step, speed):
    ious = motion.motion_ious(moving(step))
    # Moved by d widths, a box overlaps itself by (1 - d) / (1 + d).
    distances = np.abs(np.arange(21) - 10)
    moved = step * distances[distances > 0]
    assert ious[10][0] == pytest.approx(np.mean((1 - moved) / (1 + moved)))
    first = step * np.arange(1, 11)  # at the start there is only what comes after
    assert ious[0][0] == pytest.approx(np.mean((1 - first) / (1 + first)))
    assert motion.speed_of(ious[10][0]) == speed


def test_tracks_of_other_videos_and_missing_frames_do_not_count():
    images = [*moving(0.0, 3, "a"), *moving(0.1, 3, "b")]
    ious = motion.motion_ious(images)
    assert ious[0][0] == 1.0 and ious[3][0] < 0.9
    alone = motion.motion_ious(moving(0.0, 1))
    assert np.isnan(alone[0][0]) and motion.speed_of(alone[0][0]) == ""
    far = [moving(0.0, 40)[t] for t in (0, 11)]
    assert all(np.isnan(row[0]) for row in motion.motion_ious(far))


def test_without_tracks_there_is_nothing_to_measure():
    image = Image("a", 1, "c", 9, 9, np.array([[0, 0, 1, 1.0]]), np.array([1]))
    assert motion.measure_motion([image], coco.Detections(), NAMES) is None


def loop_ap(images, detections, wanted, small_rule):
    """mAP of 101 points; a detection takes the box it overlaps most, relative to what is asked."""
    speeds = [[motion.speed_of(iou) for iou in row] for row in motion.motion_ious(images)]
    means = []
    for label in NAMES:
        rows, total = [], 0
        for i, image in enumerate(images):
            truths = [j for j in range(len(image.boxes)) if image.classes[j] == label]
            counted = {j: wanted in ("all", speeds[i][j]) for j in truths}
            total += sum(counted.values())
            boxes, scores, classes = detections.get(image.key, (np.zeros((0, 4)), [], []))
            taken = set()
            for box, score, found in zip(boxes, scores, classes, strict=True):
                if found != label:
                    continue
                best = {}
                for j in truths:
                    if j in taken:
                        continue
                    truth = image.boxes[j]
                    sides = np.minimum(box[2:], truth[2:]) - np.maximum(box[:2], truth[:2])
                    both = np.prod(np.maximum(sides, 0))
                    areas = np.prod(box[2:] - box[:2]) + np.prod(truth[2:] - truth[:2])
                    h, w = (truth[2:] - truth[:2]) * SIDE
                    asked = min(0.5, w * h / ((w + 10) * (h + 10))) if small_rule else 0.5
                    share = both / (areas - both) / asked
                    if share >= 1:
                        best[j] = (counted[j], share)
                if not best:
                    rows.append((score, False))
                    continue
                # Boxes that count before those that do not.
                j = max(best, key=best.get)
                taken.add(j)
                if counted[j]:
                    rows.append((score, True))
        if not total:
            continue
        rows.sort(key=lambda row: -row[0])
        hits = np.cumsum([hit for _, hit in rows])
        precision = hits / np.arange(1, len(rows) + 1)
        recall = hits / total
        points = []
        for level in np.linspace(0, 1, 101):
            above = precision[recall >= level - 1e-12]
            points.append(above.max() if above.size else 0.0)
        means.append(np.mean(points))
    return np.mean(means) if means else None


def scene(seed):
    rng = np.random.default_rng(seed)
    images = []
    for v, step in enumerate((0.0, 0.02, 0.1, 0.004)):
        for image in moving(step, 12, f"video{v}", size=rng.uniform(0.06, 0.25)):
            other = image.boxes[0] * [1, 1, 1, 1] + [0.25, 0.1, 0.25, 0.1]
            boxes = np.array([image.boxes[0], other])
            images.append(
                Image(
                    **{
                        **vars(image),
                        "boxes": boxes,
                        "classes": np.array([1 + v % 2, 2]),
                        "tracks": ("7", "8"),
                    }
                )
            )
    detections = coco.Detections()
    for image in images[1:]:
        noise = np.clip(rng.normal(0, 0.025, image.boxes.shape), -0.028, 0.028)
        false = np.array([[0.1, 0.1, 0.3, 0.3]])
        boxes = np.concatenate([image.boxes + noise, false, image.boxes[:1] + noise[:1] / 2])
        detections.add(
            image.key,
            boxes,
            rng.uniform(0.1, 1, 4),
            [*image.classes, rng.integers(1, 3), image.classes[0]],
        )
    return images, detections


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_loops(seed):
    images, detections = scene(seed)
    measured = motion.measure_motion(images, detections, NAMES)
    assert measured["all"]["boxes"] == sum(measured[s]["boxes"] for s in motion.SPEEDS) == 96
    for wanted, row in measured.items():
        for name, small in (("mAP@.5", False), ("mAP@.5 small objects", True)):
            assert row[name] == pytest.approx(loop_ap(images, detections, wanted, small), abs=1e-6)
    assert measured["all"]["mAP@.5 small objects"] > measured["all"]["mAP@.5"]
    flat = coco.evaluate(images, detections, NAMES)["mAP@.5"]
    assert measured["all"]["mAP@.5"] == pytest.approx(flat)


def test_a_small_box_needs_less_overlap():
    """20x20 pixels: 400 / 900 = .444."""
    (image,) = moving(0.0, 1)
    images = [image, Image(**{**vars(image), "id": "b", "key": 5, "place": 1})]
    shifted = image.boxes + np.array([0, 0.07, 0, 0.07])  # (20 - 7) / (20 + 7) = .481
    detections = coco.Detections()
    for one in images:
        detections.add(one.key, shifted, [0.9], [1])
    measured = motion.measure_motion(images, detections, NAMES)["slow"]
    assert measured == {"boxes": 2, "mAP@.5": 0.0, "mAP@.5 small objects": 1.0}
