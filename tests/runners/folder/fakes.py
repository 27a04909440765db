"""A model of plain arithmetic that keeps the contract of `ExportedModel`, and photographs for it.

Loaded by path, from conftest.py and from processes that are to be killed.
"""

import collections
import hashlib
import io
import time

import numpy as np
from PIL import Image

from context_rcnn.export.exported import EmbeddedImage, GivenImage

START = 1_380_893_513  # 2013-10-04 13:31:53
DAY = 86400


class FakeModel:
    """Finds the bright and the dark half of an image, and remembers mean colours.

    What it finds depends on the image and, through a sum, on exactly which memory entries count.

    Args:
        max_entries, horizon and others of `memory`: what model.json says of the memory; False for a
            model without one.
        sleep: seconds a call takes.
        name: of the model; another name is another model.
        batch_size: that every call must have.
    """

    depth, blocks, projected = 4, 2, 3

    def __init__(self, memory=True, sleep=0.0, name="fake", batch_size=4, **settings):
        self.sleep, self.batch_size = sleep, batch_size
        self.has_memory = memory
        self.class_names = {1: "bobcat", 2: "rock"}
        self.extractor_hash = f"{name}-extractor" if memory else ""
        self.description = {
            "format": "context-rcnn-model",
            "name": name,
            "version": "0.1",
            "hash": f"{name}-hash",
            "classes": {"1": "bobcat", "2": "rock"},
            "memory": None,
            "stream": None,
            "extractor": None,
        }
        if memory:
            self.description["memory"] = {
                "entry_size": self.depth + 9,
                "depth": self.projected,
                "blocks": self.blocks,
                "encoding_variant": "paper",
                "horizon": "month",
                "calendar": False,
                "causal": False,
                "include_keyframe": True,
                "policy": "nearest",
                "max_entries": 20,
                "top_k": 2,
                **settings,
            }
            self.description["extractor"] = {
                "hash": self.extractor_hash,
                "max_boxes": 3,
                "depth": self.depth,
                "source": "detections",
            }
        self.extracted = []
        self.detected = []
        self.stepped = []
        self.projections = 0

    def extract(self, encoded):
        self._called(encoded, self.extracted)
        colours = np.stack([self._colours(image) for image in encoded])
        scores = np.stack([colours[:, 0], colours[:, 0] / 2, np.full(len(encoded), -1.0)], 1)
        features = np.stack([colours, colours[:, ::-1], np.zeros_like(colours)], 1)
        halves = np.float32([[0, 0, 0.5, 1], [0.5, 0, 1, 1], [0, 0, 0, 0]])
        return {
            "features": features.astype(np.float32),
            "boxes": np.tile(halves, (len(encoded), 1, 1)),
            "scores": scores.astype(np.float32),
            "classes": np.tile([1, 2, 0], (len(encoded), 1)),
        }

    def project(self, context_features):
        self.projections += 1
        keys = np.asarray(context_features, np.float32)[:, : self.projected]
        values = np.asarray(context_features, np.float32)[:, -self.projected - 5 : -5]
        return np.stack([keys] * self.blocks), np.stack([values] * self.blocks)

    def detect(self, encoded):
        self._called(encoded, self.detected)
        return self._found(encoded, np.zeros(len(encoded)))

    def detect_with_projected(self, encoded, keys, values, valid):
        self._called(encoded, self.detected)
        assert keys.shape == values.shape == (1, self.blocks, valid.shape[1], self.projected)
        assert valid.shape[0] == len(encoded) and valid.any(axis=0).all(), "only what is seen"
        said = np.einsum("bmd,nm->n", np.float64(keys[0] + values[0]), np.float64(valid))
        return self._found(encoded, said)

    def explain_with_projected(self, encoded, keys, values, valid):
        """Attends to what counts, to the largest sum of its keys most."""
        found = self.detect_with_projected(encoded, keys, values, valid)
        sums = np.where(valid, keys[0, 0].sum(axis=-1), -np.inf)
        index = np.argsort(-sums, axis=-1, kind="stable")
        weight = np.take_along_axis(valid, index, -1) * 0.5 ** np.arange(1, valid.shape[1] + 1)
        shape = (len(encoded), 3, valid.shape[1])
        return found | {
            "attention_index": np.broadcast_to(index[:, None], shape),
            "attention_weight": np.broadcast_to(weight[:, None], shape),
        }

    def initial_state(self, batch_size):
        return {
            "camera": np.full(batch_size, -1, np.int64),
            "sum": np.zeros(batch_size),
            "seen": np.zeros([batch_size, 3], bool),
        }

    def step(self, encoded, rows, valid, state, *, seconds):
        """Adds up colours and seconds of a camera; the boxes tell the sum."""
        assert len(encoded) == 1 and valid.all()
        self.stepped.append(hashlib.blake2b(encoded[0]).hexdigest())
        time.sleep(self.sleep)
        state = {name: np.array(value) for name, value in state.items()}
        if rows[0] != state["camera"][0]:
            state = self.initial_state(1)
        state["camera"] = rows
        state["sum"] = state["sum"] * 0.9 + self._colours(encoded[0])[:3].sum() + seconds[0] % 97
        state["seen"] |= True
        return self._found(encoded, state["sum"]), state

    def _found(self, encoded, said):
        colours = np.stack([self._colours(image) for image in encoded])
        shift = np.round(said * 37 % 1.0, 5) / 10
        boxes = np.zeros([len(encoded), 3, 4], np.float32)
        boxes[:, 0] = np.stack([shift, shift, shift + 0.3, shift + 0.4], 1)
        boxes[:, 1] = [0.6, 0.6, 0.9, 0.9]
        scores = np.stack([colours[:, 1], colours[:, 2] / 2, np.full(len(encoded), -1.0)], 1)
        return {
            "boxes": boxes,
            "scores": scores.astype(np.float32),
            "classes": np.tile([1, 2, 0], (len(encoded), 1)),
        }

    def _called(self, encoded, log):
        assert len(encoded) == self.batch_size, "all batches must have one size"
        log += dict.fromkeys(hashlib.blake2b(image).hexdigest() for image in encoded)
        time.sleep(self.sleep)

    def _colours(self, encoded):
        """Mean red, green and blue, and 1."""
        pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), np.float64)
        return np.append(pixels.mean(axis=(0, 1)) / 255, 1.0)


