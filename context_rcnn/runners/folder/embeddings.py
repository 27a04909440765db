"""What a network has seen in the boxes of each image, kept so that it looks once.

    STATE/embeddings.sqlite   features, boxes and scores of an image's boxes

A model that names the boxes of another detector fills its memory with what its network sees in the
best of them, and names all of them by the same. A camera is named again whenever its memory
changes, for which neither network nor photographs are needed then.
"""

import dataclasses
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from context_rcnn.data.paths import FileError
from context_rcnn.export.exported import EmbeddedImage
from context_rcnn.results.records import ImageResult
from context_rcnn.runners.engine.model import Model, run
from context_rcnn.runners.engine.prepared import Prepared

FILE = "embeddings.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS embeddings (file TEXT PRIMARY KEY, boxes INTEGER NOT NULL, data BLOB)
"""
_BESIDES = 5  # numbers of a box: its edges and its score


class Embeddings:
    """The embeddings of a run's images. May be read by threads.

    Args:
        path: file of them, new or begun by an earlier run of the same model and boxes.
        depth: length of a feature.
    """

    def __init__(self, path: str | Path, depth: int):
        self._depth, self._one_at_a_time = depth, threading.Lock()
        self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA secure_delete = ON")  # what is taken out is gone
        self._base.execute(_SCHEMA)

    def add(self, images: Iterable[tuple[str, EmbeddedImage]]) -> None:
        """Keeps what was seen of files, in place of what was seen of them before."""
        rows = [
            (file, len(seen.scores), np.column_stack(_parts(seen)).astype("<f4").tobytes())
            for file, seen in images
        ]
        self._change("REPLACE INTO embeddings VALUES (?, ?, ?)", rows)

    def of(self, file: str) -> EmbeddedImage | None:
        """What was seen of a file, None if it was not looked at."""
        query = "SELECT boxes, data FROM embeddings WHERE file = ?"
        with self._one_at_a_time:
            row = self._base.execute(query, [file]).fetchone()
        if row is None:
            return None
        table = np.frombuffer(row[1], "<f4").reshape(row[0], self._depth + _BESIDES)
        return EmbeddedImage(table[:, :-_BESIDES], table[:, -_BESIDES:-1], table[:, -1])

    def keep(self, files: Iterable[str]) -> None:
        """Takes out all files but these."""
        kept = set(files)
        there = self._base.execute("SELECT file FROM embeddings")
        self._change(
            "DELETE FROM embeddings WHERE file = ?", [row for row in there if row[0] not in kept]
        )

    def prepared(self, image: ImageResult) -> Prepared | None:
        """The image for the model, without a look at its file; None if it was not looked at."""
        seen = self.of(image.file)
        return None if seen is None else Prepared(image, embedded=seen)

    def close(self) -> None:
        self._base.close()

    def __enter__(self) -> "Embeddings":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _change(self, statement: str, rows: Sequence[tuple]) -> None:
        with self._one_at_a_time:
            self._base.execute("BEGIN")
            self._base.executemany(statement, rows)
            self._base.execute("COMMIT")


def embed(model: Model, batch: Sequence[Prepared], batch_size: int) -> list[Prepared]:
    """The same images, each with what the model's network sees of it.

    Args:
        model: model that answers from what its extractor saw.
        batch: images, at most `batch_size`. Those that were looked at stay as they are.
        batch_size: rows of each call.
    """
    unseen = [p for p in batch if p.embedded is None and p.problem is None]
    outputs = iter(run(model.extract, [p.row for p in unseen], batch_size) if unseen else [])
    done = []
    for p in batch:
        if p.embedded is None and p.problem is None:
            found = next(outputs)
            if isinstance(found, FileError):
                p = dataclasses.replace(p, problem=found)
            else:
                p = dataclasses.replace(p, embedded=EmbeddedImage.of(found))
        done.append(p)
    return done


def _parts(seen: EmbeddedImage) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return seen.features, seen.boxes, seen.scores
