"""`context-rcnn report`: a page to show."""

import argparse
import dataclasses


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verbs of this file."""
    _add_report(verbs)


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
        help="largest number of keyframes with explanations (default: 6)",
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
