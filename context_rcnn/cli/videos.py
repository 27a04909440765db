"""`context-rcnn videos` and `link`: an exported model on a folder of videos, and boxes linked."""

import argparse

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
    context-rcnn videos ILSVRC2015/Data/VID/val --model models/mega -o val.json --coco val_coco.json

Run the same command again: it continues where it stopped, and includes new videos. docs/detect.md
tells more; `context-rcnn export` makes a model of a training run.
"""


_LINK_EXAMPLES = """\
examples:
  The detections of an evaluation, through the frames of their bursts:
    context-rcnn link --groundtruth evaluation/groundtruth_coco.json \\
        --detections evaluation/detections_coco.json -o linked.json

  Those of any detector, where each tube has its best score:
    context-rcnn link --groundtruth imagenet_vid_val.json --detections results.json \\
        --rescore maximum -o linked.json

Images need `video_id` and `frame_id`, as COCO-VID and our evaluations have them; frame_id counts
by one, and nothing is linked across a missing frame. Seq-NMS takes the place of a detector's own
suppression of overlapping boxes: give it many boxes of each frame, not suppressed or loosely (for
an evaluation of ours task.model.detections.nms_iou=.9 and a large task.model.detections.count;
task.evaluation.post_processing.type=seq_nms then links while it evaluates).
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
        "detect in a folder of videos, with what a model remembers of each",
        "Detects in all videos below a folder with an exported model. A video is a file, or a "
        "folder\nwhose images are its frames. Nothing is changed, but for the results.",
        _VIDEOS_EXAMPLES,
    )
    results.add_run(videos, "folder of the videos", "the videos")
    videos.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="frames to take of each second of a video file (default: all)",
    )
    videos.add_argument(
        "--batch_size",
        type=int,
        default=1,
        metavar="ROWS",
        help="videos side by side; for a model of single images, frames in each call (default: 1)",
    )
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

    output = results.output_of(args)
    options = VideoOptions(
        root=args.folder,
        state_dir=args.state_dir or f"{output}.state",
        outputs=results.outputs(args, output),
        results=results.options(args),
        fps=args.fps,
        images=flags.image_options(args),
        batch_size=args.batch_size,
        dry_run=args.dry_run,
        restart=args.restart,
        overwrite=args.overwrite,
    )
    print(f"loading the model {args.model}")
    return results.run(lambda: detect_folder_of_videos(options, ExportedModel(args.model)))[0]


def _add_link(verbs: argparse._SubParsersAction) -> None:
    link = results.add_parser(
        verbs,
        "link",
        "link detections of videos from frame to frame (Seq-NMS), in COCO's files",
        "Links boxes of neighbouring frames, gives all boxes of a linked path one score,\nand "
        "suppresses what overlaps them (Seq-NMS, Han et al. 2016). Each class of each\nvideo is "
        "looked at alone.",
        _LINK_EXAMPLES,
    )
    link.add_argument(
        "--groundtruth", required=True, metavar="FILE", help="COCO-VID file with the images"
    )
    link.add_argument("--detections", required=True, metavar="FILE", help="COCO results to link")
    link.add_argument("-o", "--output", required=True, metavar="FILE", help="COCO results to write")
    link.add_argument(
        "--link_iou",
        type=float,
        default=0.5,
        help="overlap above which boxes are linked (default: 0.5)",
    )
    link.add_argument(
        "--nms_iou",
        type=float,
        default=0.3,
        help="overlap above which other boxes are suppressed (default: 0.3)",
    )
    link.add_argument(
        "--rescore",
        choices=["average", "maximum", "best_half"],
        default="average",
        help="what all boxes of a path score: average and maximum of their scores are Seq-NMS's; "
        "best_half, the mean of their better half, is our own (default: average)",
    )
    link.add_argument(
        "--score_threshold",
        type=float,
        default=0.001,
        help="detections below it take no part and stay as they are (default: 0.001)",
    )
    link.set_defaults(run=_link)


def _link(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.evaluation.coco_videos import link_files
    from context_rcnn.evaluation.seq_nms import SeqNmsOptions

    options = SeqNmsOptions(args.link_iou, args.nms_iou, args.rescore, args.score_threshold)
    counts = link_files(args.groundtruth, args.detections, args.output, options)
    print(", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()))
    print(f"linked detections written to {args.output}")
    return 0
