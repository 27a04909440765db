"""Features of tracklets in a folder: raw numbers, and JSON that says whose they are.

    FOLDER/features.f32      float32, little-endian, one row per tracklet
    FOLDER/embeddings.json   format, depth, root of the images, model, and the tracklets

JSON is written last: a folder without it is not finished.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from context_rcnn.data.tracklets import Tracklet
from context_rcnn.evaluation.reid import Described

FORMAT = "context-rcnn-embeddings"
FORMAT_VERSION = 1
FEATURES, DESCRIPTION = "features.f32", "embeddings.json"


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Tracklets with their features.

    Attributes:
        features: float32 [tracklets, depth].
        tracklets: the tracklets.
        root: folder that their file names are relative to.
        parts: `query` or `gallery` of each, or nothing.
        model: what made the features: a hash of the model, or the step of a run.
    """

    features: np.ndarray
    tracklets: Sequence[Tracklet]
    root: str
    parts: Sequence[str] = ()
    model: str = ""

    def described(self, places: Sequence[int] | None = None) -> Described:
        """Features, identities and cameras of all or some."""
        chosen = range(len(self.tracklets)) if places is None else places
        return Described(
            self.features[list(chosen)],
            [self.tracklets[i].identity for i in chosen],
            [self.tracklets[i].camera for i in chosen],
        )

    def places(self, part: str) -> list[int]:
        """The tracklets of a part; all of them where there are no parts."""
        if not self.parts:
            return list(range(len(self.tracklets)))
        return [i for i, name in enumerate(self.parts) if name == part]


def write_embeddings(folder: str, found: Embeddings) -> None:
    """Writes a folder of embeddings; an earlier one there is replaced."""
    tf.io.gfile.makedirs(folder)
    features, description = (os.path.join(folder, name) for name in (FEATURES, DESCRIPTION))
    if tf.io.gfile.exists(description):
        tf.io.gfile.remove(description)
    with tf.io.gfile.GFile(features, "wb") as file:
        file.write(found.features.astype("<f4").tobytes())
    rows = [
        {
            "name": tracklet.name,
            "identity": tracklet.identity,
            "camera": tracklet.camera,
            "frames": list(tracklet.frames),
        }
        for tracklet in found.tracklets
    ]
    for row, part in zip(rows, found.parts, strict=False):
        row["part"] = part
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "depth": int(found.features.shape[1]),
        "root": found.root,
        "model": found.model,
        "tracklets": rows,
    }
    with tf.io.gfile.GFile(description + ".tmp", "w") as file:
        file.write(json.dumps(document, indent=1))
    tf.io.gfile.rename(description + ".tmp", description, overwrite=True)


def read_embeddings(folder: str) -> Embeddings:
    """Reads a folder of embeddings.

    Raises:
        ValueError: Naming file and field, where it is none or its parts do not fit together.
    """
    path = os.path.join(folder, DESCRIPTION)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{folder}: holds no embeddings: there is no {DESCRIPTION} in it")
    with tf.io.gfile.GFile(path, "rb") as file:
        try:
            document = json.loads(file.read())
        except ValueError as error:
            raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path}: is not of the format {FORMAT!r}")
    if document.get("format_version", 0) > FORMAT_VERSION:
        raise ValueError(f"{path}: is newer than this program, which reads up to {FORMAT_VERSION}")
    rows = document.get("tracklets")
    if not isinstance(rows, list):
        raise ValueError(f"{path}: field 'tracklets' must be a list")
    tracklets = [_tracklet(row, f"{path}: tracklets[{i}]") for i, row in enumerate(rows)]
    depth = document.get("depth")
    with tf.io.gfile.GFile(os.path.join(folder, FEATURES), "rb") as file:
        features = np.frombuffer(file.read(), "<f4")
    if not isinstance(depth, int) or features.size != depth * len(rows):
        raise ValueError(
            f"{folder}: {FEATURES} has {features.size} numbers, expected {len(rows)} rows of "
            f"{depth}"
        )
    parts = [row["part"] for row in rows if "part" in row]
    return Embeddings(
        features.reshape(len(rows), depth).astype(np.float32),
        tracklets,
        root=str(document.get("root", "")),
        parts=parts if len(parts) == len(rows) else (),
        model=str(document.get("model", "")),
    )


def _tracklet(row: Any, where: str) -> Tracklet:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: must be an object")
    for name in ("name", "identity", "camera"):
        if not isinstance(row.get(name), str):
            raise ValueError(f"{where}: field {name!r} must be a text")
    frames = row.get("frames")
    if not isinstance(frames, list) or not all(isinstance(name, str) for name in frames):
        raise ValueError(f"{where}: field 'frames' must be a list of file names")
    return Tracklet(row["name"], tuple(frames), row["identity"], row["camera"])
