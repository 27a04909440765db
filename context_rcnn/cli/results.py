"""`context-rcnn results`, and the flags and endings of all verbs that write results."""

import argparse
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable

# Imported inside the verb: TensorFlow is not needed for --help.

OUTPUT = "results.json"

_EXAMPLES = """\
examples:
  MegaDetector's format for results of `watch` or a Beam job (python -m beam_pipelines.detect):
    context-rcnn results incoming.state -o incoming.json
    context-rcnn results found
  Results of MegaDetector, or of any program that writes its format, as CSV and as a page:
    context-rcnn results photos/md.json --rde auto --csv results.csv --report page
  Other formats of earlier results, without detecting again:
    context-rcnn results photos/results.json.state --csv results.csv
"""


def add_verb(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = add_parser(
        verbs,
        "results",
        "write earlier results in other formats",
        "Writes results of `detect`, `watch` or a Beam job in any format, or those of another\n"
        "program in MegaDetector's format, with the dates of the images and their cameras.",
        _EXAMPLES,
    )
    from context_rcnn.data import flags

    parser.add_argument(
        "journals",
        nargs="+",
        metavar="RESULTS",
        help="journals or folders with them, or one file in MegaDetector's format",
    )
    parser.add_argument(
        "--failures", metavar="FILE", help="JSON lines that name everything that cannot be used"
    )
    parser.add_argument(
        "--sort_into",
        metavar="DIR",
        help="folder in which the images are sorted by class, from --image_root",
    )
    parser.add_argument(
        "--sort_as",
        choices=["link", "copy"],
        default="link",
        help="way of sorting: hard links, which need no space, or copies (default: link)",
    )
    parser.add_argument("--report", metavar="DIR", help="folder for a page to judge the results by")
    other = parser.add_argument_group("results of another program, in MegaDetector's format")
    other.add_argument(
        "--image_root",
        default="",
        metavar="DIR",
        help="folder that the file names start from, for dates, sizes and pictures (default: the "
        "folder of the results)",
    )
    other.add_argument(
        "--rde",
        choices=["off", "auto"],
        default="off",
        help="treatment of boxes that come back in the same place of a camera: auto makes their "
        "confidences negative (default: off)",
    )
    other.add_argument(
        "--rde_images",
        type=int,
        default=20,
        help="number of images with the same box that makes a place suspicious (default: 20)",
    )
    flags.add_camera_flags(parser)
    flags.add_clock_flags(parser)
    add_formats(parser, f"default: {OUTPUT} in this folder, unless another format is asked for")
    add_image_formats(parser)
    parser.set_defaults(run=_results)


def _results(args: argparse.Namespace, rest: list[str]) -> int:
    from pathlib import Path

    from context_rcnn.results.join import find_journals, join_journals
    from context_rcnn.results.write import write_results
    from context_rcnn.runners.engine.progress import on_terminal
    from context_rcnn.runners.engine.words import on_package, on_results
    from context_rcnn.runners.imported import is_journal

    others = (args.csv, args.coco, args.speciesnet, args.camtrap_dp, args.events)
    if not args.output and not any(others):
        args.output = OUTPUT
        if os.path.exists(OUTPUT):
            raise ValueError(f"{OUTPUT} is there already: give -o {OUTPUT} to replace it")
    wanted, how = outputs(args, args.output), options(args)
    foreign = [path for path in args.journals if not is_journal(path)]
    if foreign and len(args.journals) > 1:
        raise ValueError(f"{foreign[0]} is not a journal: give a file of another program alone")
    journals = [] if foreign else find_journals(args.journals)
    if journals and (args.clock_shift or args.clock_csv):
        raise ValueError(
            "clocks of journals are not corrected here: run `context-rcnn detect` again with the "
            "same flag, because the memory of a camera depends on its times"
        )
    with tempfile.TemporaryDirectory(prefix="context_rcnn-") as folder:
        joined = os.path.join(folder, "journal.jsonl")
        known: list = []
        if foreign:
            known = _import(args, joined)
            journal = Path(joined)
        else:
            journal = join_journals(journals, joined) if len(journals) > 1 else journals[0]
        wanted = dataclasses.replace(wanted, failures=args.failures)
        summary = write_results(journal, wanted, how, known=known, progress=on_terminal())
        root = args.image_root or (os.path.dirname(foreign[0]) or "." if foreign else "")
        if args.sort_into:
            _sort(args, journal, root, how.typical_threshold)
        if args.report:
            write_report(str(journal), root, args.report)
    print(on_results(summary, how.typical_threshold, filter(None, (args.output, *others))))
    if summary.failures and not args.failures:
        print("--failures FILE names each of them")
    for line in on_package(summary):
        print(line)
    return 0 if summary.images > summary.failed else 1


def _import(args: argparse.Namespace, journal: str) -> list:
    """Makes a journal of another program's results; returns what could not be taken over."""
    from tqdm import tqdm

    from context_rcnn.data.clocks import CameraClocks
    from context_rcnn.evaluation.repeat_detections import RepeatDetectionOptions
    from context_rcnn.results.journal import Journal
    from context_rcnn.runners.imported import ImportOptions, count_unknown, import_megadetector

    repeats = RepeatDetectionOptions(min_occurrences=args.rde_images)
    options = ImportOptions(
        args.image_root,
        args.camera_regex,
        args.camera_csv,
        args.sequence_gap,
        repeats if args.rde == "auto" else None,
        CameraClocks(args.clock_shift, args.clock_csv),
    )
    known = import_megadetector(
        args.journals[0],
        journal,
        options,
        lambda images, total: tqdm(images, "Look", total, unit=" images", disable=None),
    )
    counts = count_unknown(Journal(journal).results())
    if counts["unsized"] or counts["undated"]:
        print(
            f"of {counts['images']:,} images {counts['undated']:,} have no known date and "
            f"{counts['unsized']:,} no known size; --image_root names the folder of the images"
        )
    return known


def _sort(args: argparse.Namespace, journal, root: str, threshold: float) -> None:
    """Sorts the images of a journal, and says where how many are."""
    from context_rcnn.data.console import shown
    from context_rcnn.results.journal import Journal
    from context_rcnn.runners.sorting import sort_images

    if not root:
        raise ValueError("--sort_into needs --image_root, the folder of the images")
    source = Journal(journal)
    failures: list = []
    latest = {image.file: image for image in source.results()}  # some were tried again
    counts = sort_images(
        latest.values(),
        root,
        args.sort_into,
        source.header.label_map,
        how=args.sort_as,
        threshold=threshold,
        report=failures.append,
    )
    print(f"sorted into {args.sort_into}:")
    for name, count in sorted(counts.items()):
        print(f"  {shown(name)}: {count:,}")
    for failure in failures:
        print(f"  not sorted: {shown(failure.file)}: {shown(failure.detail)}")


def check_report(folder: str) -> None:
    """Finds out now, not after hours, whether a page can be written to a folder."""
    from context_rcnn.report.page import check_target

    check_target(os.path.abspath(folder))


def write_report(results: str, image_root: str, output_dir: str) -> None:
    """A page of results, and where it is."""
    from tqdm import tqdm

    from context_rcnn.report.results_page import ResultsOptions, write_results_report
    from context_rcnn.runners.engine.video_file import frame_at

    index = write_results_report(
        ResultsOptions(results, output_dir, image_root),
        lambda images, total: tqdm(images, "Report", total, unit=" images", disable=None),
        read_frame=frame_at,
    )
    print(f"Look at {index}")


def add_parser(
    verbs: argparse._SubParsersAction, name: str, text: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """A verb whose description and examples are shown as they are.

    Args:
        verbs: verbs to add it to.
        name: name of the verb.
        text: short description, in the list of verbs.
        description: long description.
        examples: examples, shown below the flags.
    """
    return verbs.add_parser(
        name,
        help=text,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_run(parser: argparse.ArgumentParser, folder: str, shown: str) -> None:
    """Adds the folder, the model, and the flags for continuing an earlier run.

    Args:
        parser: parser of a verb that detects in a folder.
        folder: help text of the folder.
        shown: what a dry run shows.
    """
    parser.add_argument("folder", nargs="?", help=folder)
    parser.add_argument("--model", metavar="DIR", help="folder that `context-rcnn export` wrote")
    parser.add_argument(
        "--state_dir",
        metavar="DIR",
        help="folder of the state from which a run continues (default: OUTPUT.state)",
    )
    parser.add_argument("--dry_run", action="store_true", help=f"show {shown}, and stop")
    parser.add_argument("--restart", action="store_true", help="forget the state of earlier runs")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results of other programs or states"
    )


def add_formats(
    parser: argparse.ArgumentParser, default: str = "default: results.json in that folder"
) -> None:
    """Adds the formats of images and of frames of videos, and how they are written."""
    formats = parser.add_argument_group("results")
    formats.add_argument(
        "-o", "--output", metavar="FILE", help=f"file in MegaDetector's format ({default})"
    )
    formats.add_argument("--csv", metavar="FILE", help="CSV table with one row per detection")
    formats.add_argument("--coco", metavar="FILE", help="COCO results, and FILE.images.json")
    formats.add_argument(
        "--threshold",
        type=float,
        default=0.005,
        metavar="P",
        help="lowest score that is written; keep it low, since programs have their own thresholds "
        "(default: 0.005)",
    )
    formats.add_argument(
        "--taxonomy",
        metavar="FILE",
        help="CSV table of taxa: 'label' and some of kingdom ... subspecies, or 'label' and "
        "'parent'; a detection without a certain class gets the lowest taxon that is certain",
    )
    formats.add_argument(
        "--taxonomy_score",
        type=float,
        default=0.5,
        metavar="P",
        help="score from which a class, or the sum of the classes of a taxon, is certain "
        "(default: 0.5)",
    )
    formats.add_argument(
        "--native_categories",
        "--native-categories",
        action="store_true",
        help="use the classes as MegaDetector's categories, not animal, person and vehicle",
    )


def add_image_formats(parser: argparse.ArgumentParser) -> None:
    """Adds the formats that have only images, not videos, and what they need."""
    formats = parser.add_argument_group("results of images")
    formats.add_argument("--speciesnet", metavar="FILE", help="file in SpeciesNet's format")
    formats.add_argument(
        "--speciesnet_version",
        type=int,
        choices=[5, 4],
        default=5,
        help="version of SpeciesNet's format; version 4 has a prediction for the whole image "
        "(default: 5)",
    )
    formats.add_argument(
        "--camtrap_dp", metavar="DIR", help="folder for a Camera Trap Data Package"
    )
    formats.add_argument(
        "--smooth",
        action="store_true",
        help="give animals of a burst the class that most of them have, where it is clear; boxes "
        "and scores stay (default: off)",
    )
    formats.add_argument(
        "--events",
        metavar="FILE",
        help="CSV table of events: visits of a class to a camera, with the largest number at once "
        "(MaxN); a Camera Trap Data Package then has them, too",
    )
    formats.add_argument(
        "--event_minutes",
        type=float,
        default=30,
        metavar="M",
        help="longest pause within an event, in minutes (default: 30)",
    )
    formats.add_argument(
        "--datetimes", action="store_true", help="write dates of images into MegaDetector's format"
    )
    formats.add_argument(
        "--taxa", metavar="FILE", help="CSV table of scientific names: columns class, taxon"
    )
    camtrap = parser.add_argument_group("Camera Trap Data Package")
    camtrap.add_argument(
        "--deployments", metavar="FILE", help="CSV table: deploymentID, latitude, longitude, ..."
    )
    camtrap.add_argument(
        "--timezone", default="", help="time zone of the camera clocks: +01:00, or Europe/Berlin"
    )
    camtrap.add_argument("--title", default="Camera trap images", help="title of the project")
    camtrap.add_argument(
        "--contributor",
        action="append",
        metavar="NAME",
        help="person who contributed; may be repeated",
    )
    camtrap.add_argument(
        "--observation_threshold",
        type=float,
        default=0.2,
        metavar="P",
        help="lowest score of an observation; an image without one is blank (default: 0.2)",
    )


def options(args: argparse.Namespace):
    """How results are written; flags that a verb does not have are at their defaults."""
    from context_rcnn.results.classes import read_taxa
    from context_rcnn.results.clock import CameraClock
    from context_rcnn.results.options import CamtrapOptions, Options, SpeciesNetOptions
    from context_rcnn.results.taxonomy import Taxonomy

    how = {
        "min_score": args.threshold,
        "native_categories": args.native_categories,
        "taxonomy": Taxonomy.read(args.taxonomy) if args.taxonomy else None,
        "certain_score": args.taxonomy_score,
    }
    if "camtrap_dp" in args:
        if args.timezone:
            CameraClock(args.timezone)  # a wrong one is refused, whatever is written
        camtrap = CamtrapOptions(
            args.deployments,
            args.timezone,
            args.title,
            contributors=tuple(args.contributor or ["Not stated"]),
            events=bool(args.events),
        )
        how |= {
            "typical_threshold": args.observation_threshold,
            "datetimes": args.datetimes,
            "taxa": read_taxa(args.taxa) if args.taxa else {},
            "camtrap": camtrap,
            "event_minutes": args.event_minutes,
            "smooth": args.smooth,
            "speciesnet": SpeciesNetOptions(version=args.speciesnet_version),
        }
    return Options(**how)


def outputs(args: argparse.Namespace, megadetector: str | None):
    """The files to write.

    Args:
        args: arguments of a verb with these flags.
        megadetector: file for MegaDetector's format.
    """
    from context_rcnn.results.write import Outputs

    images = {name: getattr(args, name, None) for name in ("camtrap_dp", "speciesnet", "events")}
    return Outputs(megadetector=megadetector, coco=args.coco, table=args.csv, **images)


def output_of(args: argparse.Namespace) -> str:
    """The file for MegaDetector's format; by default in the folder of the images."""
    return args.output or os.path.join(args.folder, OUTPUT)


def check_model(args: argparse.Namespace) -> None:
    """Refuses to run without a model."""
    if not args.model:
        raise ValueError(
            "--model is missing: the folder of a model that `context-rcnn export` wrote"
        )


def run(detect: Callable) -> tuple[int, object]:
    """Detects; returns the exit status and the summary, None if the run did not finish."""
    try:
        summary = detect()
    except KeyboardInterrupt:
        print("\nStopped. The same command continues from here.", file=sys.stderr)
        return 130, None
    if summary is None:
        return 0, None
    whole = summary.images > summary.failed and not summary.unlisted
    return (0 if whole else 1), summary
