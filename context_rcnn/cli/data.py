"""`context-rcnn simulate`, `validate` and `examples`: archives of cameras and videos."""

import argparse
import json
from collections.abc import Callable
from typing import Any


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verbs of this file."""
    _add_simulate(verbs)
    _add_validate(verbs)
    _add_examples(verbs)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}") from None


def _add_simulate(verbs: argparse._SubParsersAction) -> None:
    simulate = verbs.add_parser(
        "simulate",
        help="write a simulated archive in a public data set's own layout",
        description="Writes simulated cameras as photographs with labels: camera traps with COCO "
        "Camera Traps JSON, traffic cameras with CityCam XML, or videos with ImageNet VID XML. "
        "Equal seeds give equal bytes.",
    )
    kinds = simulate.add_subparsers(title="kinds", metavar="KIND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("output_dir", help="folder to write")
    common.add_argument(
        "--seed", type=int, default=0, help="seed of all random choices (default: 0)"
    )
    common.add_argument(
        "--image_size",
        type=_size,
        help="size of the images, WIDTHxHEIGHT (default: 160x120; traffic 352x240)",
    )
    common.add_argument("--workers", type=int, default=1, help="number of processes (default: 1)")
    common.add_argument(
        "--overwrite", action="store_true", help="write even into a folder that holds other things"
    )
    study = argparse.ArgumentParser(add_help=False)
    study.add_argument("--cameras", type=int, help="number of cameras (default: 12; traffic 8)")
    study.add_argument("--days", type=int, help="length of the study (default: 60; traffic 3)")
    traps = kinds.add_parser(
        "camera-traps", parents=[common, study], help="animals on a trail, for months"
    )
    traps.add_argument(
        "--triggers_per_day", type=float, help="number of bursts per camera and day (default: 4)"
    )
    traps.add_argument(
        "--empty_fraction", type=float, help="share of bursts triggered by wind (default: .7)"
    )
    traps.add_argument("--species", type=int, help="number of species (default: 8)")
    traps.add_argument(
        "--max_burst", type=int, help="length of the longest burst, in frames (default: 10)"
    )
    traps.add_argument(
        "--pretrain_fraction",
        type=float,
        help="share of the training cameras that go to a split `pretrain` (default: 0)",
    )
    traps.set_defaults(run=_simulate, kind="camera-traps")
    traffic = kinds.add_parser("traffic", parents=[common, study], help="vehicles on a road")
    traffic.add_argument(
        "--clips_per_day", type=int, help="number of clips per camera and day (default: 4)"
    )
    traffic.add_argument(
        "--frames_per_clip", type=int, help="number of frames in a clip (default: 30)"
    )
    traffic.add_argument(
        "--frame_interval", type=float, help="seconds between two frames (default: 1)"
    )
    traffic.add_argument(
        "--vehicles_per_frame", type=float, help="average number of vehicles (default: 14)"
    )
    traffic.add_argument(
        "--dirt", action="store_true", help="imitate the known faults of the published archive"
    )
    traffic.set_defaults(run=_simulate, kind="traffic")
    videos = kinds.add_parser("videos", parents=[common], help="animals in videos")
    videos.add_argument("--videos", type=int, help="number of videos (default: 40)")
    videos.add_argument(
        "--frames", type=int, help="average number of frames in a video (default: 40)"
    )
    videos.add_argument("--species", type=int, help="number of species (default: 4)")
    videos.add_argument(
        "--animals", type=int, help="largest number of animals in a video (default: 2)"
    )
    videos.add_argument(
        "--clear_fraction",
        type=float,
        help="share of the time in which the coat of an animal can be seen (default: .35)",
    )
    videos.set_defaults(run=_simulate, kind="videos")


def _simulate(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    from context_rcnn import simulation

    options = {k: v for k, v in vars(args).items() if v is not None and k not in ("run", "kind")}
    simulators: dict[str, Callable[..., Any]] = {
        "camera-traps": simulation.simulate_camera_traps,
        "traffic": simulation.simulate_traffic,
        "videos": simulation.simulate_videos,
    }
    with tqdm(desc="simulate", unit="frame") as bar:

        def progress(camera: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        summary = simulators[args.kind](**options, progress=progress)
    print(json.dumps(summary, indent=1))
    return 0


def _add_validate(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    validate = verbs.add_parser(
        "validate",
        help="check a whole archive as `examples` would, without writing",
        description="Opens every image and checks every label. Prints the counts by camera, and "
        "each reason why something cannot be used.",
    )
    flags.add_archive_flags(validate)
    validate.add_argument_group("instead of an archive").add_argument(
        "--examples", metavar="PATTERN", help="TFRecord files of examples, to read all records of"
    )
    validate.add_argument("--workers", type=int, default=2, help="number of threads (default: 2)")
    validate.add_argument(
        "--json", metavar="FILE", help="file for the report as JSON, in addition to the text"
    )
    validate.set_defaults(run=_validate)


def _validate(args: argparse.Namespace, rest: list[str]) -> int:
    if args.examples:
        return _validate_examples(args.examples)
    from tqdm import tqdm

    from context_rcnn.data import flags
    from context_rcnn.data.validate import validate_archive

    report = validate_archive(
        flags.archive_options(args),
        flags.image_options(args),
        workers=args.workers,
        progress=lambda images, total: tqdm(images, "validate", total, unit="image"),
    )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            file.write(report.to_json())
    print(report.to_text(), end="")
    return 0 if report.to_dict()["images_usable"] else 1


def _validate_examples(pattern: str) -> int:
    from tqdm import tqdm

    from context_rcnn.data import damage
    from context_rcnn.data import input as input_lib

    files = input_lib.find_files(pattern, "--examples")
    found = 0
    for problem in damage.find_damage(files, lambda files: tqdm(files, "validate", unit="file")):
        found += 1
        print(problem)
    print(f"{len(files)} files, {found} problems")
    return 1 if found else 0


def _add_examples(verbs: argparse._SubParsersAction) -> None:
    verbs.add_parser(
        "examples",
        add_help=False,
        help="write an archive as TFRecords, with Beam (`context-rcnn examples --help`)",
    ).set_defaults(run=_examples, passes_flags_on=True)


def _examples(args: argparse.Namespace, rest: list[str]) -> int:
    from beam_pipelines import create_examples

    return create_examples.main(rest)
