"""`context-rcnn videos` and `link`: an exported model on a folder of videos, boxes linked."""

import argparse
import functools

from context_rcnn.cli import results

# Imported inside the verbs: models and TensorFlow are not needed for --help.

_VIDEOS_EXAMPLES = """\
examples:
  All videos below a folder, every frame. Writes results.json into it, for Timelapse:
    context-rcnn videos clips --model models/leopards

  First see which videos are found, with their frames and lengths:
    context-rcnn videos clips --model models/leopards --dry_run

  Two frames of each second, four videos side by side, and a table:
    context-rcnn videos clips --model models/leopards --fps 2 --batch_size 4 --csv clips.csv

  Folders of frames, as in ImageNet VID:
    context-rcnn videos ILSVRC2015/Data/VID/val --model models/vid -o val.json --coco val_coco.json

Run the same command again: it continues where it stopped, and includes new videos. docs/detect.md
has the details; `context-rcnn export` turns a training run into a model.
"""


_LINK_EXAMPLES = """\
examples:
  Detections of an evaluation, through the frames of their bursts:
    context-rcnn link evaluation/detections_coco.json \\
        --groundtruth evaluation/groundtruth_coco.json -o linked.json

  Detections of any detector; each linked path gets its best score:
    context-rcnn link results.json --groundtruth imagenet_vid_val.json \\
        --rescore maximum -o linked.json

  Detections of two detectors joined, then linked as STMN's released code does it:
    context-rcnn link stmn.json still.json --groundtruth imagenet_vid_val.json \\
        --rule viterbi -o linked.json

Images need `video_id` and `frame_id`, as in COCO-VID and in evaluations of this package; frame_id
counts by one, and Seq-NMS links nothing across a missing frame. All rules replace a detector's own
suppression of overlapping boxes. So give them many boxes per frame, with little suppression: in an
evaluation of this package task.model.detections.nms_iou=.9 and a large task.model.detections.count.
(task.evaluation.post_processing.type=seq_nms, viterbi or nms does it during the evaluation itself,
and task.evaluation.ensemble joins.)
"""


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the two verbs."""
    _add_videos(verbs)
    _add_link(verbs)


def _add_videos(verbs: argparse._SubParsersAction) -> None:
    from context_rcnn.data import flags

    videos = results.add_parser(
        verbs,
        "videos",
        "detect in a folder of videos, with the memory of each video",
        "Detects in all videos below a folder with an exported model. A video is a file, or a "
        "folder\nwhose images are its frames. The videos are not changed; the results are "
        "written into\nthe folder.",
        _VIDEOS_EXAMPLES,
    )
    results.add_run(videos, "folder of the videos", "the videos")
    videos.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="number of frames to use per second of a video file (default: all)",
    )
    videos.add_argument(
        "--frames",
        action="store_true",
        help="take the images of every folder as frames of a video, whatever they are called "
        "(default: only if they are numbered like frames and have no date)",
    )
    videos.add_argument(
        "--evidence_every",
        type=int,
        default=1,
        metavar="N",
        help="look at every N-th frame only; in the frames between, a model whose memory is moved "
        "by flow detects without computing their features (default: 1)",
    )
    videos.add_argument(
        "--anticipate",
        type=int,
        default=0,
        metavar="N",
        help="write for each frame the detections that were foretold N frames before, without a "
        "look at the frames in between; the first N frames of a video have none (default: 0)",
    )
    videos.add_argument(
        "--two_speed",
        action="store_true",
        help="let the strong detector of a two-speed model work in a thread, as late as it is on "
        "this machine (default: late by as many frames as in training, so that equal runs give "
        "equal results)",
    )
    videos.add_argument(
        "--batch_size",
        type=int,
        default=1,
        metavar="ROWS",
        help="number of videos side by side; with a model of single images, number of frames per "
        "call (default: 1)",
    )
    videos.add_argument("--report", metavar="DIR", help="folder for a page to judge the results by")
    results.add_formats(videos)
    flags.add_image_flags(videos)
    videos.set_defaults(run=lambda args, rest: _videos(args, videos))


def _videos(args: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if not args.folder:
        parser.print_help()
        return 2
    results.check_model(args)
    from context_rcnn.data import flags
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.runners.videos.options import VideoOptions
    from context_rcnn.runners.videos.run import detect_folder_of_videos

    if args.report:
        results.check_report(args.report)
    output = results.output_of(args)
    options = VideoOptions(
        root=args.folder,
        state_dir=args.state_dir or f"{output}.state",
        outputs=results.outputs(args, output),
        results=results.options(args),
        fps=args.fps,
        frames=args.frames,
        evidence_every=args.evidence_every,
        anticipate=args.anticipate,
        two_speed=args.two_speed,
        images=flags.image_options(args),
        batch_size=args.batch_size,
        dry_run=args.dry_run,
        restart=args.restart,
        overwrite=args.overwrite,
    )
    print(f"loading the model {args.model}")
    detect = functools.partial(detect_folder_of_videos, options, ExportedModel(args.model))
    status, summary = results.run(detect)
    if summary is not None and args.report:
        results.write_report(options.state_dir, args.folder, args.report)
    return status


def _add_link(verbs: argparse._SubParsersAction) -> None:
    link = results.add_parser(
        verbs,
        "link",
        "join detections of videos from COCO's files, and link them from frame to frame",
        "Joins the detections of one or several files, and links them through the frames of each\n"
        "video, each class alone. Rules: seq_nms gives all boxes of a linked path one score and\n"
        "suppresses boxes that overlap them (Han et al. 2016). viterbi is the rule of STMN's\n"
        "released code: paths go through all frames and raise the scores of their boxes, up to 3,\n"
        "and suppress nothing. nms links nothing: it suppresses boxes in each frame alone.",
        _LINK_EXAMPLES,
    )
    link.add_argument("files", nargs="*", metavar="FILE", help="COCO results; several are joined")
    link.add_argument(
        "--detections",
        action="append",
        default=[],
        metavar="FILE",
        help="COCO results, the same as FILE; may be repeated",
    )
    link.add_argument(
        "--groundtruth", required=True, metavar="FILE", help="COCO-VID file with the images"
    )
    link.add_argument("-o", "--output", required=True, metavar="FILE", help="COCO results to write")
    link.add_argument(
        "--rule",
        choices=list(_FLAGS_OF),
        default="seq_nms",
        help="way to link or suppress the joined detections (default: seq_nms)",
    )
    link.add_argument(
        "--link_iou", type=float, help="IoU above which boxes are linked, by seq_nms (default: 0.5)"
    )
    link.add_argument(
        "--nms_iou",
        type=float,
        help="IoU above which other boxes are suppressed (default: by seq_nms 0.3, by viterbi 0.4, "
        "by nms 0.5); with seq_nms, 1 suppresses nothing, for boxes that are suppressed already",
    )
    link.add_argument(
        "--rescore",
        choices=["average", "maximum", "best_half"],
        help="score of all boxes of a path, by seq_nms: average and maximum of their scores, as in "
        "Seq-NMS, or best_half, the mean of their better half, from no paper (default: average)",
    )
    link.add_argument(
        "--score_threshold",
        type=float,
        help="score below which detections take no part and stay as they are, by seq_nms "
        "(default: 0.001)",
    )
    link.add_argument(
        "--pre_nms_iou",
        type=float,
        help="IoU with a better box of any class above which viterbi drops a box before it links; "
        "give 1 for detectors whose boxes differ between classes (default: 0.9)",
    )
    link.add_argument(
        "--min_side",
        type=float,
        help="shortest side of a box that is kept, in pixels, by viterbi (default: 5)",
    )
    link.add_argument(
        "--most",
        type=int,
        help="largest number of boxes of a class and frame, by viterbi (default: 25)",
    )
    link.set_defaults(run=_link)


_FLAGS_OF = {
    "seq_nms": ("link_iou", "nms_iou", "rescore", "score_threshold"),
    "viterbi": ("pre_nms_iou", "min_side", "nms_iou", "most"),
    "nms": ("nms_iou",),
}


def _link(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.evaluation.coco_videos import link_files
    from context_rcnn.evaluation.overlaps import NmsOptions
    from context_rcnn.evaluation.seq_nms import SeqNmsOptions
    from context_rcnn.evaluation.viterbi import ViterbiOptions

    files = [*args.files, *args.detections]
    if not files:
        raise ValueError("give at least one file with detections")
    flags = {flag for names in _FLAGS_OF.values() for flag in names}
    given = {flag: getattr(args, flag) for flag in flags if getattr(args, flag) is not None}
    if strange := sorted(set(given) - set(_FLAGS_OF[args.rule])):
        raise ValueError(f"--{strange[0]} means nothing to --rule {args.rule}")
    rules = {"seq_nms": SeqNmsOptions, "viterbi": ViterbiOptions, "nms": NmsOptions}
    counts = link_files(args.groundtruth, files, args.output, rules[args.rule](**given))
    print(", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()))
    print(f"linked detections written to {args.output}")
    return 0
