"""`context-rcnn detect` and `watch`: an exported model on photographs. `results` is added here."""

import argparse
import dataclasses
import os
import sys

from context_rcnn.cli import results

# Imported inside the verbs: models and TensorFlow are not needed for --help.

_DETECT_EXAMPLES = """\
examples:
  A folder of photographs, one folder per camera. Writes results.json into it, for Timelapse:
    context-rcnn detect D:\\photos --model C:\\models\\leopards
    context-rcnn detect photos --model models/leopards

  First see which cameras are found, and how long it takes:
    context-rcnn detect photos --model models/leopards --dry_run

  Everything: a page to look at, a table, and a Camera Trap Data Package:
    context-rcnn detect photos --model models/leopards -o results.json --report report \\
        --csv results.csv --camtrap_dp package --deployments cameras.csv --timezone Europe/Berlin

  Review detections that come back in the same place again and again, such as rocks and branches:
    context-rcnn detect photos --model models/leopards --rde review

Run the same command again: it continues where it stopped, and includes new images. docs/detect.md
has the details; `context-rcnn export` turns a training run into a model.
"""

_EXPLAINED = 12  # images for which a page shows what the memory did

_WATCH_EXAMPLES = """\
examples:
  A folder that a camera or a synchronisation program writes to; one JSON line per new image:
    context-rcnn watch incoming --model models/leopards --state incoming.state

  Only the images that are there now:
    context-rcnn watch incoming --model models/leopards --state incoming.state --once

  One frame of each second of a video, as images of a camera:
    context-rcnn watch --video gate.mp4 --camera gate --fps 1 --start "2024-05-01 06:00:00" \\
        --model models/leopards --state gate.state

Each image is detected with the memory of its camera so far. Run the same command again: it
continues where it stopped. `context-rcnn results STATE -o results.json` writes all results for
Timelapse.
"""


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the two verbs, and `results`, which writes what they found."""
    _add_detect(verbs)
    _add_watch(verbs)
    results.add_verb(verbs)


def _add_detect(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    detect = results.add_parser(
        verbs,
        "detect",
        "detect in a folder of photographs, for Timelapse and other programs",
        "Detects in all images of a folder with an exported model, each with the memory of its\n"
        "own camera. The images are not changed; the results are written into the folder.",
        _DETECT_EXAMPLES,
    )
    results.add_run(
        detect, "folder of the images, one folder per camera", "the cameras and the expected time"
    )
    detect.add_argument(
        "--detections",
        metavar="FILE",
        default="",
        help="MegaDetector's results for these images, for a model that names the boxes of another "
        "detector (docs/memory_on_megadetector.md); videos are then passed over",
    )
    detect.add_argument("--report", metavar="DIR", help="folder for a page to judge the results by")
    detect.add_argument(
        "--batch_size",
        type=int,
        default=4,
        help="number of images per call of the model (default: 4)",
    )
    detect.add_argument(
        "--workers",
        type=int,
        default=0,
        help="number of threads that read images (default: one for each processor)",
    )
    detect.add_argument(
        "--videos",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also detect in the videos among the photographs, frame by frame (default: yes)",
    )
    detect.add_argument(
        "--fps",
        type=float,
        default=1.0,
        metavar="N",
        help="number of frames to use per second of a video; 0 for all (default: 1)",
    )
    results.add_formats(detect)
    results.add_image_formats(detect)
    memory = detect.add_argument_group("memory")
    memory.add_argument(
        "--no_memory", action="store_true", help="detect in single images, without a memory"
    )
    memory.add_argument(
        "--top_k",
        type=int,
        help="number of boxes per image that are added to the memory (default: as in training)",
    )
    rde = detect.add_argument_group("boxes that come back in the same place (RDE)")
    rde.add_argument(
        "--rde",
        choices=["off", "report", "auto", "review"],
        default="off",
        help="treatment of boxes that come back in the same place: report writes a table of such "
        "places, OUTPUT.repeats.csv; auto also makes the confidences there negative; review does "
        "so only where you keep the picture in OUTPUT.review (default: off)",
    )
    rde.add_argument(
        "--rde_images",
        type=int,
        default=20,
        help="number of images with the same box that makes a place suspicious (default: 20)",
    )
    rde.add_argument(
        "--rde_iou",
        type=float,
        default=0.9,
        help="overlap (IoU) from which two boxes count as the same (default: 0.9)",
    )
    rde.add_argument(
        "--rde_score",
        type=float,
        default=0.1,
        help="lowest score at which a detection takes part (default: 0.1)",
    )
    rde.add_argument(
        "--rde_max_area",
        type=float,
        default=0.2,
        help="largest box that takes part, as a share of the image (default: 0.2)",
    )
    flags.add_camera_flags(detect)
    flags.add_clock_flags(detect)
    flags.add_image_flags(detect)
    detect.set_defaults(run=lambda args, rest: _detect(args, detect))


def _detect(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if not args.folder:
        parser.print_help()
        return 2
    results.check_model(args)
    from context_rcnn.data import flags
    from context_rcnn.evaluation.repeat_detections import RepeatDetectionOptions
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.runners.folder.options import FolderOptions
    from context_rcnn.runners.folder.run import detect_folder

    if args.report:
        results.check_report(args.report)
    output = results.output_of(args)
    options = FolderOptions(
        root=args.folder,
        state_dir=args.state_dir or f"{output}.state",
        outputs=results.outputs(args, output),
        results=results.options(args),
        camera_regex=args.camera_regex,
        camera_csv=args.camera_csv,
        clock_shifts=tuple(args.clock_shift),
        clock_csv=args.clock_csv,
        sequence_gap=args.sequence_gap,
        images=flags.image_options(args),
        memory=not args.no_memory,
        top_k=args.top_k,
        batch_size=args.batch_size,
        workers=args.workers,
        videos=args.videos and not args.detections,
        fps=args.fps or None,
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
        detections=args.detections,
        dry_run=args.dry_run,
        restart=args.restart,
        overwrite=args.overwrite,
    )
    print(f"loading the model {args.model}")
    status, summary = results.run(lambda: detect_folder(options, ExportedModel(args.model)))
    if summary is not None and args.report:
        results.write_report(options.state_dir, args.folder, args.report)
    return status


def _add_watch(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    watch = results.add_parser(
        verbs,
        "watch",
        "detect in images as they arrive, with the memory of each camera so far",
        "Detects in every new image of a folder, or in the frames of a video, and prints a JSON\n"
        "line for each.",
        _WATCH_EXAMPLES,
    )
    watch.add_argument(
        "folder", nargs="?", help="folder in which images arrive, one folder per camera"
    )
    watch.add_argument("--model", metavar="DIR", help="folder that `context-rcnn export` wrote")
    watch.add_argument(
        "--state", metavar="DIR", help="folder for the results and the memories of the cameras"
    )
    watch.add_argument(
        "--once", action="store_true", help="process only the images that are there now, and end"
    )
    watch.add_argument(
        "--poll",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="time between two looks into the folder (default: 5)",
    )
    watch.add_argument(
        "--clock",
        choices=["exif", "arrival"],
        default="exif",
        help="date of images without an EXIF date: none (exif), or the time of arrival (arrival)",
    )
    watch.add_argument(
        "--cameras", type=int, default=16, help="number of memories kept in RAM (default: 16)"
    )
    watch.add_argument(
        "--save_every",
        type=int,
        default=50,
        metavar="IMAGES",
        help="number of images after which the memories are saved (default: 50)",
    )
    video = watch.add_argument_group("a video in place of a folder")
    video.add_argument(
        "--video", metavar="FILE", help="video, animated GIF, or TIFF with several pages"
    )
    video.add_argument("--camera", help="name of the camera that took the video")
    video.add_argument(
        "--fps", type=float, default=1.0, help="number of frames per second (default: 1)"
    )
    video.add_argument(
        "--start", metavar="DATE", help="date of the first frame: 2022-12-31 09:52:50"
    )
    video.add_argument(
        "--two_speed",
        metavar="SOURCE",
        help="video file, number of a camera or address of a stream, in place of a folder, for a "
        "two-speed model: it answers every frame while its strong detector works in the "
        "background; --state may be left out",
    )
    flags.add_camera_flags(watch)
    flags.add_clock_flags(watch)
    flags.add_image_flags(watch)
    watch.set_defaults(run=lambda args, rest: _watch(args, watch))


def _watch_two_speed(args: argparse.Namespace) -> int:
    if args.folder or args.video:
        raise ValueError("give a folder, --video or --two_speed, not several")
    if not args.model:
        raise ValueError("--model is missing: see context-rcnn watch --help")
    from context_rcnn.data import flags

    flags.refuse_clocks(args, "frames of a stream have no dates")
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.runners.videos.live import stream_of, watch_stream
    from context_rcnn.runners.videos.two_speed import TwoSpeedRunner

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    options, frames = flags.image_options(args), stream_of(args.two_speed)
    with TwoSpeedRunner(ExportedModel(args.model), say=say) as runner:
        lines = watch_stream(
            runner,
            args.two_speed,
            frames,
            max_side=options.max_side,
            state_dir=args.state or "",
        )
        try:
            for line in lines:
                print(line, flush=True)
        except KeyboardInterrupt:
            say("stopped")
            return 130
    return 0


def _watch(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if args.two_speed:
        return _watch_two_speed(args)
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
    from context_rcnn.data.clocks import CameraClocks
    from context_rcnn.data.timestamps import parse_timestamp
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.runners.engine import video_file as video
    from context_rcnn.runners.engine.files import not_listed
    from context_rcnn.runners.watch import FolderFrames, Frames, Watcher

    images, clocks = flags.image_options(args), CameraClocks(args.clock_shift, args.clock_csv)
    frames: Frames
    if args.video:
        clocks.check([args.camera])
        start = parse_timestamp(args.start, correct=clocks.corrector(args.camera))
        frames = video.VideoFrames(args.video, args.camera, args.fps, start)
    else:
        root = os.path.basename(os.path.abspath(args.folder))
        namer = CameraNamer(args.camera_regex, args.camera_csv, root)
        frames = FolderFrames(
            args.folder,
            namer,
            images,
            clocks=clocks,
            poll=args.poll,
            once=args.once,
            clock=args.clock,
        )
    for line in clocks.in_words():
        print(line, file=sys.stderr)
    with Watcher(
        ExportedModel(args.model),
        args.state,
        settings={"images": dataclasses.asdict(images)},
        most_cameras=args.cameras,
        save_every=args.save_every,
        sequence_gap=args.sequence_gap,
        clocks=clocks,
    ) as watcher:
        try:
            for line in watcher.run(frames):
                print(line, flush=True)
        except KeyboardInterrupt:
            print("stopped; the same command continues from here", file=sys.stderr)
            return 130
    if unlisted := not_listed(frames.passed, 0, "images"):
        print(unlisted, file=sys.stderr)
        return 1
    return 0
