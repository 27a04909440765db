"""`context-rcnn link`: detections of videos in COCO's files, linked from frame to frame."""

import argparse

# Imported inside the verb: NumPy is not needed for --help.

_EXAMPLES = """\
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


def add_link(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb `link`."""
    link = verbs.add_parser(
        "link",
        help="link detections of videos from frame to frame (Seq-NMS), in COCO's files",
        description="Links boxes of neighbouring frames, gives all boxes of a linked path one "
        "score,\nand suppresses what overlaps them (Seq-NMS, Han et al. 2016). Each class of each\n"
        "video is looked at alone.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    link.add_argument("--groundtruth", required=True, metavar="FILE", help="COCO-VID, for images")
    link.add_argument("--detections", required=True, metavar="FILE", help="COCO results")
    link.add_argument("-o", "--output", required=True, metavar="FILE", help="COCO results to write")
    link.add_argument(
        "--link_iou", type=float, default=0.5, help="above which boxes are linked (default: 0.5)"
    )
    link.add_argument(
        "--nms_iou", type=float, default=0.3, help="above which others go (default: 0.3)"
    )
    link.add_argument(
        "--rescore",
        choices=["average", "maximum", "best_half"],
        default="average",
        help="of a path's scores: average and maximum are Seq-NMS's; best_half is the mean of the "
        "better half, STMN's (default: average)",
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
