"""What a memory bank is built from: images out of examples files, or straight out of an archive.

Both are cut into pieces that are run through the extractor one by one. A piece has a key that
changes with everything its images depend on, so that what has not changed is not run again.
"""

import dataclasses
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from apache_beam.io.filesystems import FileSystems

from beam_pipelines import shards
from beam_pipelines.files import at_hand, matches
from beam_pipelines.shards import Shard
from context_rcnn.data.archive import ArchiveOptions, SplitArchive, read_archive
from context_rcnn.data.failures import Failure
from context_rcnn.data.images import ImageOptions, without_damage
from context_rcnn.data.prepare import STAGE, damage_of, prepare
from context_rcnn.data.records import ImageRecord, LabelState
from context_rcnn.data.sequences import time_order

IMAGES_PER_PIECE = 512
_LABELLED = (LabelState.IMAGE_LEVEL, LabelState.BOXES)


@dataclasses.dataclass(frozen=True, slots=True)
class Photograph:
    """An image for the extractor.

    Attributes:
        image_id, camera: Names of the image and its camera.
        seconds: Wall-clock seconds since 1970, None if unknown.
        labelled: Whether somebody says that an object is there.
        encoded: The image file.
        boxes, classes: Labelled boxes [n, 4], as fractions of the image, and their classes [n];
            None for photographs of an archive.
        proposals: Boxes of another detector [m, 5], as fractions of the image, with their scores;
            None where there are none.
    """

    image_id: str
    camera: str
    seconds: int | None
    labelled: bool
    encoded: bytes
    boxes: np.ndarray | None = None
    classes: np.ndarray | None = None
    proposals: np.ndarray | None = None


class Piece(Protocol):
    """Some of the images.

    Attributes:
        name: Name by which pieces are sorted: if two have an image, the first is kept.
        title: Title for people.
        key: Hash of all that decides what `read` gives.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def key(self) -> str: ...

    def read(self) -> Iterator[Photograph | Failure]:
        """The images in their order, and what is to be said of those that cannot be used."""


@dataclasses.dataclass(frozen=True)
class ExamplesFile:
    """A TFRecord file of examples."""

    name: str
    key: str

    @property
    def title(self) -> str:
        return self.name.rpartition("/")[2]

    def read(self) -> Iterator[Photograph | Failure]:
        import tensorflow as tf

        from context_rcnn.data import examples

        number = 0
        with at_hand(self.name) as path:
            try:
                # Parsed one by one: a `map` takes a third of a second to begin with each file.
                for record in tf.data.TFRecordDataset(path):
                    row = {
                        key: value.numpy() for key, value in examples.parse_example(record).items()
                    }
                    names = {"image_id": row["image_id"].decode(), "camera": row["camera"].decode()}
                    encoded, damage = without_damage(row["image_bytes"])
                    if damage:
                        yield Failure(STAGE, *damage_of(damage), lost="nothing", **names)
                    yield Photograph(
                        **names,
                        seconds=int(row["seconds"]) if row["has_seconds"] else None,
                        labelled=int(row["label_state"]) in _LABELLED,
                        encoded=encoded,
                        boxes=row["boxes"],
                        classes=row["classes"],
                        proposals=_proposals(row["proposals"], row["proposal_scores"]),
                    )
                    number += 1
            except (tf.errors.OpError, UnicodeDecodeError) as error:
                raise ValueError(
                    f"{self.name}: record {number} is damaged: {str(error).splitlines()[0]}; "
                    f"`context-rcnn validate --examples={self.name}` tells more"
                ) from None


@dataclasses.dataclass(frozen=True)
class ArchivePiece:
    """Images of one camera of an archive, as planned in the folder of the bank."""

    camera: str
    shard: Shard
    output_dir: str
    image_root: str
    options: ImageOptions

    @property
    def name(self) -> str:
        return self.shard.name

    @property
    def title(self) -> str:
        return f"{self.camera} ({self.shard.index + 1} of {self.shard.count})"

    @property
    def key(self) -> str:
        return self.shard.fingerprint

    def read(self) -> Iterator[Photograph | Failure]:
        for record in shards.planned_records(self.output_dir, self.shard):
            prepared, failures = prepare(record, self.image_root, self.options)
            yield from failures
            if prepared is not None:
                yield Photograph(
                    record.image_id,
                    record.camera,
                    record.seconds,
                    prepared.record.label_state in _LABELLED,
                    prepared.image.encoded,
                    proposals=prepared.proposals,
                )


def _proposals(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """Proposals of an example, where there are as many boxes as scores."""
    if not len(boxes) or len(boxes) != len(scores):
        return None
    return np.concatenate([boxes, scores[:, None]], axis=1)


def padded_proposals(photographs: Sequence[Photograph]) -> tuple[np.ndarray, np.ndarray]:
    """Proposals [n, m, 4] and their scores [n, m] of photographs; padding is all zeros."""
    found = [p.proposals for p in photographs]
    most = max([1, *(len(boxes) for boxes in found if boxes is not None)])
    rows = np.zeros([len(found), most, 5], np.float32)
    for row, boxes in zip(rows, found, strict=True):
        if boxes is not None:
            row[: len(boxes)] = boxes
    return rows[..., :4], rows[..., 4]


def examples_files(examples: str) -> list[ExamplesFile]:
    """The examples files of a folder, or of comma-separated patterns.

    Raises:
        ValueError: If there are none, or the folder is not finished.
    """
    if FileSystems.exists(FileSystems.join(examples, "manifest.json")):
        examples = FileSystems.join(examples, "*.tfrecord")
    elif os.path.isdir(examples):
        raise ValueError(f"{examples}: no manifest.json; `context-rcnn examples` has not ended")
    pieces = {}
    for pattern in filter(None, (part.strip() for part in examples.split(","))):
        found = matches(pattern)
        if not found:
            raise ValueError(f"--examples: no file matches {pattern!r}")
        for file in found:
            # Without the folder: an archive may be moved.
            state = (file.path.split("/")[-1], file.size_in_bytes, file.last_updated_in_seconds)
            key = hashlib.blake2b(repr(state).encode(), digest_size=16).hexdigest()
            pieces[file.path] = ExamplesFile(file.path, key)
    return [pieces[path] for path in sorted(pieces)]


def plan_archive(
    archive_options: ArchiveOptions, image_options: ImageOptions, output_dir: str
) -> tuple[list[ArchivePiece], SplitArchive]:
    """Plans the pieces of an archive, each of one camera, so that a new image concerns few.

    Writes the plan to the folder of the bank. Cameras of all splits are in it.
    """
    archive = read_archive(archive_options)
    shards.refuse_unlisted(output_dir, archive.failures)
    by_camera: dict[str, list[ImageRecord]] = defaultdict(list)
    for members in archive.records.values():
        for record in members:
            by_camera[record.camera].append(record)
    settings = json.dumps(dataclasses.asdict(image_options), sort_keys=True)
    pieces: list[ArchivePiece] = []
    for camera in sorted(by_camera):
        members = sorted(by_camera[camera], key=time_order)
        planned = shards.make_plan(
            {hashlib.blake2b(camera.encode(), digest_size=8).hexdigest(): members},
            archive.root,
            output_dir,
            num_shards=shards.power_of_two(len(members) / IMAGES_PER_PIECE),
            settings=settings,
        )
        pieces += [
            ArchivePiece(camera, shard, output_dir, archive.root, image_options)
            for shard in planned
        ]
    return pieces, archive
