"""Extractors that see the boxes of another detector, made for a bank or a store and kept in it."""

import argparse
import os
import tempfile
from collections.abc import Callable
from typing import Any

from apache_beam.io.filesystems import FileSystems

from beam_pipelines.files import upload
from context_rcnn.memory_bank.manifest import PROGRESS

EXTRACTOR = f"{PROGRESS}/extractor"


def add_embedder_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of a network that sees the boxes of another detector."""
    boxes = parser.add_argument_group("with --embedder")
    boxes.add_argument(
        "--image_size",
        type=int,
        nargs=2,
        default=[960, 1280],
        metavar=("HEIGHT", "WIDTH"),
        help="size into which images are fitted before they are cropped (default: 960 1280)",
    )
    boxes.add_argument(
        "--boxes",
        type=int,
        default=8,
        help="number of boxes per image that are looked at, best first (default: 8)",
    )


def freeze_boxes(args: argparse.Namespace) -> str:
    """Makes an extractor of the network of `--embedder`, in the output; returns its folder."""
    from context_rcnn.export.boxes import export_boxes

    def export(folder: str) -> None:
        height, width = args.image_size
        export_boxes(args.embedder, folder, (height, width), args.boxes)

    return keep(export, args.output_dir)


def keep(export: Callable[[str], Any], output_dir: str) -> str:
    """What `export` writes into a folder, in the output; returns its folder there."""
    folder = FileSystems.join(output_dir, EXTRACTOR)
    with tempfile.TemporaryDirectory(prefix="context_rcnn-") as local:
        export(local)
        inside = [
            os.path.relpath(os.path.join(place, name), local).replace(os.sep, "/")
            for place, _, names in os.walk(local)
            for name in names
        ]
        # Descriptions come last: with them, the rest is there.
        upload(local, sorted(inside, key=lambda name: (name.endswith(".json"), name)), folder)
    return folder
