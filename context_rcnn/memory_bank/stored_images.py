"""Stores of images: what a frozen detector sees in each, to learn a memory on.

A store is a bank in which each image has a record of its own, found by the image's id; what is seen
of the mirrored image is another. Proposals come first, then the labelled boxes, whose class is not
0. Whatever makes box features can fill one:

    info = stored_images.store_info("hash of the extractor", depth=2048, dtype="float16")
    with BankWriter("store", info) as writer:
        writer.add(*StoredImage("image 7", boxes, scores, features).record())
"""

import dataclasses
import os

import numpy as np

from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.features import StorageDtype
from context_rcnn.memory_bank.manifest import BankInfo
from context_rcnn.memory_bank.store import Bank

SOURCE = "proposals of each image"
MIRRORED_SOURCE = "proposals of each image and of its mirror image"
_MIRRORED = "\tmirrored"


def store_info(
    extractor_hash: str, depth: int, dtype: StorageDtype = "float16", mirrored: bool = False
) -> BankInfo:
    """Facts about a whole store, for its writer.

    Args:
        extractor_hash: Hash of what made the features.
        depth: Length of a feature.
        dtype: Storage dtype of the features.
        mirrored: Whether it also holds the mirror image of every image.
    """
    source = MIRRORED_SOURCE if mirrored else SOURCE
    return BankInfo(extractor_hash, source, depth, dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImage:
    """What is seen of an image.

    Attributes:
        image_id: Id of the image.
        boxes: [n, 4] float32, ymin, xmin, ymax, xmax as fractions of the image: the proposals, best
            first, then the labelled boxes.
        scores: [n] float32, above 0.
        features: [n, D].
        classes: [n] int32, 0 for proposals; None where all are.
        mirrored: Whether this is the mirror image, boxes included.
        seconds: Time of the image, None if unknown.
    """

    image_id: str
    boxes: np.ndarray
    scores: np.ndarray
    features: np.ndarray
    classes: np.ndarray | None = None
    mirrored: bool = False
    seconds: int | None = None

    def part(self, labelled: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, scores and features of the labelled boxes, or of the proposals."""
        classes = np.zeros(len(self.scores)) if self.classes is None else self.classes
        rows = (classes > 0) == labelled
        return self.boxes[rows], self.scores[rows], self.features[rows]

    def record(self) -> tuple[str, Entries]:
        """Name and entries of its record, as writers of banks take them."""
        boxes, scores, features, classes = self.boxes, self.scores, self.features, self.classes
        if not len(scores):
            # So that the image is known to have been seen: a box without area or score.
            boxes, scores, classes = np.zeros([1, 4]), np.zeros(1), None
            features = np.zeros([1, features.shape[1]])
        entries = Entries.make(
            image_ids=[self.image_id] * len(scores),
            seconds=[self.seconds] * len(scores),
            boxes=boxes,
            features=features,
            scores=scores,
            classes=classes,
        )
        return name_of(self.image_id, self.mirrored), entries


def name_of(image_id: str, mirrored: bool = False) -> str:
    """The name of an image's record in the store."""
    return image_id + _MIRRORED * mirrored


class ImageStore:
    """A store on disk. May be shared by threads.

    Attributes:
        bank: The bank that it is.
        mirrored: Whether it has the mirror image of every image.
    """

    def __init__(self, folder: str | os.PathLike):
        self.bank = Bank.open(folder)
        source = self.bank.info.feature_source
        if source not in (SOURCE, MIRRORED_SOURCE):
            raise ValueError(
                f"{folder} is a memory bank of {source}, not a store of images: `context-rcnn "
                "features` makes one"
            )
        self.mirrored = source == MIRRORED_SOURCE

    def read(self, image_id: str, mirrored: bool = False) -> StoredImage:
        """What is seen of an image; features are float32.

        Raises:
            ValueError: If the store does not have it.
        """
        name = name_of(image_id, mirrored)
        if name not in self.bank:
            raise ValueError(
                f"{self.bank.folder}: image {image_id!r} is not in this store"
                f"{', mirrored' * mirrored}; run `context-rcnn features` on its examples again"
            )
        record = self.bank.camera(name)
        there = np.flatnonzero(record.scores > 0)
        return StoredImage(
            image_id,
            record.boxes[there],
            record.scores[there],
            record.features.read(there),
            record.classes[there],
            mirrored,
            int(record.seconds[0]) if record.dated[0] else None,
        )
