"""Command-line flags of archives and images, shared by every command that reads an archive."""

import argparse
import dataclasses

from context_rcnn.data.archive import ArchiveOptions
from context_rcnn.data.images import ImageOptions
from context_rcnn.data.readers import LAYOUTS


def add_archive_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `ArchiveOptions` and `ImageOptions`, with their defaults."""
    default = _defaults(ArchiveOptions)
    source = parser.add_argument_group("input (exactly one of --input_json, --input_folder, ...)")
    for layout in LAYOUTS:
        kind = "FILE" if layout.root else "DIR"
        source.add_argument(f"--{layout.flag}", metavar=kind, help=layout.what)
    for root in dict.fromkeys(layout.root for layout in LAYOUTS if layout.root):
        of = ", ".join(f"--{layout.flag}" for layout in LAYOUTS if layout.root == root)
        start = f"folder that the file names of {of} start from"
        source.add_argument(f"--{root}", metavar="DIR", help=start)

    labels = parser.add_argument_group("labels")
    labels.add_argument(
        "--label_map", metavar="FILE", help="label map, .pbtxt (default: made of the annotations)"
    )
    labels.add_argument(
        "--label_column",
        metavar="NAME",
        help="column of --timelapse_csv with the species (default: the one called Species, Animal, "
        "Label or Class)",
    )
    labels.add_argument(
        "--unlabelled_are_empty",
        action="store_true",
        help="take images without any label as empty, because somebody looked at all of them "
        "(default: nobody knows what they show)",
    )
    labels.add_argument(
        "--megadetector_json",
        metavar="FILE",
        help="MegaDetector results, whose boxes are given to images labelled with one class",
    )
    labels.add_argument(
        "--min_megadetector_score",
        type=float,
        metavar="P",
        default=default["min_megadetector_score"],
        help="confidence from which an animal is certain (default: %(default)s)",
    )
    labels.add_argument(
        "--megadetector_splits",
        nargs="+",
        metavar="SPLIT",
        default=default["megadetector_splits"],
        help="splits that get MegaDetector boxes (default: train only)",
    )

    labels.add_argument(
        "--proposals_json",
        nargs="+",
        metavar="FILE",
        default=default["proposals_json"],
        help="proposals of another detector in COCO's results format, kept beside the labels",
    )
    labels.add_argument(
        "--detections",
        metavar="FILE",
        help="MegaDetector results; their animals become the proposals of each image, for models "
        "that name the boxes of another detector",
    )

    splits = parser.add_argument_group("splits, always by camera")
    splits.add_argument(
        "--splits_file", metavar="FILE", help='file with {"train": [cameras], "val": [...]}'
    )
    splits.add_argument(
        "--val_fraction",
        type=float,
        metavar="P",
        default=default["val_fraction"],
        help="share of cameras for validation, without --splits_file (default: %(default)s)",
    )
    splits.add_argument(
        "--seed",
        type=int,
        default=default["seed"],
        help="seed of the choice of cameras for validation (default: %(default)s)",
    )

    add_camera_flags(parser)
    add_clock_flags(parser)
    add_image_flags(parser)


def add_camera_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that name the camera of a path, and separate sequences."""
    cameras = parser.add_argument_group("cameras and sequences")
    cameras.add_argument(
        "--camera_regex",
        metavar="REGEX",
        help=r"pattern that finds the camera in a path, such as '^(?P<camera>site_\d+)/'",
    )
    cameras.add_argument(
        "--camera_csv",
        metavar="FILE",
        help="table that names the cameras: columns 'file' or 'folder', and 'camera'",
    )
    cameras.add_argument(
        "--sequence_gap",
        type=int,
        metavar="SECONDS",
        default=_defaults(ArchiveOptions)["sequence_gap"],
        help="longest pause within a sequence, in seconds (default: %(default)s)",
    )


def add_clock_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that correct camera clocks."""
    clocks = parser.add_argument_group("camera clocks that were wrong")
    clocks.add_argument(
        "--clock_shift",
        action="append",
        metavar="CAMERA=SHIFT",
        default=[],
        help="time to add to all dates of a camera, such as north=+365d3h or north=-1h; may be "
        "repeated",
    )
    clocks.add_argument(
        "--clock_csv",
        metavar="FILE",
        help="table of corrections: columns 'camera' and 'shift', or 'camera', 'shown' and "
        "'actual', two dates of one moment; 'from' and 'to' may limit a row to some dates",
    )


def add_image_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `ImageOptions`."""
    images = parser.add_argument_group("images")
    images.add_argument(
        "--max_side",
        type=int,
        metavar="PIXELS",
        help="longest side of an image; larger images are made smaller (default: no limit)",
    )
    images.add_argument(
        "--max_megapixels",
        type=float,
        metavar="MP",
        default=_defaults(ImageOptions)["max_megapixels"],
        help="size from which an image is refused, before it is decoded (default: %(default)s)",
    )
    images.add_argument(
        "--keep_truncated",
        action="store_true",
        help="use the part that is there of a JPEG that ends early (default: it is a failure)",
    )


def add_embedder_flags(parser: argparse._ActionsContainer) -> None:
    """Flags of a network that sees crops of boxes, for all verbs that run one."""
    parser.add_argument(
        "--image_size",
        type=int,
        nargs=2,
        default=[960, 1280],
        metavar=("HEIGHT", "WIDTH"),
        help="size into which images are fitted before they are cropped (default: 960 1280)",
    )
    parser.add_argument(
        "--boxes",
        type=int,
        default=8,
        help="number of boxes per image that are looked at, best first (default: 8)",
    )


def refuse_clocks(args: argparse.Namespace, reason: str) -> None:
    """Raises ValueError, with the reason, if clocks are to be corrected."""
    if args.clock_shift or args.clock_csv:
        flag = "--clock_shift" if args.clock_shift else "--clock_csv"
        raise ValueError(f"{flag} cannot be used here: {reason}")


def archive_options(args: argparse.Namespace) -> ArchiveOptions:
    """Options of parsed flags; raises ValueError if they contradict each other."""
    options = _pick(ArchiveOptions, args)
    lists = ("megadetector_splits", "proposals_json", "clock_shift")
    return ArchiveOptions(**{**options, **{name: tuple(options[name]) for name in lists}})


def image_options(args: argparse.Namespace) -> ImageOptions:
    """Options of parsed flags; raises ValueError for values out of range."""
    return ImageOptions(**_pick(ImageOptions, args))


def _defaults(options: type) -> dict:
    return {field.name: field.default for field in dataclasses.fields(options)}


def _pick(options: type, args: argparse.Namespace) -> dict:
    given = vars(args)
    names = (field.name for field in dataclasses.fields(options))
    return {name: given[name] for name in names if name in given}
