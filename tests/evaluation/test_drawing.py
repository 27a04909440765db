"""Boxes are drawn where they are, and contact sheets hold every image."""

import numpy as np
import pytest
from PIL import Image

from context_rcnn.evaluation import drawing


def test_a_detection_is_drawn_around_its_box_and_nothing_else():
    image = Image.new("RGB", (200, 100))
    box = np.array([[0.2, 0.3, 0.8, 0.6]])  # rows 20 to 80, columns 60 to 120
    drawing.draw_boxes(image, box, [1], [0.5], {1: "x"})
    pixels = np.asarray(image).sum(axis=2) > 0
    rows, columns = np.nonzero(pixels[20:82])
    assert columns.min() == 60 and columns.max() == 120
    assert pixels[20, 60:121].all() and pixels[80, 60:121].all()
    assert not pixels[30:70, 70:110].any(), "the inside stays visible"


def test_groundtruth_is_dashed():
    image = Image.new("RGB", (200, 100))
    drawing.draw_boxes(image, np.array([[0.2, 0.3, 0.8, 0.6]]), [1], None, {1: "x"})
    edge = np.asarray(image)[20, 60:120].sum(axis=1) > 0
    assert 0.3 < edge.mean() < 0.8


def test_boxes_beyond_the_image_and_reversed_ones_do_no_harm():
    image = Image.new("RGB", (50, 40))
    boxes = np.array([[-1, -1, 2, 2], [0.9, 0.9, 0.1, 0.1], [0, 0, 0, 0]])
    drawing.draw_boxes(image, boxes, [1, 2, 99], [0.1, 0.2, 0.3], {1: "<img onerror=x>"})
    drawing.draw_boxes(image, boxes, [1, 2, 99], None, {})


def test_a_contact_sheet_shows_every_image():
    images = [Image.new("RGB", (20, 10), (50 + i, 0, 0)) for i in range(7)]
    reds = set(np.asarray(drawing.contact_sheet(images, columns=3))[..., 0].ravel().tolist())
    assert {50 + i for i in range(7)} <= reds
    with pytest.raises(ValueError, match="at least one image"):
        drawing.contact_sheet([])
