"""`context-rcnn head` and `embedder`: a memory on top of MegaDetector's boxes."""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from context_rcnn import extras
from context_rcnn.data.readers import LAYOUTS, Layout

_MIN_SCORE = 0.2  # from which MegaDetector's box is an animal; its own advice
_EPILOG = """\
examples:
  From MegaDetector's results and Timelapse's export to a head, and to results with it:
    context-rcnn embedder --network EfficientNetV2B0 --output_dir embedder
    context-rcnn head photos --detections md.json --timelapse_csv labels.csv \\
        --embedder embedder --output_dir head
    context-rcnn detect photos --detections md.json --model head/model

  Labels from COCO Camera Traps JSON, Label Studio or CVAT, or photographs sorted into a folder per
  species:
    context-rcnn head photos --detections md.json --input_json labels.json ...
    context-rcnn head photos --detections md.json --cvat_xml annotations.xml ...
    context-rcnn head photos --detections md.json --species_folders ...

Run the same command again: it continues where it stopped. docs/memory_on_megadetector.md explains
each step.
"""


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verbs of this file."""
    _add_embedder(verbs)
    _add_head(verbs)


def _add_embedder(verbs: argparse._SubParsersAction) -> None:
    embedder = verbs.add_parser(
        "embedder",
        help="write a network of tf_keras.applications as an image embedder",
        description="Writes a network of tf_keras.applications, with its preprocessing, as a "
        "SavedModel that takes crops and returns vectors. Any other SavedModel of that kind will "
        "do as well.",
    )
    embedder.add_argument(
        "--network", required=True, help="name of the network, such as EfficientNetV2B0"
    )
    embedder.add_argument(
        "--weights",
        default="imagenet",
        help="weights of the network: imagenet, which are downloaded, none, or a file (default: "
        "imagenet)",
    )
    embedder.add_argument(
        "--size", type=int, default=224, help="side of the crops in pixels (default: 224)"
    )
    embedder.add_argument("--output_dir", required=True, help="folder to write")
    embedder.set_defaults(run=_embedder)


def _embedder(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.export.networks import export_network

    depth = export_network(args.network, args.output_dir, weights=args.weights, size=args.size)
    print(f"{args.output_dir}: vectors of {depth} numbers")
    return 0


def _add_head(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    head = verbs.add_parser(
        "head",
        help="learn to name MegaDetector's boxes with a memory of their camera",
        description="Learns a head that names the boxes of MegaDetector with a memory of their "
        "camera, from labelled photographs, in the steps that it prints. OUTPUT_DIR/model is for "
        "`context-rcnn detect --detections`.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    head.add_argument("folder", help="folder of the photographs")
    head.add_argument("--detections", required=True, metavar="FILE", help="MegaDetector's results")
    head.add_argument(
        "--embedder", required=True, metavar="SAVEDMODEL", help="folder of an embedding network"
    )
    head.add_argument("--output_dir", required=True, help="folder to write")
    labels = head.add_mutually_exclusive_group(required=True)
    for layout in _label_files():
        labels.add_argument(f"--{layout.flag}", metavar="FILE", help=layout.what)
    labels.add_argument(
        "--species_folders",
        action="store_true",
        help="take the folder's subfolders as species, and the folders in those as cameras",
    )
    head.add_argument("--label_column", help="column of --timelapse_csv with the species")
    head.add_argument(
        "--unlabelled_are_empty",
        action="store_true",
        help="take images without any label as empty, because somebody looked at all of them",
    )
    head.add_argument(
        "--camera_regex", metavar="REGEX", help="pattern that finds the camera in a path"
    )
    head.add_argument("--camera_csv", metavar="FILE", help="table that names the cameras")
    flags.add_clock_flags(head)
    head.add_argument(
        "--splits_file",
        metavar="FILE",
        help="file with the cameras to learn from, and those to measure on",
    )
    head.add_argument(
        "--min_score",
        type=float,
        default=_MIN_SCORE,
        help="confidence from which MegaDetector's box is one of the labelled animals "
        "(default: 0.2)",
    )
    flags.add_embedder_flags(head)
    head.add_argument(
        "--steps", type=int, default=1000, help="number of training steps (default: 1000)"
    )
    head.add_argument("--seed", type=int, default=0, help="seed of the training (default: 0)")
    head.add_argument(
        "--compare",
        action="store_true",
        help="also learn the same head without a memory, to compare the two",
    )
    head.set_defaults(run=lambda args, rest: run_steps(args))


def run_steps(args: argparse.Namespace) -> int:
    """Runs all steps; the exit status of the first that fails, or 0."""
    extras.require("train", "beam")
    folder = pathlib.Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name in runs(args):
        (folder / f"{name}.json").write_text(json.dumps(settings(args, name), indent=1))
    since = time.monotonic()
    for title, command in steps(args):
        print(f"\n=== {title}\n$ {shlex.join(command)}\n", flush=True)
        status = subprocess.run(command).returncode
        if status:
            print(f"\nThis stops here: the command above ended with status {status}.")
            return status
        print(f"({(time.monotonic() - since) / 60:.1f} minutes so far)", flush=True)
    for name in runs(args):
        measured = _best(folder / name)
        print(f"{name:16} mAP@.5 {measured['mAP@.5']:.3f}  AR@1 {measured['AR@1']:.3f}")
    print(f"\n{folder}/model is the head: context-rcnn detect {args.folder} \\")
    again = shlex.join(["--detections", args.detections, f"--model={folder}/model", *_clocks(args)])
    print(f"    {again}")
    return 0


def runs(args: argparse.Namespace) -> Sequence[str]:
    """Names of the training runs."""
    return ("with_memory", "without_memory") if args.compare else ("with_memory",)


def steps(args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Title and command of each step."""
    cli, folder = [sys.executable, "-m", "context_rcnn.cli"], args.output_dir
    examples, bank, store = f"{folder}/examples", f"{folder}/bank", f"{folder}/store"
    sees = [f"--embedder={args.embedder}", f"--boxes={args.boxes}", "--image_size"]
    sees += map(str, args.image_size)
    found: list[tuple[str, list[str]]] = [
        (
            "Write photographs, labels and boxes as examples",
            [*cli, "examples", *_source(args), f"--output_dir={examples}"]
            + [f"--detections={args.detections}", f"--megadetector_json={args.detections}"]
            + [f"--min_megadetector_score={args.min_score}"]
            + ["--megadetector_splits", "train", "val"],
        ),
        (
            "Store what the network sees in all boxes",
            [*cli, "features", f"--examples={examples}", *sees, f"--output_dir={store}"],
        ),
        (
            "Fill the memory of each camera with what it saw in the best boxes",
            [
                *cli,
                "remember",
                f"--examples={examples}",
                f"--store={store}",
                f"--output_dir={bank}",
            ],
        ),
    ]
    for name in runs(args):
        found.append(
            (
                f"Learn the head {name.replace('_', ' ')}, and measure it on other cameras",
                [*cli, "train", "--experiment=memory_head", f"--model_dir={folder}/{name}"]
                + [f"--config_file={folder}/{name}.json"],
            )
        )
    found.append(
        (
            "Write the head with its network",
            [*cli, "export", f"--model_dir={folder}/with_memory", f"--output_dir={folder}/model"]
            + [f"--extractor={store}/_progress/extractor"],
        )
    )
    return found


