"""Small images and archives for the tests of the readers."""

import io
import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def gradient():
    """[48, 64, 3] uint8, smooth, different in every corner."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 3, y * 4, 120 + 0 * x], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def jpeg(gradient):
    """Makes the bytes of a 64x48 JPEG; `orientation` and `exif` set its EXIF."""

    def make(orientation: int = 1, date: str | None = None, mode: str = "RGB", **options) -> bytes:
        image = Image.fromarray(gradient).convert(mode)
        exif = Image.Exif()
        if orientation != 1:
            exif[0x0112] = orientation
        if date is not None:
            exif.get_ifd(0x8769)[0x9003] = date
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95, exif=exif, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def write_cct(tmp_path):
    """Writes a COCO Camera Traps file and returns its path."""

    def write(images, annotations=(), categories=((0, "empty"), (1, "bobcat"), (2, "deer"))):
        document = {
            "images": list(images),
            "annotations": list(annotations),
            "categories": [{"id": i, "name": name} for i, name in categories],
        }
        path = tmp_path / "cct.json"
        path.write_text(json.dumps(document))
        return path

    return write
