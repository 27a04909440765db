"""`context-rcnn results`, and the flags and endings of all verbs that write results."""

import argparse
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
  Other formats of earlier results, without detecting again:
    context-rcnn results photos/results.json.state --csv results.csv
"""


def add_verb(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = add_parser(
        verbs,
        "results",
        "write earlier results in other formats",
        "Writes results of `detect`, `watch` or a Beam job in any format.",
        _EXAMPLES,
    )
    parser.add_argument(
        "journals", nargs="+", metavar="JOURNAL", help="journals, or folders with them"
    )
    add_formats(parser, f"default: {OUTPUT} in this folder, unless another format is asked for")
    add_image_formats(parser)
    parser.set_defaults(run=_results)


def _results(args: argparse.Namespace, rest: list[str]) -> int:
    from context_rcnn.results.join import find_journals, join_journals
    from context_rcnn.results.write import write_results
    from context_rcnn.runners.engine.progress import on_terminal
    from context_rcnn.runners.engine.words import on_package, on_results

    others = (args.csv, args.coco, args.speciesnet, args.camtrap_dp)
    if not args.output and not any(others):
        args.output = OUTPUT
        if os.path.exists(OUTPUT):
            raise ValueError(f"{OUTPUT} is there already: give -o {OUTPUT} to replace it")
    wanted, how = outputs(args, args.output), options(args)
    journals = find_journals(args.journals)
    with tempfile.TemporaryDirectory(prefix="context_rcnn-") as folder:
        journal = journals[0]
        if len(journals) > 1:
            journal = join_journals(journals, os.path.join(folder, "journal.jsonl"))
        summary = write_results(journal, wanted, how, progress=on_terminal())
    print(on_results(summary, how.typical_threshold, filter(None, (args.output, *others))))
    for line in on_package(summary):
        print(line)
    return 0 if summary.images > summary.failed else 1


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
        help="version of that format; in 4 the image as a whole has a prediction (default: 5)",
    )
    formats.add_argument(
        "--camtrap_dp", metavar="DIR", help="folder for a Camera Trap Data Package"
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

    how = {"min_score": args.threshold, "native_categories": args.native_categories}
    if "camtrap_dp" in args:
        if args.timezone:
            CameraClock(args.timezone)  # a wrong one is refused, whatever is written
        camtrap = CamtrapOptions(
            args.deployments,
            args.timezone,
            args.title,
            contributors=tuple(args.contributor or ["Not stated"]),
        )
        how |= {
            "typical_threshold": args.observation_threshold,
            "datetimes": args.datetimes,
            "taxa": read_taxa(args.taxa) if args.taxa else {},
            "camtrap": camtrap,
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

    images = {name: getattr(args, name, None) for name in ("camtrap_dp", "speciesnet")}
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