def settings(args: argparse.Namespace, name: str) -> dict:
    """Settings of a run, besides those of the experiment."""
    store, with_memory = f"{args.output_dir}/store", name == "with_memory"
    task: dict[str, Any] = {
        "model": {
            "image_size": list(args.image_size),
            "backbone": {"embedder": args.embedder},
            "proposals": {"count": args.boxes},
            "boxes": {"samples": args.boxes},
            "detections": {"count": args.boxes},
        },
        "features": store,
        "train_data": {"input_path": f"{store}/labels/train-*", "seed": args.seed},
        "validation_data": {"input_path": f"{store}/labels/val-*"},
        "memory": {"bank": f"{args.output_dir}/bank" if with_memory else ""},
    }
    every = max(1, args.steps // 4)
    trainer = {
        "train_steps": args.steps,
        "seed": args.seed,
        "steps_per_loop": min(100, every),
        "summary_interval": min(100, every),
        "validation_interval": every,
        "checkpoint_interval": every,
        "optimizer_config": {
            "learning_rate": {
                "stepwise": {"boundaries": [args.steps * 2 // 3, args.steps * 8 // 9]}
            }
        },
    }
    if not with_memory:
        task["temporal"] = {"type": "none"}
    return {"task": task, "trainer": trainer}


def _source(args: argparse.Namespace) -> list[str]:
    """Flags of the labelled archive."""
    flags = [f"--image_root={args.folder}"]
    if args.species_folders:
        flags = [f"--species_folder={args.folder}"]
    files = [layout.flag for layout in _label_files()]
    for name in (*files, "label_column", "camera_regex", "camera_csv", "splits_file"):
        if getattr(args, name):
            flags.append(f"--{name}={getattr(args, name)}")
    flags += ["--unlabelled_are_empty"] * args.unlabelled_are_empty
    return flags + _clocks(args)


def _clocks(args: argparse.Namespace) -> list[str]:
    """Flags that correct camera clocks."""
    table = [f"--clock_csv={args.clock_csv}"] if args.clock_csv else []
    return [*(f"--clock_shift={text}" for text in args.clock_shift), *table]


def _label_files() -> Sequence[Layout]:
    """Layouts whose labels are a file beside a folder of photographs."""
    return [layout for layout in LAYOUTS if layout.root]


def _best(run: pathlib.Path) -> dict:
    """Numbers of a run's best evaluation, of which the checkpoint is kept and exported."""
    found = (run / "evaluation").glob("step-*/metrics.json")
    return max((json.loads(path.read_text()) for path in found), key=lambda m: m["mAP@.5"])
