"""An image file, read and checked for the model."""

import dataclasses
from typing import Any

from context_rcnn.data.images import ImageOptions
from context_rcnn.data.paths import FileError
from context_rcnn.data.prepare import damage_of, prepare
from context_rcnn.data.records import ImageRecord
from context_rcnn.export.exported import EmbeddedImage, GivenImage
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.given import GivenBoxes


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """An image for the model.

    Attributes:
        image: image with its size, unless there is a problem.
        encoded: a JPEG that any decoder reads, b"" if there is a problem.
        problem: why the image cannot be used, None if it can.
        damage: what is wrong with an image that is used, None if nothing is.
        given: the same with boxes of another detector, where the model names these.
        embedded: what the model's network has seen of it already, in place of the JPEG.
    """

    image: ImageResult
    encoded: bytes = b""
    problem: FileError | None = None
    given: GivenImage | None = None
    damage: FileError | None = None
    embedded: EmbeddedImage | None = None

    @property
    def row(self) -> Any:
        """What the model takes as an image."""
        if self.embedded is not None:
            return self.embedded
        return self.encoded if self.given is None else self.given


def prepare_image(
    image: ImageResult, root: str, options: ImageOptions, given: GivenBoxes | None = None
) -> Prepared:
    """Reads and checks a file below `root`. May be called in any thread.

    Args:
        image: the image.
        root: folder of the images.
        options: rules for the images that are accepted.
        given: boxes of another detector, for a model that names them.
    """
    record = ImageRecord(image.image_id, image.file, image.camera, image.seconds)
    prepared, failures = prepare(record, root, options)
    if prepared is None:
        return Prepared(image, problem=FileError(failures[0].reason, failures[0].detail))
    width, height = prepared.image.upright_size
    damage = None
    if prepared.image.damage:
        damage = FileError(*damage_of(prepared.image.damage))
    words = damage.detail if damage else ""
    image = dataclasses.replace(image, width=width, height=height, damage=words)
    encoded = prepared.image.encoded
    boxes = given.of(image.file, encoded) if given else None
    return Prepared(image, encoded, given=boxes, damage=damage)
