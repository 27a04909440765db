"""Memory for windows, used again once nobody holds it.

A window is megabytes long. Asking the system for fresh pages for each costs more than filling them.
"""

import sys
import threading
from collections.abc import Sequence

import numpy as np

ALIGNMENT = 64
"""TensorFlow takes over arrays that begin at such an address, and copies others."""


class Buffers:
    """Hands out float32 arrays of one shape. May be shared by threads.

    An array handed out, and whatever is a view of it, a tensor that took it over among them, refers
    to the buffer below it. Python counts these references, so it is known when the last has gone.
    """

    def __init__(self, shape: Sequence[int]):
        self._shape = tuple(shape)
        self._bytes = int(np.prod(self._shape)) * np.dtype(np.float32).itemsize
        self._buffers: list[np.ndarray] = []
        self._lock = threading.Lock()
        self._idle_references = 0

    def __len__(self) -> int:
        """How many buffers there are: as many as were ever held at once."""
        return len(self._buffers)

    def take(self) -> np.ndarray:
        """An array with arbitrary content that nobody else holds."""
        with self._lock:
            for index in range(len(self._buffers)):
                if sys.getrefcount(self._buffers[index]) == self._idle_references:
                    return self._aligned(self._buffers[index])
            self._buffers.append(np.empty(self._bytes + ALIGNMENT, np.uint8))
            self._idle_references = sys.getrefcount(self._buffers[-1])
            return self._aligned(self._buffers[-1])

    def _aligned(self, buffer: np.ndarray) -> np.ndarray:
        start = -buffer.ctypes.data % ALIGNMENT
        return buffer[start : start + self._bytes].view(np.float32).reshape(self._shape)
