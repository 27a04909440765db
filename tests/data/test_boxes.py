"""Boxes turn with the image."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from context_rcnn.data.boxes import normalise, turn
from context_rcnn.data.records import Box


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_cover_the_same_pixels_after_turning(orientation):
    """The oracle is Pillow: a white rectangle is turned, and its bounds are measured."""
    width, height, (x0, y0, x1, y1) = 64, 48, (8, 4, 30, 20)
    stored = np.zeros((height, width), np.uint8)
    stored[y0:y1, x0:x1] = 255
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.nonzero(upright)
    expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    box = np.array([[y0 / height, x0 / width, y1 / height, x1 / width]])
    scale = np.array([*upright.shape, *upright.shape])
    np.testing.assert_allclose(turn(box, orientation) * scale, [expected], atol=1e-9)


BOX = Box(xmin=8, ymin=4, xmax=30, ymax=20, label="deer")


def test_boxes_in_the_frame_of_the_file_turn_with_it():
    boxes = normalise([BOX], (64, 48), file_size=(64, 48), orientation=6)
    # Turned by 90 degrees clockwise, x counts from the old bottom edge: 48 - 20 and 48 - 4.
    np.testing.assert_allclose(boxes * [64, 48, 64, 48], [[8, 28, 30, 44]])


@pytest.mark.parametrize("stated", [(48, 64), None])
def test_boxes_in_the_upright_frame_stay(stated):
    boxes = normalise([BOX], stated, file_size=(64, 48), orientation=6)
    np.testing.assert_allclose(boxes * [64, 48, 64, 48], [[4, 8, 20, 30]])


def test_boxes_of_a_larger_original_fit_the_reduced_image():
    boxes = normalise([BOX], (128, 96), file_size=(64, 48), orientation=1)
    np.testing.assert_allclose(boxes * [48, 64, 48, 64], [[2, 4, 10, 15]])


def test_relative_boxes_are_not_scaled():
    box = Box(0.1, 0.2, 0.3, 0.4, "deer", relative=True)
    boxes = normalise([box], (64, 48), file_size=(64, 48), orientation=1)
    np.testing.assert_allclose(boxes, [[0.2, 0.1, 0.4, 0.3]])


def test_other_proportions_are_an_error():
    with pytest.raises(ValueError, match="annotations are for 100x10, the image is 64x48"):
        normalise([BOX], (100, 10), file_size=(64, 48), orientation=1)
