"""`context-rcnn report`: a page to show."""

import argparse
import dataclasses


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    """Adds the verbs of this file."""
    _add_report(verbs)


def _add_report(verbs: argparse._SubParsersAction) -> None:
    report = verbs.add_parser(
        "report",
        help="a page to show, of an evaluation or of what `detect` found",
        description="Writes a folder that opens without a network. Of an evaluation: what a run "
        "with memory finds that a single-frame run does not, and the reverse, by class and camera; "
        "and what its detections attend to. Of results that nobody has labelled: samples with and "
        "without detections, to judge them by. What is not given, the page says.",
    )
    report.add_argument(
        "--evaluation", default="", metavar="RUN", help="with memory; or its evaluation/step-N"
    )
    report.add_argument(
        "--results", default="", metavar="FILE", help="instead: what `context-rcnn detect` wrote"
    )
    report.add_argument(
        "--threshold", type=float, default=0.2, help="of --results: what counts (default: 0.2)"
    )
    report.add_argument("--output_dir", required=True, help="folder to write; a report is replaced")
    report.add_argument("--baseline", default="", metavar="RUN", help="single-frame run, likewise")
    report.add_argument(
        "--explanations", default="", metavar="FILE", help="JSON lines of `context-rcnn explain`"
    )
    report.add_argument("--examples", default="", metavar="FILES", help="TFRecords, for pixels")
    report.add_argument(
        "--image_root", default="", metavar="DIR", help="images named like their ids, for pixels"
    )
    report.add_argument("--title", default="", help="of the page")
    report.add_argument(
        "--recall", type=float, default=0.5, help="at which the runs are compared (default: 0.5)"
    )
    report.add_argument(
        "--max_examples", type=int, default=12, help="images of each kind shown (default: 12)"
    )
    report.add_argument("--max_panels", type=int, default=6, help="keyframes shown (default: 6)")
    report.add_argument("--seed", type=int, default=0, help="of what is drawn by chance")
    report.set_defaults(run=_report)


def _report(args: argparse.Namespace, rest: list[str]) -> int:
    from tqdm import tqdm

    if bool(args.evaluation) == bool(args.results):
        raise ValueError("give either --evaluation, a run, or --results, what `detect` wrote")

    def progress(images, total):
        return tqdm(images, "images", total, unit="image", disable=None)

    if args.results:
        from context_rcnn.report.results_page import ResultsOptions, write_results_report

        index = write_results_report(_options(ResultsOptions, args), progress)
    else:
        from context_rcnn.report.page import ReportOptions, write_report

        index = write_report(_options(ReportOptions, args), progress)
    print(f"Look at {index}")
    return 0


def _options(options: type, args: argparse.Namespace):
    """Options of the flags with their names."""
    names = [field.name for field in dataclasses.fields(options)]
    return options(**{name: getattr(args, name) for name in names})
