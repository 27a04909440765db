"""`context-rcnn detect`, `watch` and `results`: an exported model on photographs."""

import argparse
import dataclasses
import os
import sys
import tempfile

# Imported inside the verbs: models and TensorFlow are not needed for --help.

_DETECT_EXAMPLES = """\
examples:
  A folder of photographs, one folder a camera. Writes results.json into it, for Timelapse:
    context-rcnn detect D:\\photos --model C:\\models\\leopards
    context-rcnn detect photos --model models/leopards

  First see which cameras are found, and how long it takes:
    context-rcnn detect photos --model models/leopards --dry_run

  Everything: a page to look at, a table, and a Camera Trap Data Package:
    context-rcnn detect photos --model models/leopards -o results.json --report report \\
        --csv results.csv --camtrap_dp package --deployments cameras.csv --timezone Europe/Berlin

  Rocks and branches that are found in the same place again and again, judged by looking:
    context-rcnn detect photos --model models/leopards --rde review

The same command goes on where it was stopped, and takes in new images. docs/detect.md tells more;
`context-rcnn export` makes a model of a training run.
"""

_EXPLAINED = 12  # images of which a page tells what the memory did to them

_WATCH_EXAMPLES = """\
examples:
  A folder that a camera or a synchronisation writes to; a JSON line for each new image:
    context-rcnn watch incoming --model models/leopards --state incoming.state

  What is there now, and no more:
    context-rcnn watch incoming --model models/leopards --state incoming.state --once

  A video, a frame each second, as if a camera had taken them:
    context-rcnn watch --video gate.mp4 --camera gate --fps 1 --start "2024-05-01 06:00:00" \\
        --model models/leopards --state gate.state

Each image is detected with the memory of its camera so far. The same command goes on where it was
stopped. `context-rcnn results STATE -o results.json` writes all that was found for Timelapse.
"""

