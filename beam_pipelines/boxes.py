"""Extractors that see the boxes of another detector, made for a bank or a store and kept in it."""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from apache_beam.io.filesystems import FileSystems

from beam_pipelines.files import upload
from beam_pipelines.sources import ExamplesFile, Photograph
from context_rcnn.memory_bank.manifest import PROGRESS

EXTRACTOR = f"{PROGRESS}/extractor"


def check_proposals(pieces: Iterable[ExamplesFile]) -> None:
    """Refuses examples without boxes of another detector, which a network could look at.

    Raises:
        ValueError: If no image has any. All are read then, otherwise mostly one.
    """
    images = 0
    for piece in pieces:
        for row in piece.read():
            images += isinstance(row, Photograph)
            if isinstance(row, Photograph) and row.proposals is not None:
                return
    raise ValueError(
        f"--examples: none of the {images:,} images has proposals, the boxes of another detector "
        "that the network is to look at; write the examples with `context-rcnn examples "
        "--detections md.json` or --proposals_json"
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
