"""Boxes drawn on images, and contact sheets of them."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from context_rcnn.data import input as input_lib

# Colours that also differ in lightness, so that they can be told apart without colour vision.
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#d55e00", "#0072b2", "#ffffff")
TRUTH_COLOUR = "#ffffff"
CAPTION_HEIGHT = 14


def draw_boxes(
    image: Pillow.Image,
    boxes: np.ndarray,
    classes: Sequence[int],
    scores: Sequence[float] | None,
    class_names: Mapping[int, str],
) -> None:
    """Draws normalised boxes in place: solid with score for detections, dashed for groundtruth."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=10)
    for i, (box, label) in enumerate(zip(boxes, classes, strict=True)):
        y1, x1, y2, x2 = (
            float(v) * side for v, side in zip(box, (image.height, image.width) * 2, strict=True)
        )
        if scores is None:
            _dashed_rectangle(draw, (x1, y1, x2, y2), TRUTH_COLOUR)
            continue
        colour = COLOURS[int(label) % len(COLOURS)]
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=2)
        text = f"{class_names.get(int(label), str(label))} {scores[i]:.2f}"
        at = (x1 + 1, y1 - 12 if y1 >= 12 else y2 + 1)
        draw.rectangle(draw.textbbox(at, text, font=font), fill="#000000")
        draw.text(at, text, fill=colour, font=font)


def pictures(
    files: Sequence[str],
    detections: Mapping[int, tuple],
    class_names: Mapping[int, str],
    *,
    keys: Sequence[int],
    threshold: float,
    width: int = 320,
) -> list[Pillow.Image]:
    """Returns the images with these keys, captioned, with groundtruth and detections drawn.

    Of examples that are labels alone there are none.
    """
    wanted, found = set(keys), {}
    for example in input_lib.read_examples(files, None).as_numpy_iterator():
        key = int(input_lib.image_key(tf.constant(example["image_id"])))
        if key not in wanted or key in found or not example["image_bytes"]:
            continue
        picture = Pillow.open(io.BytesIO(example["image_bytes"])).convert("RGB")
        picture = picture.resize((width, max(1, round(width * picture.height / picture.width))))
        draw_boxes(picture, example["boxes"], example["classes"], None, class_names)
        boxes, scores, classes = detections.get(key, (np.zeros((0, 4)), np.zeros(0), np.zeros(0)))
        shown = np.asarray(scores) >= threshold
        draw_boxes(picture, boxes[shown], classes[shown], scores[shown], class_names)
        found[key] = _with_caption(picture, example["image_id"].decode("utf-8", "replace"))
        if len(found) == len(wanted):
            break
    return [found[key] for key in keys if key in found]


def contact_sheet(images: Sequence[Pillow.Image], columns: int = 4) -> Pillow.Image:
    """Lays images out in rows on a dark ground."""
    if not images:
        raise ValueError("a contact sheet needs at least one image")
    gap = 6
    width, height = max(i.width for i in images), max(i.height for i in images)
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    sheet = Pillow.new(
        "RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "#202020"
    )
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        sheet.paste(image, (gap + column * (width + gap), gap + row * (height + gap)))
    return sheet


def _with_caption(picture: Pillow.Image, caption: str) -> Pillow.Image:
    framed = Pillow.new("RGB", (picture.width, picture.height + CAPTION_HEIGHT), "#202020")
    framed.paste(picture, (0, CAPTION_HEIGHT))
    ImageDraw.Draw(framed).text(
        (2, 1), caption[-60:], fill="#c0c0c0", font=ImageFont.load_default(size=10)
    )
    return framed


def _dashed_rectangle(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: str) -> None:
    x1, y1, x2, y2 = box
    for start in np.arange(x1, x2, 6).tolist():
        for y in (y1, y2):
            draw.line((start, y, min(start + 3, x2), y), fill=colour)
    for start in np.arange(y1, y2, 6).tolist():
        for x in (x1, x2):
            draw.line((x, start, x, min(start + 3, y2)), fill=colour)
