r"""What a memory could gain on a simulated archive, before any is trained.

    context-rcnn simulate videos videos --videos=200
    python -m benchmarks.ceiling --imagenet_vid_root=videos
    python -m benchmarks.ceiling --imagenet_vid_root=videos --model=runs/videos/detector

Puts together what the boxes within a reach show: the own box alone, as a single-frame detector has
it, some frames, the whole video, or a camera's day, week and month. `identity` follows each object
as an oracle would (its true track; at a camera, its species); `alike` puts look-alikes together
too, as a memory without such an oracle has to. Without --model boxes are perfect, and whatever
shows itself is known. With it, the detector's mean scores on the true boxes decide; boxes it does
not find do not count. Judged by the share of boxes that get their class: rescoring whole tracks
spoils mAP, because duplicates then have equal scores.

A set is fit for a table of memories if the best `identity` is at least 15 points above the own box.
"""

import dataclasses
import json
import math
import pathlib

import numpy as np

from benchmarks.ceiling import detections, pooling, reaches
from benchmarks.ceiling.boxes import Study, read_study
from benchmarks.record import parser_of

ENOUGH = 15.0


def report(study: Study, rows: list[pooling.Row]) -> dict:
    """Everything measured, as JSON has it."""
    single = rows[0].accuracy["identity"]
    best = max(row.accuracy["identity"] for row in rows)
    return {
        "cameras": len(study.cameras),
        "boxes": sum(len(boxes.classes) for boxes in study.cameras),
        "rows": [dataclasses.asdict(row) for row in rows],
        "ceiling_over_single_frame": best - single,
        "fit_for_a_table": best - single >= ENOUGH,
    }


def as_text(facts: dict, videos: bool) -> str:
    """The table, in Markdown."""
    kind = "true track" if videos else "true species"
    names = [f"{kind}, {state}" for state in pooling.STATES]
    lines = [f"| reach | look-alikes | {kind} | gain | {' | '.join(names)} |", "|---" * 7 + "|"]
    single = facts["rows"][0]["accuracy"]["identity"]
    for row in facts["rows"]:
        accuracy, states = row["accuracy"], row["by_state"]["identity"]
        cells = [accuracy["alike"], accuracy["identity"], accuracy["identity"] - single]
        cells += [states[state] for state in pooling.STATES]
        text = ["-" if math.isnan(value) else f"{value:.1f}" for value in cells]
        lines.append(f"| {row['reach']} | {' | '.join(text)} |")
    gain = facts["ceiling_over_single_frame"]
    verdict = "fit" if facts["fit_for_a_table"] else "not fit"
    lines += [
        "",
        f"{facts['boxes']} boxes of {facts['cameras']} {'videos' if videos else 'cameras'}.",
    ]
    for name in ("boxes_found", "clear_boxes_right"):
        if name in facts:
            lines.append(f"{name.replace('_', ' ')}: {100 * facts[name]:.1f} %")
    lines.append(f"The ceiling is {gain:.1f} points above the single frame: {verdict} for a table.")
    return "\n".join(lines)


def main() -> None:
    from context_rcnn.data import flags
    from context_rcnn.data.archive import read_archive

    parser = parser_of(__doc__)
    flags.add_archive_flags(parser)
    parser.add_argument("--split", default="val", help="split to measure on (default: val)")
    parser.add_argument(
        "--model",
        metavar="DIR",
        help="folder of a single-frame detector, exported or of a run; without it, labels alone",
    )
    parser.add_argument("--json", metavar="FILE", help="file for the numbers")
    args = parser.parse_args()
    try:
        options = flags.archive_options(args)
        study = read_study(options, read_archive(options), args.split)
        chosen = reaches.VIDEO_REACHES if study.videos else reaches.CAMERA_REACHES
        if not args.model:
            judge = pooling.by_labels(study.guesses)
            facts = report(study, pooling.measure(study.cameras, chosen, judge))
        else:
            scores = dict(detections.scores_of_study(study, *detections.load_detector(args.model)))
            rows = pooling.measure(study.cameras, chosen, pooling.by_scores(scores))
            found = sum(np.count_nonzero(~np.isnan(own[:, 0])) for own in scores.values())
            facts = report(study, rows)
            facts["boxes_found"] = found / facts["boxes"]
            facts["clear_boxes_right"] = detections.plain_right(study.cameras, scores)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(as_text(facts, study.videos))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