def photograph(
    colour=(90, 160, 60), date=None, size=(48, 32), orientation=1, kind="JPEG", mode="RGB"
):
    """The bytes of a picture of one colour; `date` in seconds as a camera's clock shows them."""
    image = Image.new("RGB", size, colour)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    if date is not None:
        text = date if isinstance(date, str) else str(np.datetime64(date, "s")).replace("T", " ")
        exif.get_ifd(0x8769)[0x9003] = text.replace("-", ":")
    buffer = io.BytesIO()
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def write_photos(root, cameras=("north", "south/100RECNX"), count=10, step=1800, first=0, seed=0):
    """Photographs of some cameras, half an hour apart; returns the files."""
    rng = np.random.default_rng(seed + first)
    files = []
    for camera in cameras:
        (root / camera).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            path = root / camera / f"IMG_{i:05d}.JPG"
            colour = tuple(int(c) for c in rng.integers(30, 255, 3))
            path.write_bytes(photograph(colour, START + i * step))
            files.append(path)
    return files


class FakeHead(FakeModel):
    """Names given boxes by the mean colour of their image, and counts how often it looks at one.

    Args:
        embedded: whether it answers from what it saw before.
    """

    def __init__(self, embedded=True, **settings):
        super().__init__(**settings)
        self.description |= {"proposals": 3, "embedded": embedded}
        self.looks = collections.Counter()

    def extract(self, encoded):
        seen = self._seen(encoded)
        return {
            "features": _padded([row.features for row in seen]),
            "boxes": _padded([row.boxes for row in seen]),
            "scores": _padded([row.scores for row in seen], -1.0),
            "classes": _padded([np.ones(len(row.scores), int) for row in seen]),
        }

    def _found(self, encoded, said):
        seen = self._seen(encoded)
        shift = np.round(said * 37 % 1.0, 5)
        scores = [(row.features[:, 1] + of) / 2 for row, of in zip(seen, shift, strict=True)]
        order = [np.argsort(-row, kind="stable") for row in scores]
        return {
            "boxes": _padded([row.boxes[i] for row, i in zip(seen, order, strict=True)]),
            "scores": _padded([row[i] for row, i in zip(scores, order, strict=True)], -1.0),
            "classes": _padded([np.full(len(row), 1) for row in scores]),
        }

    def _seen(self, rows):
        looked = dict.fromkeys(row.encoded for row in rows if isinstance(row, GivenImage))
        self.looks.update(hashlib.blake2b(image).hexdigest() for image in looked)
        return [self._look(row) if isinstance(row, GivenImage) else row for row in rows]

    def _look(self, row):
        colours = np.tile(self._colours(row.encoded), (len(row.scores), 1))
        order = np.argsort(-row.scores, kind="stable")[:3]
        parts = (colours.astype(np.float32), row.boxes, row.scores)
        return EmbeddedImage(*(part[order] for part in parts))

    def _called(self, encoded, log):
        assert len(encoded) == self.batch_size, "all batches must have one size"


def _padded(rows, fill=0.0):
    """Three of each; [rows, 3, ...]."""
    padded = np.full([len(rows), 3, *rows[0].shape[1:]], fill, np.float32)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded
