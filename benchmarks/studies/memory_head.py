r"""What a memory head adds to the boxes of another detector, on simulated cameras, over seeds.

    python -m benchmarks.studies.memory_head --output_dir=memory_head --seeds=3

Somebody has photographs, a detector's boxes in MegaDetector's format, Timelapse's labels, and a
network that has seen other animals. Then two commands follow, `context-rcnn head --compare` and
`context-rcnn detect --detections`, each timed. The results on cameras kept apart are held against
the simulated truth, and against those of the same head without a memory, learned in the same way.

The detector and the network are trained on cameras of another world (`simulate --world=elsewhere`),
which has other species; the detector knows only animals. What is finished is not run again. Writes
<output_dir>/tables.json and, with --write_docs, puts the table into docs/memory_on_megadetector.md.
"""

import argparse
import csv
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.studies import study
from benchmarks.studies.study import ROOT, cli

DOCS = ROOT / "docs" / "memory_on_megadetector.md"
# The world that the detector and the network know.
ELSEWHERE = ["--world=elsewhere", "--species=40", "--days=30", "--triggers_per_day=2"]
ELSEWHERE += ["--empty_fraction=.3", "--max_burst=2"]
# Two pairs of look-alikes, as in the study of Table 1.
HOME = ["--species=4", "--triggers_per_day=1.2", "--empty_fraction=.5", "--max_burst=3"]
SEES = ["--image_size", 192, 256, "--boxes", 4]
RIGHT = {"named right, coat shows": False, "named right, coat hidden": True}  # ambiguous or not
OVERLAP = 0.5


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: the run of `head` whose model names the boxes, and flags of `results`."""

    title: str
    name: str
    run: str
    flags: tuple[str, ...] = ()
    paper: str = ""


SINGLE = Row("without a memory", "without_memory", "without_memory")
TABLES = {
    "Cameras kept apart": [
        SINGLE,
        Row("without a memory, smoothed over bursts", "smoothed", "without_memory", ("--smooth",)),
        Row("with a month of memory", "with_memory", "with_memory"),
    ]
}


class World:
    """What all seeds share: a detector of animals, and a network that has seen some."""

    def __init__(self, folder: pathlib.Path, args: argparse.Namespace):
        self.folder, self.args = folder, args
        self.folder.mkdir(parents=True, exist_ok=True)

    def detector(self) -> pathlib.Path:
        """An exported detector with one class, `animal`."""
        labels = self._archive() / "animals.json"
        if not labels.exists():
            labels.write_text(json.dumps(only_animals(self._archive() / "camera_traps.json")))
        examples, run, model = (self.folder / name for name in ("examples", "run", "detector"))
        flags = [f"--input_json={labels}", f"--image_root={self._archive()}/images"]
        flags += [f"--splits_file={self._archive()}/splits.json", f"--output_dir={examples}"]
        self._once("examples", cli("examples", *flags), examples / "manifest.json")
        steps = self.args.detector_steps
        inputs = [
            f"task.train_data.input_path={examples}/train-*",
            f"task.validation_data.input_path={examples}/val-*",
        ]
        config = [f"--pipeline_config_path={ROOT}/configs/simulation/faster_rcnn.yaml"]
        evaluated = run / "evaluation" / f"step-{steps}" / "metrics.json"
        self._once("train", study.train_command(run, config, steps, 0, inputs), evaluated)
        export = cli("export", f"--model_dir={run}", f"--output_dir={model}")
        self._once("export", export, model / "model.json")
        return model

    def embedder(self) -> pathlib.Path:
        """A network that takes crops and returns vectors."""
        folder = self.folder / "embedder"
        command = [sys.executable, "-m", "benchmarks.studies.stand_ins"]
        command += [f"--archive={self._archive()}", f"--output_dir={folder}"]
        self._once("embedder", command, folder / "saved_model.pb")
        return folder

    def _archive(self) -> pathlib.Path:
        archive = self.folder / "archive"
        size = [f"--cameras={self.args.cameras_elsewhere}", *ELSEWHERE, "--overwrite"]
        simulate = cli("simulate", "camera-traps", archive, *size)
        self._once("simulate", simulate, archive / "simulation.json")
        return archive

    def _once(self, name: str, command: list, product: pathlib.Path) -> None:
        study.run_once(self.folder, name, command, product)


class HeadStudy(study.Study):
    """One seed: its cameras, and what is done on them."""

    def prepare(self, world: World) -> None:
        """Simulates the cameras, detects in them, and writes labels as Timelapse exports them."""
        args, archive = self.args, self.folder / "archive"
        size = [f"--cameras={args.cameras}", f"--days={args.days}", *HOME, f"--seed={self.seed}"]
        simulate = cli("simulate", "camera-traps", archive, *size, "--overwrite")
        self.run("simulate", simulate, archive / "simulation.json")
        self.truth = json.loads((archive / "camera_traps.json").read_text())
        labels, found = self.folder / "labels.csv", self.folder / "md.json"
        if not labels.exists():
            write_timelapse(self.truth, labels)
        flags = [archive / "images", f"--model={world.detector()}", "--threshold=.05"]
        self.run("megadetector", cli("detect", *flags, f"-o={found}"), found)

    def learn(self, embedder: pathlib.Path) -> None:
        """Learns the head with and without a memory."""
        args, head = self.args, self.folder / "head"
        flags = [self._images(), f"--detections={self.folder}/md.json", f"--embedder={embedder}"]
        flags += [f"--timelapse_csv={self.folder}/labels.csv", "--unlabelled_are_empty"]
        flags += [f"--splits_file={self.folder}/archive/splits.json", f"--output_dir={head}"]
        flags += [*SEES, f"--steps={args.steps}", f"--seed={self.seed}", "--compare"]
        self._timed("head", cli("head", *flags), head / "model" / "model.json")
        # `head` exports only the one with a memory.
        run, other = head / "without_memory", head / "model_without_memory"
        export = cli("export", f"--model_dir={run}", f"--output_dir={other}")
        self.run("export", export, other / "model.json")

    def row(self, row: Row) -> dict:
        """Names the boxes of all cameras; returns the measures on those kept apart."""
        model = {"with_memory": "model", "without_memory": "model_without_memory"}[row.run]
        results = self.folder / f"{row.name}.json"
        flags = [self._images(), f"--detections={self.folder}/md.json", *row.flags]
        flags += [f"--model={self.folder}/head/{model}", f"-o={results}", "--native_categories"]
        self._timed(row.name, cli("detect", *flags), results)
        return self.measured(results)

    def measured(self, results: pathlib.Path) -> dict:
        """Measures results on the cameras kept apart."""
        cameras = kept_apart(self.folder / "archive")
        return measure(self.truth, json.loads(results.read_text()), cameras)

    def minutes(self) -> dict[str, float]:
        """Minutes of the commands that were timed."""
        file = self.folder / "minutes.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def _images(self) -> pathlib.Path:
        return self.folder / "archive" / "images"

    def _timed(self, name: str, command: list, product: pathlib.Path) -> None:
        if product.exists():
            return
        since = time.monotonic()
        self.run(name, command, product)
        minutes = self.minutes() | {name: (time.monotonic() - since) / 60}
        (self.folder / "minutes.json").write_text(json.dumps(minutes, indent=1))


def only_animals(labels: pathlib.Path) -> dict:
    """COCO Camera Traps labels whose species are one class."""
    dataset = json.loads(labels.read_text())
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    for annotation in dataset["annotations"]:
        annotation["category_id"] = int(names[annotation["category_id"]] != "empty")
    dataset["categories"] = [{"id": 0, "name": "empty"}, {"id": 1, "name": "animal"}]
    return dataset


def write_timelapse(truth: dict, file: pathlib.Path) -> None:
    """Writes the species of photographs as a table that Timelapse exports; no boxes."""
    names = {category["id"]: category["name"] for category in truth["categories"]}
    species: dict[str, set[str]] = {}
    for annotation in truth["annotations"]:
        name = names[annotation["category_id"]]
        if name != "empty":
            species.setdefault(annotation["image_id"], set()).add(name)
    with file.open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["File", "RelativePath", "DateTime", "Species"])
        for image in truth["images"]:
            folder, _, name = image["file_name"].rpartition("/")
            found = "; ".join(sorted(species.get(image["id"], ())))
            table.writerow([name, folder.replace("/", "\\"), image["datetime"], found])


def kept_apart(archive: pathlib.Path) -> set[str]:
    """Names of the cameras from which nothing is learned."""
    return set(json.loads((archive / "splits.json").read_text())["splits"]["val"])


def measure(truth: dict, results: dict, cameras: set[str]) -> dict[str, Any]:
    """mAP@.5 and AR@1 by pycocotools, and shares of the true boxes that are found and named right.

    Args:
        truth: COCO Camera Traps labels with boxes.
        results: in MegaDetector's format, with classes as categories.
        cameras: names of the cameras that count.
    """
    names = {category["id"]: category["name"] for category in truth["categories"]}
    number = {name: key for key, name in names.items() if name != "empty"}
    images = [image for image in truth["images"] if image["location"] in cameras]
    files = {image["file_name"]: image for image in images}
    boxes = [a for a in truth["annotations"] if "bbox" in a and names[a["category_id"]] != "empty"]
    kept = {image["id"] for image in images}
    boxes = [
        box | {"id": i + 1, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0}
        for i, box in enumerate(box for box in boxes if box["image_id"] in kept)
    ]
    found = [
        {
            "image_id": image["id"],
            "category_id": number[results["detection_categories"][detection["category"]]],
            "score": detection["conf"],
            "bbox": (np.array(detection["bbox"]) * _scale(image)).tolist(),
        }
        for entry in results["images"]
        if (image := files.get(entry["file"]))
        for detection in entry["detections"] or ()
    ]
    categories = [{"id": key, "name": name} for name, key in number.items()]
    coco = COCO()
    coco.dataset = {"images": images, "annotations": boxes, "categories": categories}
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        step()
    metrics = {"mAP@.5": float(evaluation.stats[1]), "AR@1": float(evaluation.stats[6])}
    named = {box["id"]: _named(evaluation.cocoDt.imgToAnns[box["image_id"]], box) for box in boxes}
    at_all = [box for box in boxes if named[box["id"]] is not None]
    metrics["found"] = len(at_all) / len(boxes)
    for title, hidden in RIGHT.items():
        right = [named[b["id"]] == b["category_id"] for b in at_all if b["ambiguous"] == hidden]
        metrics[title] = float(np.mean(right))
    return metrics


def _scale(image: dict) -> np.ndarray:
    return np.array([image["width"], image["height"]] * 2)


def _named(detections: list[dict], box: dict) -> int | None:
    """The class of the best detection on a box, or None without any."""
    if not detections:
        return None
    (overlaps,) = mask.iou([box["bbox"]], [d["bbox"] for d in detections], [0] * len(detections))
    on_it = [d for d, shared in zip(detections, overlaps, strict=True) if shared >= OVERLAP]
    return max(on_it, key=lambda d: d["score"])["category_id"] if on_it else None


def measures() -> dict[str, Callable[[dict], float | None]]:
    """The columns besides mAP@.5, in percent."""
    return {name: lambda m, name=name: 100 * m[name] for name in ("AR@1", *RIGHT)}


def in_words(seeds: list[HeadStudy]) -> str:
    """How long the commands took."""
    lines = []
    for name, title in (("head", "`head --compare`"), ("with_memory", "`detect`")):
        found = [minutes[name] for seed in seeds if name in (minutes := seed.minutes())]
        if found:
            lines.append(f"{title} took {study.spread(found)} minutes")
    return "; ".join(lines)


def main() -> None:
    parser = study.parser_of(__doc__ or "", "memory_head")
    parser.add_argument("--cameras", type=int, default=200, help="camera traps (default: 200)")
    parser.add_argument("--days", type=int, default=30, help="days of camera traps (default: 30)")
    parser.add_argument(
        "--cameras_elsewhere",
        type=int,
        default=150,
        help="camera traps for the detector and the network (default: 150)",
    )
    parser.set_defaults(steps=1000)
    args, only = study.parse(parser, TABLES)
    world = World(args.output_dir / "elsewhere", args)
    seeds, results, text = [], [], ""
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        one = HeadStudy(args.output_dir / f"cameras-{seed}", seed, args)
        one.prepare(world)
        one.learn(world.embedder())
        seeds.append(one)
        results.append({name: one.row(row) for name, row in study.chosen(TABLES, only).items()})
        (args.output_dir / "tables.json").write_text(json.dumps(results, indent=1))
        table = study.as_markdown(TABLES, results, SINGLE, measures())
        text = f"{table}\n{in_words(seeds)}\n"
        print(text, flush=True)
    if args.write_docs:
        study.write_docs(text, "memory head", DOCS)


if __name__ == "__main__":
    main()
