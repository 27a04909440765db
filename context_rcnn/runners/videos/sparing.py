"""Videos of which a model does not look at every frame, or at none of those that it detects in.

`SparingModel` has what the runner wants of a model, and asks the model inside for less: it looks at
every n-th frame and lets the model see of the others how they have moved; or each frame gets what
the model foretold of it some frames before. What it does with a row depends on the row alone.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from context_rcnn.runners.engine.model import Outputs
from context_rcnn.runners.engine.steps import NO_FRAME, State, VideoModel


class MovingModel(VideoModel, Protocol):
    """What `export.exported.ExportedModel` has of a memory that is moved by flow."""

    def propagate(
        self, encoded: list[bytes], rows: np.ndarray, valid: np.ndarray, state: State
    ) -> tuple[Outputs, State]:
        """A step that looks at nothing but motion."""

    def anticipate(self, ahead: np.ndarray, state: State) -> Outputs:
        """Detections in a coming frame of each video."""


class SparingModel:
    """A model that looks at fewer frames than it is given.

    Args:
        model: an exported model whose memory is moved by flow.
        every: looks at every n-th frame of a video, from the first on.
        ahead: detections of a frame are those that were foretold so many frames before, so that
            the first frames of a video have none; 0 takes what is found in it.

    Raises:
        ValueError: If the model can do no such thing.
    """

    def __init__(self, model: MovingModel, every: int = 1, ahead: int = 0):
        stream = model.description["stream"]
        if not (stream and stream.get("propagates")):
            raise ValueError(
                "this model has no memory that is moved by flow, so it detects in no frame that it "
                "does not look at: leave out --evidence_every and --anticipate"
            )
        self._model, self._every, self._ahead = model, every, ahead
        self.description: Mapping[str, Any] = model.description
        self.class_names = model.class_names
        self.has_memory, self.extractor_hash = model.has_memory, model.extractor_hash
        self.detect = model.detect

    def initial_state(self, batch_size: int) -> State:
        """The model's, and of each row its video, how many frames it had, what was foretold."""
        return {
            "model": self._model.initial_state(batch_size),
            "video": np.full([batch_size], -1, np.int64),
            "frame": np.zeros([batch_size], np.int32),
            "foretold": (),
        }

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
        """Detections in a frame of each video, and the next state; see `VideoModel`."""
        begins = valid & (rows != state["video"])
        number = np.where(begins, 0, state["frame"])
        looked = valid & (number % self._every == 0)
        moved = valid & ~looked
        inner = state["model"]
        found: Outputs = {}
        # Rows of either kind rest while the others move on.
        for some, blind in ((looked, False), (moved, True)):
            if not some.any() and (blind or moved.any()):
                continue
            images = [image if there else b"" for image, there in zip(encoded, some, strict=True)]
            if blind:
                part, inner = self._model.propagate(images, rows, some, inner)
            else:
                part, inner = self._model.step(
                    images,
                    rows,
                    some,
                    inner,
                    ended=ended,
                    elsewhere=elsewhere,
                    elsewhere_valid=elsewhere_valid,
                )
            found = _merged(some, part, found) if found else part
        foretold = state["foretold"]
        if self._ahead:
            found, foretold = self._foretell(found, inner, number, valid, foretold)
        return found, {
            "model": inner,
            "video": np.where(valid, rows, state["video"]),
            "frame": np.where(valid, number + 1, state["frame"]).astype(np.int32),
            "foretold": foretold,
        }

    def _foretell(
        self,
        found: Outputs,
        inner: State,
        number: np.ndarray,
        valid: np.ndarray,
        foretold: tuple[Outputs, ...],
    ) -> tuple[Outputs, tuple[Outputs, ...]]:
        """What was foretold of this frame, and what is now known of the coming ones, oldest first.

        Each row keeps its own queue: a row that rests keeps what it has.
        """
        nothing = _without_detections(found)
        queue = foretold or (nothing,) * self._ahead
        known = valid & (number >= self._ahead)
        told = _merged(known, queue[0], nothing) | {"frame": found["frame"]}
        ahead = np.full(len(valid), self._ahead, np.int32)
        newest = self._model.anticipate(ahead, inner)
        shifted = (*queue[1:], newest)
        return told, tuple(
            _merged(valid, new, old) for new, old in zip(shifted, queue, strict=True)
        )


def _merged(rows: np.ndarray, one: Outputs, other: Outputs) -> Outputs:
    """Rows of one output, the others of another."""
    return {
        name: np.where(rows.reshape(-1, *[1] * (value.ndim - 1)), value, other[name])
        for name, value in one.items()
    }


def _without_detections(found: Outputs) -> Outputs:
    nothing = {name: np.zeros_like(value) for name, value in found.items()}
    nothing["scores"] -= 1
    return nothing | {"frame": np.full_like(found["frame"], NO_FRAME)}
