"""A fast detector in front, a strong one in a thread behind it (Memory Warps, section 4.2).

Every frame is answered at once, by the fast detector. The strong one takes the newest frame
whenever it is free; what it has of that frame is moved to those that come while it works on the
next. A frame that comes while it works waits alone: a newer one takes its place, and nothing piles
up.

If the strong detector fails, that is said once, and the fast one goes on alone. With `delay`, the
strong detector works in turns with the fast one and is late by so many frames, whatever the clock
says, so that a run can be repeated.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from context_rcnn.runners.engine.model import Outputs
from context_rcnn.runners.engine.steps import NO_FRAME, State, VideoModel


class TwoSpeedModel(VideoModel, Protocol):
    """What `export.exported.ExportedModel` has of two detectors in one."""

    def initial_strong(self, batch_size: int) -> State:
        """The state of the strong detector, of rows that have seen nothing."""

    def strong_step(
        self, encoded: list[bytes], rows: np.ndarray, valid: np.ndarray, state: State
    ) -> tuple[Mapping[str, Any], State]:
        """What it has of a frame of each row, and its next state."""

    def fast_step(
        self, encoded: list[bytes], valid: np.ndarray, given: Mapping[str, Any]
    ) -> Outputs:
        """Detections of the fast detector, with what the strong one has of earlier frames."""


class Late(NamedTuple):
    """What the strong detector had of the frames of one step."""

    step: int
    rows: np.ndarray  # the videos
    given: Mapping[str, Any]


class _Job(NamedTuple):
    step: int
    encoded: list[bytes]
    rows: np.ndarray
    valid: np.ndarray


class StrongWorker:
    """The strong detector in a thread of its own, with room for one frame that waits.

    Args:
        work: takes a job and returns what the strong detector has of its frames.
        say: gets the message if it fails; called once.
    """

    def __init__(self, work: Callable[[_Job], Mapping[str, Any]], say: Callable[[str], None]):
        self._work, self._say = work, say
        self._changed = threading.Condition()
        self._waiting: _Job | None = None
        self._newest: Late | None = None
        self._stopped = self._failed = False
        self.replaced = 0
        self._thread = threading.Thread(target=self._run, name="strong detector", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether it has ended before it was told to."""
        return self._failed

    def offer(self, job: _Job) -> None:
        """Gives it a frame; one that still waits is dropped for it."""
        with self._changed:
            self.replaced += self._waiting is not None
            self._waiting = job
            self._changed.notify_all()

    def newest(self) -> Late | None:
        """What it finished last, if anything."""
        with self._changed:
            return self._newest

    def close(self) -> None:
        """Ends it; a frame that waits is not worked on."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                given = self._work(job)
                with self._changed:
                    self._newest = Late(job.step, job.rows, given)
        except Exception as error:  # noqa: BLE001  (whatever it was, the fast detector goes on)
            self._failed = True
            words = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            self._say(f"the strong detector has failed, the fast one goes on alone: {words}")

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._waiting is not None)
            if self._stopped:
                return None
            job, self._waiting = self._waiting, None
            return job


class TwoSpeedRunner:
    """Both detectors as one model of videos; to be closed.

    Args:
        model: an exported two-speed model.
        delay: frames by which the strong detector is late, in turns with the fast one; None lets it
            work in a thread.
        say: gets messages.

    Attributes:
        helped: rows that were detected in with help of the strong detector, so far.

    Raises:
        ValueError: If the model has no two speeds.
    """

    def __init__(
        self,
        model: TwoSpeedModel,
        delay: int | None = None,
        say: Callable[[str], None] = print,
    ):
        stream = model.description["stream"]
        if not (stream and stream.get("two_speeds")):
            raise ValueError(
                "this model has no fast and strong detector: --two_speed is for models that "
                "were exported with both"
            )
        if delay is not None and delay < 1:
            raise ValueError(f"delay must be at least 1, got {delay}")
        self._model, self._delay, self._say = model, delay, say
        self.description: Mapping[str, Any] = model.description
        self.class_names = model.class_names
        self.has_memory, self.extractor_hash = model.has_memory, model.extractor_hash
        self.detect = model.detect
        self.helped = 0
        self._strong: State = {}
        self._nothing: Mapping[str, Any] | None = None
        self._worker: StrongWorker | None = None
        self._pending: list[Late] = []
        self._late: Late | None = None
        self._failed = False

    def __enter__(self) -> "TwoSpeedRunner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def initial_state(self, batch_size: int) -> State:
        """Of each row its video and how many frames it had; the strong detector begins anew."""
        self.close()
        self._strong = self._model.initial_strong(batch_size)
        self._pending, self._late, self._nothing = [], None, None
        return {
            "step": 0,
            "video": np.full([batch_size], -1, np.int64),
            "frame": np.zeros([batch_size], np.int32),
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
        job = _Job(state["step"], encoded, rows, valid)
        late = self._newest(job)
        given, usable = self._for_rows(late, job)
        found = self._model.fast_step(encoded, valid, given)
        self.helped += int((usable & valid).sum())
        self._offer(job)
        number = np.where(rows != state["video"], 0, state["frame"])
        found = found | {"frame": np.where(valid, number, NO_FRAME).astype(np.int32)}
        found["scores"] = np.where(valid[:, None], found["scores"], -1.0)
        return found, {
            "step": state["step"] + 1,
            "video": np.where(valid, rows, state["video"]),
            "frame": np.where(valid, number + 1, state["frame"]).astype(np.int32),
        }

    def _newest(self, job: _Job) -> Late | None:
        if self._delay is None:
            return self._worker.newest() if self._worker is not None else None
        while self._pending and job.step >= self._pending[0].step + self._delay:
            self._late = self._pending.pop(0)
        return self._late

    def _offer(self, job: _Job) -> None:
        if not job.valid.any():
            return
        if self._delay is None:
            if self._worker is None:
                self._worker = StrongWorker(self._look, self._say)
            if not self._worker.failed:
                self._worker.offer(job)
        elif not self._failed and (
            not self._pending or job.step >= self._pending[-1].step + self._delay
        ):
            try:
                self._pending.append(Late(job.step, job.rows, self._look(job)))
            except Exception as error:  # noqa: BLE001  (as in the thread)
                self._failed = True
                self._say(f"the strong detector has failed, the fast one goes on alone: {error}")

    def _look(self, job: _Job) -> Mapping[str, Any]:
        given, self._strong = self._model.strong_step(
            job.encoded, job.rows, job.valid, self._strong
        )
        return given

    def _for_rows(self, late: Late | None, job: _Job) -> tuple[Mapping[str, Any], np.ndarray]:
        """Help for the rows whose video is still the one that it is of."""
        if late is None:
            return self._no_help(job), np.zeros_like(job.valid)
        usable = np.asarray(late.given["help_there"]) & (late.rows == job.rows)
        return {**late.given, "help_there": usable}, usable

    def _no_help(self, job: _Job) -> Mapping[str, Any]:
        if self._nothing is None:
            nobody = np.zeros_like(job.valid)
            images = [b""] * len(job.encoded)
            given, _ = self._model.strong_step(images, job.rows, nobody, self._strong)
            self._nothing = {**given, "help_there": nobody}
        return self._nothing
