"""Small evaluations as a run leaves them, written by hand."""

import base64
import hashlib
import html.parser
import json
import pathlib
import re

import pytest
from PIL import Image

import context_rcnn.report

SIDE = 100


def write_run(folder, images, found, *, names=("cat", "dog"), **metrics):
    """Writes an evaluation of square images.

    Args:
        folder: A run's folder; the evaluation is its step-7.
        images: Labelled boxes by image id: lists of (class name, x, y, width, height) in pixels.
        found: Detections by image id: lists of (class name, score, x, y, width, height).
        names: Classes.
        **metrics: What metrics.json says instead.
    """
    step = folder / "evaluation" / "step-7"
    step.mkdir(parents=True)
    ids = {name: i for i, name in enumerate(images, 1)}
    classes = {name: i for i, name in enumerate(names, 1)}
    annotations = [
        {"image_id": ids[image], "category_id": classes[name], "bbox": box}
        for image, boxes in images.items()
        for name, *box in boxes
    ]
    truth = {
        "images": [
            {"id": i, "file_name": name, "width": SIDE, "height": SIDE} for name, i in ids.items()
        ],
        "categories": [{"id": i, "name": name} for name, i in classes.items()],
        "annotations": [
            row | {"id": i, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
            for i, row in enumerate(annotations, 1)
        ],
    }
    results = [
        {"image_id": ids[image], "category_id": classes[name], "score": score, "bbox": box}
        for image, boxes in found.items()
        for name, score, *box in boxes
    ]
    content = {
        "step": 7,
        "images": len(images),
        "empty_images": sum(not boxes for boxes in images.values()),
        "boxes": len(annotations),
        "mAP@.5": 0.25,
        "AR@1": 0.5,
        "per_class": {name: {"AP@.5": 0.5, "boxes": 1} for name in names},
        "per_camera": {"north": {"mAP@.5": 0.5, "AR@1": None, "images": 6, "empty": 2, "boxes": 4}},
        "false_positives_per_1000_empty_images": {
            "0.5": {"threshold": 0.6, "detections": 1000.0, "empty_images": 500.0},
            "0.95": {"threshold": None, "detections": None, "empty_images": None},
        },
    } | metrics
    for name, value in (
        ("metrics.json", content),
        ("groundtruth_coco.json", truth),
        ("detections_coco.json", results),
    ):
        (step / name).write_text(json.dumps(value))
    return folder


A, B, C, D = (10, 10, 20, 20), (60, 10, 20, 20), (10, 60, 20, 20), (60, 60, 20, 20)
IMAGES = {
    "a": [("cat", *A)],
    "b": [("cat", *B)],
    "c": [("dog", *C), ("dog", *D)],
    "e1": [],
    "e2": [],
}
# At recall .5 the baseline's score is .8 and that of the run with memory .6.
BASELINE = {
    "a": [("cat", 0.9, *A)],
    "b": [("cat", 0.8, *B)],
    "c": [("cat", 0.3, *C)],
    "e1": [("cat", 0.95, *A), ("dog", 0.85, *B), ("dog", 0.5, *C)],
    # Touches what memory reports there, but is another box; its score is just enough.
    "e2": [("cat", 0.8, 75, 60, 20, 20)],
}
MEMORY = {
    "a": [("cat", 0.7, *A)],
    "b": [("cat", 0.2, *B)],
    "c": [("dog", 0.6, 12, 60, 20, 20), ("cat", 0.1, *D)],
    "e1": [("dog", 0.65, 12, 10, 20, 20), ("dog", 0.12, *D)],
    "e2": [("cat", 0.9, *D), ("cat", 0.15, *A)],
}


@pytest.fixture
def runs(tmp_path):
    """Folders of the run with memory and of the baseline."""
    memory = write_run(tmp_path / "memory", IMAGES, MEMORY)
    return str(memory), str(write_run(tmp_path / "single", IMAGES, BASELINE))


def write_explanations(path, rows):
    """Writes JSON lines: (image id, class, score, [(image id, seconds apart, weight), ...])."""
    lines = [
        {
            "image_id": image,
            "camera": "north",
            "seconds": 1_600_000_000,
            "detections": [
                {
                    "box": [0.1, 0.1, 0.3, 0.3],
                    "class": name,
                    "score": score,
                    "attention": [
                        {
                            "image_id": other,
                            "seconds": None,
                            "seconds_apart": apart,
                            "box": [0.2, 0.2, 0.4, 0.4],
                            "weight": weight,
                        }
                        for other, apart, weight in attention
                    ],
                }
            ],
        }
        for image, name, score, attention in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def write_photos(folder, names):
    folder.mkdir()
    for i, name in enumerate(names):
        Image.new("RGB", (SIDE, SIDE), (40 * i % 256, 90, 60)).save(folder / f"{name}.png")
    return str(folder)


def check_script(page, text):
    """The page has one script, our own: the policy lets a browser run what has its hash alone."""
    assert page.all("script") == [{}]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; connect-src 'none'" in text
    own = pathlib.Path(context_rcnn.report.__path__[0], "templates/tables.js")
    assert script == own.read_text()


class Page(html.parser.HTMLParser):
    """Tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in ("b", "br", "dd", "dt", "li", "p", "span", "td", "th") else ""

    def handle_endtag(self, tag):
        self.text += " " if tag == "b" else ""

    def handle_data(self, data):
        self.text += data if self.tags[-1:] and self.tags[-1][0] not in ("style", "script") else ""

    def all(self, *names):
        return [attrs for tag, attrs in self.tags if tag in names]
