"""An image file, read and checked for the model."""

import dataclasses

from context_rcnn.data.images import ImageOptions
from context_rcnn.data.paths import FileError
from context_rcnn.data.prepare import prepare
from context_rcnn.data.records import ImageRecord
from context_rcnn.results.records import ImageResult


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """An image for the model.

    Attributes:
        image: image with its size, unless there is a problem.
        encoded: a JPEG that any decoder reads, b"" if there is a problem.
        problem: why the image cannot be used, None if it can.
    """

    image: ImageResult
    encoded: bytes = b""
    problem: FileError | None = None


def prepare_image(image: ImageResult, root: str, options: ImageOptions) -> Prepared:
    """Reads and checks a file below `root`. May be called in any thread."""
    record = ImageRecord(image.image_id, image.file, image.camera, image.seconds)
    prepared, failures = prepare(record, root, options)
    if prepared is None:
        return Prepared(image, problem=FileError(failures[0].reason, failures[0].detail))
    width, height = prepared.image.upright_size
    image = dataclasses.replace(image, width=width, height=height)
    return Prepared(image, prepared.image.encoded)
