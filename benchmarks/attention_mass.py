r"""Whether attention goes to the boxes that show the evidence, on simulated videos.

    python -m benchmarks.attention_mass --model_dir=video_tables/videos-0/rows/mega \
        --examples='video_tables/videos-0/videos/val-*'

Of a trained MEGA, looks at detections on animals that hide their coat now, while another frame that
they see shows it. For what the attended boxes are on, prints the share of the attention and the
share of the boxes, which is what attention would give by chance; and both for the frames around
the keyframe with the memory, and for frames from anywhere, each by itself.
"""

import json
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import context_rcnn  # noqa: F401
from benchmarks.record import parser_of
from context_rcnn.evaluation.evidence import MATCHED, groups_of
from context_rcnn.evaluation.groundtruth import Image, read_groundtruth
from context_rcnn.evaluation.overlaps import iou

KINDS = ("itself, clear", "itself, hidden", "others, clear", "others, hidden", "no animal")
PARTS = ("near", "anywhere")


def on_which(image: Image, box: list[float]) -> int | None:
    """The label that a box is on, None if it is on none."""
    if not len(image.boxes):
        return None
    overlaps = iou(image.boxes, np.array([box]))[:, 0]
    best = int(overlaps.argmax())
    return best if overlaps[best] >= MATCHED else None


def kind_of(image: Image, entry: Mapping[str, Any], track: str) -> str:
    """What an attended box is on, seen from an animal of this track."""
    label = on_which(image, entry["box"])
    if label is None:
        return KINDS[-1]
    whose = "itself" if image.tracks[label] == track else "others"
    return f"{whose}, {'clear' if image.shows[label] == 1 else 'hidden'}"


def measure(lines: Iterable[Mapping[str, Any]], images: list[Image]) -> dict[str, Any]:
    """Mean shares of attention and of boxes by part and kind, over detections; and their number.

    Args:
        lines: explanations with all boxes that were seen, of whatever weight.
        images: the labels.
    """
    by_id = {
        image.id: (image, names) for image, names in zip(images, groups_of(images), strict=True)
    }
    rows = defaultdict(list)
    for line in lines:
        image, names = by_id[line["image_id"]]
        for detection in line["detections"]:
            label = on_which(image, detection["box"])
            if label is None or names[label] != "seen elsewhere":
                continue
            track = image.tracks[label]
            seen: dict[str, dict[str, list[float]]] = {
                part: {kind: [] for kind in KINDS} for part in PARTS
            }
            for entry in detection["attention"]:
                other, _ = by_id[entry["image_id"]]
                part = PARTS[entry["anywhere"]]
                seen[part][kind_of(other, entry, track)].append(entry["weight"])
            for part, by_kind in seen.items():
                total = sum(map(sum, by_kind.values()))
                count = sum(map(len, by_kind.values()))
                if by_kind[KINDS[0]] and total:
                    rows[part].append(
                        [(sum(found) / total, len(found) / count) for found in by_kind.values()]
                    )
    return {
        part: {
            "detections": len(found),
            **{
                kind: dict(zip(("attention", "boxes"), mean, strict=True))
                for kind, mean in zip(KINDS, np.mean(found, axis=0).tolist(), strict=True)
            },
        }
        for part, found in rows.items()
    }


def as_text(measured: Mapping[str, Any]) -> str:
    """The table in Markdown."""
    lines = [
        "| frames | detections | "
        + " | ".join(f"{kind}: attention (boxes)" for kind in KINDS)
        + " |",
        "|---" * (2 + len(KINDS)) + "|",
    ]
    for part, found in measured.items():
        cells = [f"{found[kind]['attention']:.2f} ({found[kind]['boxes']:.2f})" for kind in KINDS]
        lines.append(f"| {part} | {found['detections']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model_dir", required=True, help="folder of the run of a MEGA")
    parser.add_argument("--examples", required=True, help="examples of simulated videos")
    parser.add_argument("--videos", type=int, help="number of videos (default: all)")
    parser.add_argument(
        "--keyframes", type=int, default=8, help="number of keyframes of each (default: 8)"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="file for the numbers")
    args = parser.parse_args()

    from context_rcnn.data.input import find_files
    from context_rcnn.explanations.attended_frames import explain_videos

    lines = explain_videos(
        args.model_dir,
        input_path=args.examples,
        videos=args.videos,
        keyframes=args.keyframes,
        top=100_000,
        min_weight=0.0,
    )
    images = read_groundtruth(find_files(args.examples), num_classes=10**6)
    measured = measure(lines, images)
    print(as_text(measured))
    if args.json:
        args.json.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
