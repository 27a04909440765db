"""What is in the images that a detector is measured on."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from context_rcnn.data import input as input_lib


@dataclasses.dataclass(frozen=True)
class Image:
    """One labelled image. Without boxes it is known to be empty.

    `place` is that of its record among all records, unlabelled ones included: within a burst, whose
    records lie side by side in time order, a difference of places is a number of frames.
    """

    id: str
    key: int  # `input.image_key` of the id; detections come back under it
    camera: str
    width: int
    height: int
    boxes: np.ndarray  # float64 [boxes, 4], normalised y1 x1 y2 x2
    classes: np.ndarray  # int64 [boxes], from 1
    burst: str = ""  # "" where unknown
    place: int = 0
    tracks: tuple[str, ...] = ()  # which object of its video each box is; "" where unknown
    shows: tuple[int, ...] = ()  # whether it shows what tells it from look-alikes; -1 unknown

    @property
    def video(self) -> tuple[str, str, int | None]:
        """The same for all images of a burst; an image without a burst is alone."""
        return self.camera, self.burst, None if self.burst else self.key


def read_groundtruth(
    files: Sequence[str], *, num_classes: int, sample_1_of_n: int = 1
) -> list[Image]:
    """Reads the labels of all images that `input.evaluation_batches` gives, in the same order."""

    def labels(example):
        kept = ("image_id", "camera", "seq_id", "label_state", "width", "height")
        return {name: example[name] for name in (*kept, "boxes", "classes", "tracks", "shows")} | {
            "key": input_lib.image_key(example["image_id"])
        }

    dataset = input_lib.read_examples(files, None)
    rows = dataset.map(labels, tf.data.AUTOTUNE, deterministic=True).as_numpy_iterator()
    teaching = (
        (place, row)
        for place, row in enumerate(rows)
        if row["label_state"] in input_lib.TEACHING_STATES
    )
    images: list[Image] = []
    ids: dict[int, str] = {}
    for place, row in itertools.islice(teaching, 0, None, sample_1_of_n):
        image = Image(
            id=row["image_id"].decode("utf-8", "replace"),
            key=int(row["key"]),
            camera=row["camera"].decode("utf-8", "replace"),
            width=int(row["width"]),
            height=int(row["height"]),
            boxes=row["boxes"].astype(np.float64),
            classes=row["classes"].astype(np.int64),
            burst=row["seq_id"].decode("utf-8", "replace"),
            place=place,
            tracks=tuple(track.decode("utf-8", "replace") for track in row["tracks"]),
            shows=tuple(row["shows"].tolist()),
        )
        if image.key in ids:
            raise ValueError(
                f"two evaluation images have the id {image.id!r}"
                if ids[image.key] == image.id
                else f"the ids {ids[image.key]!r} and {image.id!r} have the same hash; rename one"
            )
        if (
            image.classes.size
            and not 1 <= image.classes.min() <= image.classes.max() <= num_classes
        ):
            raise ValueError(
                f"image {image.id!r} has a box of class {image.classes.max()}, "
                f"but the label map goes from 1 to {num_classes}"
            )
        ids[image.key] = image.id
        images.append(image)
    if not images:
        raise ValueError(
            f"nothing to evaluate on: no image in {', '.join(files[:3])} has boxes or is labelled "
            "empty"
        )
    return images
