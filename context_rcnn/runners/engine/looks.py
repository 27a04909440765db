"""Every frame of a video is looked at once, by models that get every frame twice.

Some models get the frames of a video twice: in their order, and from anywhere in the video. Most of
their work is to look at frames, which does not depend on what came before. `LookingOnce` keeps what
was found in a frame until the frame comes again. It has what a runner wants of a model, and its
detections are those of the model inside.
"""

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from context_rcnn.runners.engine.model import Outputs
from context_rcnn.runners.engine.steps import State, VideoModel

MOST_BYTES = 2**30
"""What is kept of frames that are to come again; beyond it, the oldest are looked at twice."""

Look = Mapping[str, np.ndarray]  # what was found in one frame


class LookingModel(VideoModel, Protocol):
    """What `export.exported.ExportedModel` has of a model that gets every frame twice."""

    def look(self, encoded: Sequence[bytes], valid: np.ndarray) -> dict[str, np.ndarray]:
        """What there is in frames before any memory."""

    def step_with_looks(
        self,
        looked: dict[str, np.ndarray],
        rows: np.ndarray,
        valid: np.ndarray,
        state: State,
        *,
        ended: np.ndarray,
        elsewhere: dict[str, np.ndarray],
        elsewhere_valid: np.ndarray,
    ) -> tuple[Outputs, State]:
        """A step with what `look` found."""


def looks_once(model: Any) -> Any:
    """A model that looks at every frame once, if it gets every frame twice; else itself."""
    stream = model.description.get("stream") or {}
    return LookingOnce(model) if stream.get("looks") else model


class LookingOnce:
    """A model that gets every frame twice, and looks at it once.

    Args:
        model: an exported model.
        most_bytes: see `MOST_BYTES`.

    Attributes:
        looked: number of frames that it has looked at.
    """

    def __init__(self, model: LookingModel, most_bytes: int = MOST_BYTES):
        self._model, self._most = model, most_bytes
        self.description: Mapping[str, Any] = model.description
        self.class_names = model.class_names
        self.has_memory, self.extractor_hash = model.has_memory, model.extractor_hash
        self.detect, self.initial_state = model.detect, model.initial_state
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._rows: frozenset[int] = frozenset()
        self._nothing: Look | None = None
        self.looked = 0

    def step(
        self,
        encoded: list[bytes],
        rows: np.ndarray,
        valid: np.ndarray,
        state: State,
        *,
        ended: np.ndarray,
        elsewhere: list[bytes] | None,
        elsewhere_valid: np.ndarray | None,
    ) -> tuple[Outputs, State]:
        """Detections in a keyframe of each video, and the next state; see `VideoModel`."""
        if elsewhere is None or elsewhere_valid is None:
            elsewhere, elsewhere_valid = [b""] * len(encoded), np.zeros_like(valid)
        self._forget_all_but(frozenset(rows.tolist()))
        frames = _keys(rows, encoded, valid)
        others = _keys(rows, elsewhere, elsewhere_valid)
        images = dict(zip([*frames, *others], [*encoded, *elsewhere], strict=True))
        missing = {key: images[key] for key in images if key and key not in self._kept}
        self._look_at(missing, len(encoded))
        found, state = self._model.step_with_looks(
            self._rows_of(frames),
            rows,
            valid,
            state,
            ended=ended,
            elsewhere=self._rows_of(others),
            elsewhere_valid=elsewhere_valid,
        )
        self._forget_seen_twice([key for key in (*frames, *others) if key])
        return found, state

    def _look_at(self, images: Mapping["_Key", bytes], rows: int) -> None:
        """Keeps what there is in images. All calls are of one size, as those of a step are."""
        if self._nothing is None:
            nothing = self._model.look([b""] * rows, np.zeros(rows, bool))
            self._nothing = {name: part[0] for name, part in nothing.items()}
        asked = list(images)
        for first in range(0, len(asked), rows):
            keys = asked[first : first + rows]
            encoded = [images[key] for key in keys]
            there = np.arange(rows) < len(keys)
            found = self._model.look([*encoded, *[b""] * (rows - len(keys))], there)
            self.looked += len(keys)
            for i, key in enumerate(keys):
                self._kept[key] = _Kept({name: part[i].copy() for name, part in found.items()})

    def _rows_of(self, keys: Sequence["_Key | None"]) -> dict[str, np.ndarray]:
        """What was found in a frame of each row, in one."""
        assert self._nothing is not None
        looks = [self._kept[key].look if key else self._nothing for key in keys]
        return {name: np.stack([look[name] for look in looks]) for name in self._nothing}

    def _forget_seen_twice(self, keys: Sequence["_Key"]) -> None:
        for key in keys:
            self._kept[key].times += 1
        for key in keys:
            if key in self._kept and self._kept[key].times > 1:
                del self._kept[key]
        while len(self._kept) * self._size() > self._most:
            self._kept.popitem(last=False)

    def _forget_all_but(self, rows: frozenset[int]) -> None:
        """Forgets the frames of videos that are through."""
        if rows != self._rows:
            for key in [key for key in self._kept if key.row not in rows]:
                del self._kept[key]
        self._rows = rows

    def _size(self) -> int:
        return sum(part.nbytes for part in (self._nothing or {}).values())


class _Key(NamedTuple):
    """A frame: the number of its video, and a hash of its bytes."""

    row: int
    digest: bytes


@dataclasses.dataclass
class _Kept:
    """What was found in a frame, and how often it was asked for."""

    look: Look
    times: int = 0


def _keys(rows: np.ndarray, images: Sequence[bytes], valid: np.ndarray) -> list[_Key | None]:
    """Names of the images of some rows; None where there is none."""
    return [
        _Key(row, hashlib.blake2b(image, digest_size=16).digest()) if there else None
        for row, image, there in zip(rows.tolist(), images, valid, strict=True)
    ]