_RESULTS_EXAMPLES = """\
examples:
  Other formats of what was detected before, without detecting again:
    context-rcnn results photos/results.json.state --csv results.csv
  All journals of a Beam job (python -m beam_pipelines.detect):
    context-rcnn results found -o results.json
"""


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the three verbs."""
    _add_detect(verbs)
    _add_watch(verbs)
    _add_results(verbs)


def _parser(
    verbs: argparse._SubParsersAction, name: str, text: str, description: str, examples: str
) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name,
        help=text,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_detect(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    detect = _parser(
        verbs,
        "detect",
        "detect in a folder of photographs, for Timelapse and others",
        "Detects in all images of a folder with an exported model, each with the memory of its\n"
        "own camera. The folder is not changed, but for the results.",
        _DETECT_EXAMPLES,
    )
    detect.add_argument("folder", nargs="?", help="of the images, one folder a camera")
    detect.add_argument("--model", metavar="DIR", help="what `context-rcnn export` wrote")
    detect.add_argument(
        "--state_dir", metavar="DIR", help="what a run goes on from (default: OUTPUT.state)"
    )
    detect.add_argument(
        "--dry_run", action="store_true", help="show cameras and the time it will take, and stop"
    )
    detect.add_argument("--restart", action="store_true", help="forget the state of earlier runs")
    detect.add_argument(
        "--overwrite", action="store_true", help="replace results of other programs or states"
    )
    detect.add_argument("--report", metavar="DIR", help="also write a page to judge the results")
    detect.add_argument(
        "--batch_size", type=int, default=4, help="images a call of the model (default: 4)"
    )
    detect.add_argument(
        "--workers", type=int, default=0, help="threads that read images (default: all processors)"
    )
    _add_formats(detect)
    memory = detect.add_argument_group("memory")
    memory.add_argument("--no_memory", action="store_true", help="detect in single images")
    memory.add_argument(
        "--top_k", type=int, help="boxes of an image to remember (default: as in training)"
    )
    rde = detect.add_argument_group("boxes that come back in the same place (RDE)")
    rde.add_argument(
        "--rde",
        choices=["off", "report", "auto", "review"],
        default="off",
        help="report: a table of suspicious places, OUTPUT.repeats.csv; auto: and negative "
        "confidences there; review: only where you keep the picture, in OUTPUT.review "
        "(default: off)",
    )
    rde.add_argument(
        "--rde_images", type=int, default=20, help="that make a place suspicious (default: 20)"
    )
    rde.add_argument("--rde_iou", type=float, default=0.9, help="of equal boxes (default: 0.9)")
    rde.add_argument("--rde_score", type=float, default=0.1, help="from which (default: 0.1)")
    rde.add_argument(
        "--rde_max_area", type=float, default=0.2, help="of a box, share of the image (default: .2)"
    )
    flags.add_camera_flags(detect)
    flags.add_image_flags(detect)
    detect.set_defaults(run=lambda args, rest: _detect(args, detect))


def _add_formats(parser: argparse.ArgumentParser) -> None:
    """What to write, and how."""
    formats = parser.add_argument_group("results")
    formats.add_argument(
        "-o", "--output", metavar="FILE", help="MegaDetector's format (default: results.json)"
    )
    formats.add_argument("--csv", metavar="FILE", help="a table")
    formats.add_argument("--coco", metavar="FILE", help="COCO results, and FILE.images.json")
    formats.add_argument("--speciesnet", metavar="FILE", help="SpeciesNet's predictions")
    formats.add_argument("--camtrap_dp", metavar="DIR", help="a Camera Trap Data Package")
    formats.add_argument(
        "--threshold",
        type=float,
        default=0.005,
        metavar="P",
        help="leave out detections below; keep it low, programs have their own (default: 0.005)",
    )
    formats.add_argument(
        "--native_categories",
        "--native-categories",
        action="store_true",
        help="MegaDetector's categories are the classes, not animal, person and vehicle",
    )
    formats.add_argument(
        "--datetimes", action="store_true", help="dates of images in MegaDetector's format"
    )
    formats.add_argument(
        "--taxa", metavar="FILE", help="CSV table of scientific names: columns class, taxon"
    )
    camtrap = parser.add_argument_group("Camera Trap Data Package")
    camtrap.add_argument(
        "--deployments", metavar="FILE", help="CSV table: deploymentID, latitude, longitude, ..."
    )
    camtrap.add_argument(
        "--timezone", default="", help="of the camera clocks: +01:00, or Europe/Berlin"
    )
    camtrap.add_argument("--title", default="Camera trap images", help="of the project")
    camtrap.add_argument(
        "--contributor", action="append", metavar="NAME", help="person; may be repeated"
    )
    camtrap.add_argument(
        "--observation_threshold",
        type=float,
        default=0.2,
        metavar="P",
        help="score from which an observation is one, else the image is blank (default: 0.2)",
    )


def _result_options(args: argparse.Namespace):
    from context_rcnn.results.classes import read_taxa
    from context_rcnn.results.options import CamtrapOptions, Options

    camtrap = CamtrapOptions(
        args.deployments,
        args.timezone,
        args.title,
        contributors=tuple(args.contributor or ["Not stated"]),
    )
    return Options(
        min_score=args.threshold,
        typical_threshold=args.observation_threshold,
        native_categories=args.native_categories,
        datetimes=args.datetimes,
        taxa=read_taxa(args.taxa) if args.taxa else {},
        camtrap=camtrap,
    )


def _outputs(args: argparse.Namespace, megadetector: str | None):
    from context_rcnn.results.write import Outputs

    return Outputs(
        megadetector=megadetector,
        coco=args.coco,
        table=args.csv,
        camtrap_dp=args.camtrap_dp,
        speciesnet=args.speciesnet,
    )


def _detect(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if not args.folder:
        parser.print_help()
        return 2
    if not args.model:
        raise ValueError(
            "--model is missing: the folder of a model that `context-rcnn export` wrote"
        )
    from context_rcnn.data import flags
    from context_rcnn.evaluation.repeat_detections import RepeatDetectionOptions
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.runners.folder.options import FolderOptions
    from context_rcnn.runners.folder.run import detect_folder

    if args.report:
        from context_rcnn.report.page import check_target

        check_target(os.path.abspath(args.report))  # now, not after hours
    output = args.output or os.path.join(args.folder, "results.json")
    options = FolderOptions(
        root=args.folder,
        state_dir=args.state_dir or f"{output}.state",
        outputs=_outputs(args, output),
        results=_result_options(args),
        camera_regex=args.camera_regex,
        camera_csv=args.camera_csv,
        sequence_gap=args.sequence_gap,
        images=flags.image_options(args),
        memory=not args.no_memory,
        top_k=args.top_k,
        batch_size=args.batch_size,
        workers=args.workers,
        rde=args.rde,
        repeats=RepeatDetectionOptions(
            iou=args.rde_iou,
            min_occurrences=args.rde_images,
            min_score=args.rde_score,
            max_area=args.rde_max_area,
        ),
        review_dir=f"{output}.review",
        repeats_table=f"{output}.repeats.csv",
        explain=_EXPLAINED if args.report else 0,
        dry_run=args.dry_run,
        restart=args.restart,
        overwrite=args.overwrite,
    )
    print(f"loading the model {args.model}")
    try:
        summary = detect_folder(options, ExportedModel(args.model))
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    if summary is None:
        return 0
    if args.report:
        _report(options.state_dir, args.folder, args.report)
    return 0 if summary.images > summary.failed else 1


def _report(results: str, image_root: str, output_dir: str) -> None:
    from tqdm import tqdm

    from context_rcnn.report.results_page import ResultsOptions, write_results_report

    index = write_results_report(
        ResultsOptions(results, output_dir, image_root),
        lambda images, total: tqdm(images, "Report", total, unit=" images", disable=None),
    )
    print(f"Look at {index}")


def _add_results(verbs: argparse._SubParsersAction) -> None:
    results = _parser(
        verbs,
        "results",
        "write what was detected before in other formats",
        "Writes results of `detect`, `watch` or a Beam job in any formats.",
        _RESULTS_EXAMPLES,
    )
    results.add_argument(
        "journals", nargs="+", metavar="JOURNAL", help="journals, or folders with them"
    )
    _add_formats(results)
    results.set_defaults(run=_results)


def _results(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.results.join import find_journals, join_journals
    from context_rcnn.results.write import write_results
    from context_rcnn.runners.folder import words

    outputs, options = _outputs(args, args.output), _result_options(args)
    journals = find_journals(args.journals)
    with tempfile.TemporaryDirectory(prefix="context_rcnn-") as folder:
        journal = journals[0]
        if len(journals) > 1:
            journal = join_journals(journals, os.path.join(folder, "journal.jsonl"))
        summary = write_results(journal, outputs, options, progress=sys.stderr.isatty())
    names = [args.output, args.csv, args.coco, args.speciesnet, args.camtrap_dp]
    print(words.on_results(summary, options.typical_threshold, filter(None, names)))
    return 0 if summary.images > summary.failed else 1


def _add_watch(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    watch = _parser(
        verbs,
        "watch",
        "detect in images as they come, with each camera's memory so far",
        "Detects in every new image of a folder, or in the frames of a video, and prints a JSON\n"
        "line for each.",
        _WATCH_EXAMPLES,
    )
    watch.add_argument("folder", nargs="?", help="that images come into, one folder a camera")
    watch.add_argument("--model", metavar="DIR", help="what `context-rcnn export` wrote")
    watch.add_argument("--state", metavar="DIR", help="what was seen, and the cameras' memories")
    watch.add_argument("--once", action="store_true", help="only what is there now")
    watch.add_argument(
        "--poll", type=float, default=5.0, metavar="SECONDS", help="between looks (default: 5)"
    )
    watch.add_argument(
        "--clock",
        choices=["exif", "arrival"],
        default="exif",
        help="of images without an EXIF date: none, or the time at which they came",
    )
    watch.add_argument(
        "--cameras", type=int, default=16, help="whose memories are kept at hand (default: 16)"
    )
    watch.add_argument("--save_every", type=int, default=50, metavar="IMAGES", help="(default: 50)")
    video = watch.add_argument_group("a video in place of a folder")
    video.add_argument("--video", metavar="FILE", help="or an animated GIF, a TIFF of many pages")
    video.add_argument("--camera", help="that took it")
    video.add_argument("--fps", type=float, default=1.0, help="frames a second (default: 1)")
    video.add_argument("--start", metavar="DATE", help="of the first frame: 2022-12-31 09:52:50")
    flags.add_camera_flags(watch)
    flags.add_image_flags(watch)
    watch.set_defaults(run=lambda args, rest: _watch(args, watch))


def _watch(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if not args.folder and not args.video:
        parser.print_help()
        return 2
    if args.folder and args.video:
        raise ValueError("give a folder or --video, not both")
    for name in ("model", "state"):
        if not getattr(args, name):
            raise ValueError(f"--{name} is missing: see context-rcnn watch --help")
    if args.video and not args.camera:
        raise ValueError("--video needs --camera, the name of the camera that took it")
    from context_rcnn.data import flags
    from context_rcnn.data.cameras import CameraNamer
    from context_rcnn.data.timestamps import parse_timestamp
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.runners.engine import video_file as video
    from context_rcnn.runners.watch import FolderFrames, Watcher

    images = flags.image_options(args)
    if args.video:
        frames = video.VideoFrames(args.video, args.camera, args.fps, parse_timestamp(args.start))
    else:
        root = os.path.basename(os.path.abspath(args.folder))
        namer = CameraNamer(args.camera_regex, args.camera_csv, root)
        frames = FolderFrames(
            args.folder, namer, images, poll=args.poll, once=args.once, clock=args.clock
        )
    with Watcher(
        ExportedModel(args.model),
        args.state,
        settings={"images": dataclasses.asdict(images)},
        most_cameras=args.cameras,
        save_every=args.save_every,
        sequence_gap=args.sequence_gap,
    ) as watcher:
        try:
            for line in watcher.run(frames):
                print(line, flush=True)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            return 130
    return 0
