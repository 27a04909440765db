"""Ctrl-C and the signal of pre-emption: the step is finished and saved before the run ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A run was asked to end, and the checkpoint of its last step is saved."""


class StopSignals:
    """Takes the signals while it is entered; the second one ends the run at once.

    Only the main thread gets signals; entered in another one, this does nothing.

    Attributes:
        asked: whether a signal came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._waits = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A signal that comes inside is kept until the caller asks."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or not self._waits:
            raise KeyboardInterrupt
