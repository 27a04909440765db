"""A model of plain arithmetic that keeps the contract of `ExportedModel` for videos, and videos.

Loaded by path, from conftest.py and from processes that are to be killed.
"""

import io

import numpy as np
from PIL import Image

LEVELS = 200  # of grey, that survive a JPEG in steps of 4


class FakeVideoModel:
    """Tells in its boxes what it saw: y1 of the keyframe, x1 of all frames of its window up to now.

    Like MEGA it holds a window of frames, detects in the one `delay` frames ago, and adds up frames
    from anywhere. It fails on frames that are all 0, and where it is used in another way.

    Args:
        delay, anywhere, seed: what model.json says of its stream; delay None for a model of single
            images.
        rows: that every call must have.
        name: of the model; another name is another model.
    """

    has_memory, extractor_hash = False, ""

    def __init__(self, delay=2, anywhere=False, seed=3, rows=2, name="fake", refuses=None):
        self.delay, self.rows, self.refuses = delay, rows, refuses
        self.class_names = {1: "fox", 2: "person"}
        self.description = {
            "format": "context-rcnn-model",
            "name": name,
            "version": "0.1",
            "hash": f"{name}-hash",
            "stream": {
                "inputs": ["ended", *["elsewhere"] * anywhere],
                "latency": delay,
                "seed": seed,
            },
        }
        if delay is None:
            self.description["stream"] = None
        self.seen, self.elsewhere, self.calls = [], [], 0

    def detect(self, encoded):
        assert self.delay is None and len(encoded) == self.rows, "all batches have one size"
        self.calls += 1
        levels = np.array([level(image) for image in encoded])
        return self._found(levels, levels)

    def initial_state(self, batch_size):
        assert batch_size == self.rows
        return {
            "video": np.full([batch_size], -1, np.int64),
            "frame": np.zeros([batch_size], np.int32),
            "window": np.full([batch_size, self.delay + 1], np.nan),
            "sum": np.zeros([batch_size]),
        }

    def step(self, encoded, rows, valid, state, *, ended, elsewhere, elsewhere_valid):
        videos, anywhere, anywhere_valid = rows, elsewhere, elsewhere_valid
        assert videos.dtype == np.int64 and not (valid & ended).any()
        assert len(encoded) == len(videos) == len(valid) == len(ended) == self.rows
        assert (anywhere is not None) == ("elsewhere" in self.description["stream"]["inputs"])
        assert all(bool(image) == there for image, there in zip(encoded, valid, strict=True))
        self.calls += 1
        given = [*encoded, *(anywhere or [])]
        if self.refuses and any(image and level(image) == self.refuses[1] for image in given):
            raise self.refuses[0]("Invalid JPEG data")
        state = {name: value.copy() for name, value in state.items()}
        found = self._found(np.zeros(self.rows), np.zeros(self.rows))
        found["scores"][:] = -1
        found["frame"] = np.full(self.rows, -1, np.int32)
        for i in np.flatnonzero(valid | ended):
            fresh = self.initial_state(self.rows)
            if valid[i] and videos[i] != state["video"][i]:
                for name in state:
                    state[name][i] = fresh[name][i]
            assert videos[i] == state["video"][i] or valid[i], "ended before it began"
            new = level(encoded[i]) if valid[i] else np.nan
            if valid[i] and videos[i]:  # not of the first call, which only tries the model
                self.seen.append((int(videos[i]), new))
            if anywhere is not None and anywhere_valid[i]:
                other = level(anywhere[i])
                self.elsewhere.extend([(int(videos[i]), other)] if videos[i] else [])
                state["sum"][i] = state["sum"][i] * 0.7 + other
            state["window"][i] = np.append(state["window"][i, 1:], new)
            keyframe = state["window"][i, 0]
            if not np.isnan(keyframe):
                said = np.nansum(state["window"][i]) + state["sum"][i]
                one = self._found(np.array([keyframe]), np.array([said]))
                for name, value in one.items():
                    found[name][i] = value[0]
                found["frame"][i] = state["frame"][i] - self.delay
            state["frame"][i] += 1
            state["video"][i] = videos[i]
        return found, state

    def _found(self, keys, said):
        boxes = np.zeros([len(keys), 3, 4], np.float32)
        boxes[:, 0] = np.stack(
            [keys / 512, said % 97 / 200, keys / 512 + 0.25, [0.75] * len(keys)], 1
        )
        boxes[:, 1] = [0.25, 0.25, 0.5, 0.5]
        return {
            "boxes": boxes,
            "scores": np.tile(np.float32([0.75, 0.125, -1]), (len(keys), 1)),
            "classes": np.tile([1, 2, 0], (len(keys), 1)),
        }


def level(encoded):
    """The grey of an image, which numbers the frames."""
    return round(np.asarray(Image.open(io.BytesIO(encoded)).convert("L")).mean() / 4)


def picture(number, size=(64, 48)):
    return Image.new("RGB", size, (4 * number,) * 3)


def write_video(path, first=1, count=8, rate=10.0, size=(64, 48)):
    """A video whose frames have the greys `first`, ..."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, size)
    for i in range(first, first + count):
        writer.write(np.asarray(picture(i, size)))
    writer.release()


def write_frames(folder, first=1, count=8, names="{:06d}.JPEG"):
    """A folder of frames with the greys `first`, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture(first + i).save(folder / names.format(i), "JPEG")


def write_gif(path, first=1, count=6):
    pictures = [picture(first + i) for i in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=250)
