"""`context-rcnn report` and `compare`: pages to show, and what differs between two results."""

import argparse
import dataclasses


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verbs of this file."""
    _add_report(verbs)
    _add_compare(verbs)


def _add_report(verbs: argparse._SubParsersAction) -> None:
    report = verbs.add_parser(
        "report",
        help="write a page that shows an evaluation, or the results of `detect`",
        description="Writes a folder with a page that opens without a network. For an evaluation, "
        "the page shows what a run with memory finds that a single-frame run does not, and the "
        "reverse, by class and camera, and what its detections attend to. For results without "
        "labels, it shows samples with and without detections, to judge by eye. If an input is "
        "missing, the page says so.",
    )
    report.add_argument(
        "--evaluation",
        default="",
        metavar="RUN",
        help="folder of the run with memory, or its folder evaluation/step-N",
    )
    report.add_argument(
        "--results",
        default="",
        metavar="FILE",
        help="results of `context-rcnn detect`, in place of --evaluation",
    )
    report.add_argument(
        "--threshold",
        type=float,
        default=0.2,
        help="lowest score of a detection that counts, with --results (default: 0.2)",
    )
    report.add_argument(
        "--output_dir", required=True, help="folder to write; replaces an earlier report"
    )
    report.add_argument(
        "--baseline",
        default="",
        metavar="RUN",
        help="folder of the single-frame run, or its folder evaluation/step-N",
    )
    report.add_argument(
        "--explanations", default="", metavar="FILE", help="JSON lines of `context-rcnn explain`"
    )
    report.add_argument(
        "--memory_maps",
        default="",
        metavar="FILE",
        help="JSON lines that `context-rcnn explain` writes of a model with a memory of maps",
    )
    report.add_argument(
        "--examples", default="", metavar="FILES", help="TFRecords that contain the images"
    )
    report.add_argument(
        "--image_root",
        default="",
        metavar="DIR",
        help="folder of the images, whose ids are their file names",
    )
    report.add_argument("--title", default="", help="title of the page")
    report.add_argument(
        "--simulation",
        default="",
        metavar="FILE",
        help="simulation.json of simulated camera traps, so that dummies are called dummies",
    )
    report.add_argument(
        "--recall",
        type=float,
        default=0.5,
        help="recall at which the runs are compared (default: 0.5)",
    )
    report.add_argument(
        "--max_examples",
        type=int,
        default=12,
        help="largest number of images of each kind (default: 12)",
    )
    report.add_argument(
        "--max_panels",
        type=int,
        default=6,
        help="largest number of keyframes with explanations, and of videos with times (default: 6)",
    )
    report.add_argument(
        "--seed", type=int, default=0, help="seed of the random samples (default: 0)"
    )
    report.set_defaults(run=_report)


def _report(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    if bool(args.evaluation) == bool(args.results):
        raise ValueError("give either --evaluation (a run) or --results (a file of `detect`)")

    def progress(images, total):
        return tqdm(images, "images", total, unit="image", disable=None)

    if args.results:
        from context_rcnn.report.results_page import ResultsOptions, write_results_report
        from context_rcnn.runners.engine.video_file import frame_at

        options = _options(ResultsOptions, args)
        index = write_results_report(options, progress, read_frame=frame_at)
    else:
        from context_rcnn.report.page import ReportOptions, write_report

        index = write_report(_options(ReportOptions, args), progress)
    print(f"Look at {index}")
    return 0


def _options(options: type, args: argparse.Namespace):
    """Options of the flags with their names."""
    names = [field.name for field in dataclasses.fields(options)]
    return options(**{name: getattr(args, name) for name in names})


def _add_compare(verbs: argparse._SubParsersAction) -> None:
    compare = verbs.add_parser(
        "compare",
        help="show what differs between two results of the same images, without labels",
        description="Compares two results, such as without and with a memory, or of MegaDetector "
        "and of `detect`. Scores of two detectors do not mean the same, so the second is compared "
        "at the threshold at which as many images have a detection as in the first.",
    )
    compare.add_argument("first", help="results: a state, a journal, or MegaDetector's format")
    compare.add_argument("second", help="results to compare with, in any of the same forms")
    compare.add_argument(
        "--threshold",
        type=float,
        default=0.2,
        metavar="P",
        help="lowest score of a detection that counts in the first results (default: 0.2)",
    )
    compare.add_argument(
        "--second_threshold",
        type=float,
        metavar="P",
        help="lowest score of a detection that counts in the second results (default: the "
        "equivalent one)",
    )
    compare.add_argument("--csv", metavar="FILE", help="CSV table of the images that differ")
    compare.set_defaults(run=_compare)


def _compare(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.data import console
    from context_rcnn.report.found import open_results
    from context_rcnn.results import comparing
    from context_rcnn.results.atomic import Transaction

    sources = [open_results(path) for path in (args.first, args.second)]
    first, second = (comparing.best_of(s.images, s.class_names) for s in sources)
    found = comparing.compare(first, second, args.threshold, args.second_threshold)
    if args.csv:
        with Transaction() as files:
            comparing.write_differences(files.open(args.csv), found)
    changes = {
        comparing.SAME: "a detection of the same class in both",
        comparing.CLASS: "a detection of another class",
        comparing.ONLY_FIRST: "a detection in the first alone",
        comparing.ONLY_SECOND: "a detection in the second alone",
        comparing.EMPTY: "none in either",
    }
    print(f"{sum(found.changes.values()):,} images are in both; {found.missing:,} in one alone")
    print("thresholds: {:.4g} and {:.4g}".format(*found.thresholds))
    for change, words in changes.items():
        print(f"  {found.changes[change]:>9,} {words}")
    for (name, other), count in found.classes.most_common(20):
        print(f"  {count:>9,} {console.shown(name)} became {console.shown(other)}")
    order = list(changes)
    rows = [("camera", *order)]
    for camera, counts in sorted(found.cameras.items()):
        rows.append((camera or "(no camera)", *(str(counts[change]) for change in order)))
    print()
    print(console.table(rows[:61]))
    return 0
