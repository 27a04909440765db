"""What the memory did to some images, for the page: detections with and without it, and why.

OUTPUT.state/explained.jsonl   a JSON line an image, as `context-rcnn explain` writes them, with
                               `without_memory` besides: what the model finds in the image alone
"""

import collections
import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from context_rcnn.data.images import ImageOptions
from context_rcnn.data.paths import FileError
from context_rcnn.memory_bank.store import Bank, CameraBank
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.detect import KEPT_FROM
from context_rcnn.runners.engine.given import GivenBoxes
from context_rcnn.runners.engine.memory import CameraMemory
from context_rcnn.runners.engine.model import MemorySettings, Model, Outputs, run
from context_rcnn.runners.engine.prepared import prepare_image
from context_rcnn.runners.engine.progress import Bar
from context_rcnn.runners.folder.embeddings import Embeddings, embed
from context_rcnn.runners.folder.table import ImageTable

FILE = "explained.jsonl"
_MIN_WEIGHT = 0.01  # of an entry; of the paper's figure 6
_DIGITS = 5


def choose(table: ImageTable, bank: Bank, threshold: float, count: int) -> list[ImageResult]:
    """Images with a detection that counts: by chance, but of as many classes as there are."""
    chance = random.Random(0)
    drawn: dict[int, list[ImageResult]] = collections.defaultdict(list)
    seen: collections.Counter[int] = collections.Counter()
    for image in table.in_name_order():
        best = max(image.detections, key=lambda found: found.score, default=None)
        if best is None or best.score < threshold or image.camera not in bank:
            continue
        seen[best.class_id] += 1
        if len(drawn[best.class_id]) < count:
            drawn[best.class_id].append(image)
        elif (place := chance.randrange(seen[best.class_id])) < count:
            drawn[best.class_id][place] = image
    turns = itertools.zip_longest(*(drawn[name] for name in sorted(drawn)))
    return [image for turn in turns for image in turn if image is not None][:count]


def explain(
    chosen: list[ImageResult],
    model: Model,
    bank: Bank,
    settings: MemorySettings,
    root: str,
    *,
    images: ImageOptions,
    batch_size: int,
    threshold: float,
    bar: Bar,
    given: GivenBoxes | None = None,
    embeddings: Embeddings | None = None,
) -> Iterator[str]:
    """A line for each of these images that still can be read and sees a memory.

    Args:
        chosen: images.
        model: model to run.
        bank: memory of the model.
        settings: settings of the memory.
        root: folder of the images.
        images: rules for the images that are accepted.
        batch_size: rows of each call.
        threshold: score of the detections that are written.
        bar: shows how far this is.
        given: boxes of another detector, for a model that names them.
        embeddings: what was seen of images with these boxes.
    """
    for image in chosen:
        known = embeddings.prepared(image) if embeddings else None
        prepared = known or prepare_image(image, root, images, given)
        if embeddings is not None:
            (prepared,) = embed(model, [prepared], batch_size)
        camera = bank.camera(image.camera)
        memory = CameraMemory(model, camera, settings)
        seen = None if prepared.problem else memory.seen_by([image])
        bar.update(1)
        if seen is None:
            continue
        (after,) = run(model.explain_with_projected, [prepared.row], batch_size, *seen)
        (before,) = run(model.detect, [prepared.row], batch_size)
        if isinstance(after, FileError) or isinstance(before, FileError):
            continue
        rows = memory.seen_last()
        line = {name: getattr(image, name) for name in ("image_id", "camera", "seconds")}
        line["detections"] = [
            _detection(after, i, model)
            | {"attention": list(_attention(after, i, camera, rows, image.seconds))}
            for i in _counting(after, threshold)
        ]
        line["without_memory"] = [
            _detection(before, i, model) for i in _counting(before, KEPT_FROM)
        ]
        yield json.dumps(line)


def _counting(found: Outputs, threshold: float) -> list[int]:
    return [i for i, score in enumerate(found["scores"]) if score >= threshold]


def _detection(found: Outputs, i: int, model: Model) -> dict[str, Any]:
    return {
        "box": [round(float(edge), _DIGITS) for edge in found["boxes"][i]],
        "class": model.class_names[int(found["classes"][i])],
        "score": round(float(found["scores"][i]), _DIGITS),
    }


def _attention(
    found: Outputs, i: int, camera: CameraBank, rows: np.ndarray, now: int | None
) -> Iterator[dict[str, Any]]:
    """The entries that a detection attends to, which are these rows of the bank."""
    for index, weight in zip(
        found["attention_index"][i], found["attention_weight"][i], strict=True
    ):
        if weight < _MIN_WEIGHT:
            return
        row = rows[index]
        seconds = int(camera.seconds[row]) if camera.dated[row] else None
        apart = None if seconds is None or now is None else seconds - now
        yield {
            "image_id": str(camera.image_ids[row]),
            "seconds": seconds,
            "seconds_apart": apart,
            "box": [round(float(edge), _DIGITS) for edge in camera.boxes[row]],
            "weight": round(float(weight), _DIGITS),
        }
