r"""Boxes that get their class, where look-alikes are in the same video and where they are not.

    python -m benchmarks.studies.mega --output_dir=rivals \
        --video_flags='--crossing_fraction=.3 --one_species=0'
    python -m benchmarks.studies.mega_rivals --output_dir=rivals

Of the rows that were run, the mean over seeds. A stage that attends by looks alone can tell an
animal from others in the same video only by what tells their species apart, and that is hidden.
"""

import pathlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import context_rcnn  # noqa: F401
from benchmarks.ceiling.boxes import lookalikes_of
from benchmarks.record import parser_of
from benchmarks.studies import mega, study
from context_rcnn.evaluation.evidence import classes_of, groups_of
from context_rcnn.evaluation.groundtruth import Image, read_groundtruth
from context_rcnn.report.runs import Run, read_run

TOGETHER, APART = "look-alikes together", "none together"
SHOWN = ("clear", "seen elsewhere")


def kinds_of(images: Sequence[Image], pairs: Sequence[Collection[int]]) -> dict[tuple, str]:
    """Of each video, whether both classes of a pair are in it."""
    classes = defaultdict(set)
    for image in images:
        classes[image.camera, image.burst].update(image.classes.tolist())
    return {
        video: TOGETHER if any(set(pair) <= there for pair in pairs) else APART
        for video, there in classes.items()
    }


def shares(
    images: Sequence[Image], run: Run, kinds: dict[tuple, str]
) -> dict[tuple[str, str], float]:
    """Share of the boxes found that get their class, by kind of video and by what boxes show."""
    places = {name: place for place, name in enumerate(run.image_ids)}
    right: Counter = Counter()
    found: Counter = Counter()
    for image, names in zip(images, groups_of(images), strict=True):
        rows = run.found.of(places[image.id])
        edges = run.found.edges[rows][:, [1, 0, 3, 2]]
        given = classes_of(image, (edges, run.found.scores[rows], run.found.classes[rows]))
        for name, one, true in zip(names, given, image.classes, strict=True):
            key = kinds[image.camera, image.burst], name
            found[key] += int(one > 0)
            right[key] += int(one == true)
    return {key: right[key] / count for key, count in found.items() if count}


def as_text(rows: dict[str, list[dict[tuple[str, str], float]]]) -> str:
    """Percentages by row, mean and standard deviation over seeds, in Markdown."""
    columns = [(kind, name) for kind in (TOGETHER, APART) for name in SHOWN]
    lines = ["| | " + " | ".join(f"{kind}: {name}" for kind, name in columns) + " | seeds |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for title, seeds in rows.items():
        cells = []
        for column in columns:
            values = [100 * found[column] for found in seeds if column in found]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}" if values else "-")
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {len(seeds)} |")
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--output_dir", required=True, type=pathlib.Path, help="folder of the study"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--first_seed", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument("--steps", type=int, default=4000, help="steps of its rows (default: 4000)")
    args = parser.parse_args()

    from context_rcnn.data.input import find_files

    measured = defaultdict(list)
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        folder = args.output_dir / f"videos-{seed}"
        images = read_groundtruth(find_files(f"{folder}/videos/val-*"), num_classes=10**6)
        for row in study.chosen(mega.TABLES, set()).values():
            evaluation = folder / "rows" / row.name / "evaluation" / f"step-{args.steps}"
            if not (evaluation / "metrics.json").exists():
                continue
            run = read_run(str(evaluation), "--output_dir")
            numbers = {name: number for number, name in run.class_names.items()}
            pairs = [
                [numbers[name] for name in pair]
                for pair in lookalikes_of(folder / "videos_archive")
                if set(pair) <= set(numbers)
            ]
            measured[row.title].append(shares(images, run, kinds_of(images, pairs)))
    if not measured:
        parser.error(f"--output_dir={args.output_dir} has no row of {args.steps} steps")
    print(as_text(measured))


if __name__ == "__main__":
    main()
