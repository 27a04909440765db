"""From photographs, MegaDetector's JSON and Timelapse's labels to named boxes with a memory."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from beam_pipelines import build_memory_bank, create_examples, store_features
from context_rcnn import simulation
from context_rcnn.cli import head
from context_rcnn.cli.parser import build_parser
from context_rcnn.memory_bank.store import Bank
from context_rcnn.memory_bank.stored_images import ImageStore


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """What somebody has who has run MegaDetector and labelled with Timelapse, and a network."""
    folder = tmp_path_factory.mktemp("stranger")
    simulation.simulate_camera_traps(
        str(folder / "archive"),
        cameras=6,
        days=10,
        triggers_per_day=1.0,
        empty_fraction=0.3,
        max_burst=1,
        species=2,
        seed=3,
    )
    archive = json.loads((folder / "archive" / "camera_traps.json").read_text())
    names = {category["id"]: category["name"] for category in archive["categories"]}
    rng = np.random.default_rng(0)
    images, rows = [], []
    for image in archive["images"]:
        labels = [a for a in archive["annotations"] if a["image_id"] == image["id"]]
        width, height = image["width"], image["height"]
        detections = [
            {
                "category": "1",
                "conf": round(float(rng.uniform(0.5, 0.99)), 3),
                "bbox": [x / width, y / height, w / width, h / height],
            }
            for x, y, w, h in (label["bbox"] for label in labels if "bbox" in label)
        ]
        if not detections:  # a branch
            detections = [{"category": "1", "conf": 0.3, "bbox": [0.1, 0.1, 0.2, 0.3]}]
        images.append({"file": image["file_name"], "detections": detections})
        path, _, file = image["file_name"].rpartition("/")
        species = sorted({names[label["category_id"]] for label in labels})
        rows.append(
            {
                "File": file,
                "RelativePath": path.replace("/", "\\"),
                "DateTime": image["datetime"],
                "Species": "; ".join(species),
            }
        )
    results = {"detection_categories": {"1": "animal"}, "images": images}
    (folder / "md.json").write_text(json.dumps(results))
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

    class Colours(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32)])
        def embed(self, crops):
            return {"vectors": tf.reshape(tf.nn.avg_pool2d(crops / 255.0, 4, 4, "VALID"), [-1, 48])}

    network = Colours()
    tf.saved_model.save(network, str(folder / "embedder"), signatures=network.embed)
    return folder


def flags(stranger, *more):
    return [
        str(stranger / "archive" / "images"),
        f"--detections={stranger / 'md.json'}",
        f"--timelapse_csv={stranger / 'labels.csv'}",
        f"--embedder={stranger / 'embedder'}",
        f"--output_dir={stranger / 'head'}",
        *more,
    ]


def test_the_steps_are_commands_that_the_parser_knows(stranger):
    args = build_parser().parse_args(["head", *flags(stranger, "--compare", "--boxes=3")])
    verbs = [command[3] for _, command in head.steps(args)]
    assert verbs == ["examples", "features", "remember", "train", "train", "export"]
    looking = [
        verb
        for verb, (_, given) in zip(verbs, head.steps(args), strict=True)
        if any("--embedder" in text for text in given)
    ]
    assert looking == ["features"], "the network looks once"
    with_memory, without = (head.settings(args, name)["task"] for name in head.runs(args))
    assert with_memory["memory"]["bank"] and "temporal" not in with_memory  # the experiment has it
    assert not without["memory"]["bank"] and without["temporal"]["type"] == "none"
    assert with_memory["model"] == without["model"]
    assert with_memory["model"]["proposals"]["count"] == 3


@pytest.mark.parametrize("flag", ["input_json", "label_studio_json", "cvat_xml"])
def test_labels_come_from_every_tool_whose_labels_are_a_file(stranger, flag):
    given = [text for text in flags(stranger) if "timelapse" not in text]
    more = [f"--{flag}=labels", "--unlabelled_are_empty", "--clock_shift=a=+1h", "--clock_csv=c"]
    args = build_parser().parse_args(["head", *given, *more])
    (command,) = (command for _, command in head.steps(args) if command[3] == "examples")
    read, _ = create_examples.build_parser().parse_known_args(command[4:])
    assert vars(read)[flag] == "labels" and read.image_root == given[0]
    assert read.unlabelled_are_empty
    assert (read.clock_shift, read.clock_csv) == (["a=+1h"], "c")


def test_its_help_has_the_flags_of_the_pipelines_without_beam():
    code = "import sys; sys.modules['apache_beam'] = None; from context_rcnn import cli; "
    command = [sys.executable, "-c", code + "cli.main(['head', '--help'])"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for parser in (store_features.build_parser(), build_memory_bank.build_parser()):
        for action in parser._actions:
            if action.dest in ("boxes", "image_size"):
                assert " ".join(action.help.split()) in " ".join(shown.split())


@pytest.mark.slow
def test_a_stranger_gets_named_boxes_with_a_memory(stranger):
    small = ["--image_size", "120", "160", "--boxes=3", "--steps=8", "--compare"]
    python = [sys.executable, "-m", "context_rcnn.cli"]
    done = subprocess.run([*python, "head", *flags(stranger, *small)], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()[-3000:] + done.stderr.decode()[-3000:]
    assert "without_memory" in done.stdout.decode().splitlines()[-4]
    results = json.loads((stranger / "md.json").read_text())["images"]
    boxes = {image["file"]: image["detections"] for image in results}
    store = ImageStore(stranger / "head" / "store")
    bank = Bank.open(stranger / "head" / "bank")
    assert bank.info.extractor_hash == store.bank.info.extractor_hash
    for file, detections in boxes.items():
        seen = store.read(file)
        proposals, scores, _ = seen.part(labelled=False)
        best = sorted(detections, key=lambda d: -d["conf"])[:3]
        np.testing.assert_allclose(scores, [d["conf"] for d in best], atol=1e-6)
        corners = [[y, x, y + h, x + w] for x, y, w, h in (d["bbox"] for d in best)]
        np.testing.assert_allclose(proposals, np.clip(corners, 0, 1), atol=1e-5)

    photos, model = stranger / "archive" / "images", stranger / "head" / "model"
    command = [*python, "detect", str(photos), "--model", str(model), "-o"]
    refused = subprocess.run([*command, str(stranger / "no.json")], capture_output=True)
    assert refused.returncode == 2 and b"--detections" in refused.stderr
    given = [str(stranger / "named.json"), "--detections", str(stranger / "md.json")]
    done = subprocess.run([*command, *given], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert (stranger / "named.json.state/embeddings.sqlite").exists(), "it looks once"
    named = json.loads((stranger / "named.json").read_text())
    assert set(named["classification_categories"].values()) == {"zebra", "wild_ass"}
    for image in named["images"]:
        known = [d["bbox"] for d in boxes[image["file"]]]
        for found in image["detections"]:  # each once, in its place
            apart = np.abs(np.array(known) - found["bbox"]).max(axis=1)
            assert apart.min() < 0.01
        assert len(image["detections"]) <= len(known)
