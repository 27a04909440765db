"""A place for a camera that moves: the scene and its mirror image side by side, without an end.

The camera moves by whole pixels. So a frame is cut out of the place, not resampled, and what the
place shows in one frame it shows in the next, moved by exactly the shift of the camera.
"""

from __future__ import annotations

import numpy as np

from context_rcnn.simulation.scenes import Scene


class Panorama:
    """A scene for frames that see any part of it.

    Columns may be any whole number; rows are those of the scene.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self.width, self.height = scene.frame_size
        self._period = 2 * scene.sky.shape[1]
        self._albedo = self._endless(scene.albedo)
        self._sky = self._endless(scene.sky)
        # What stands nearer than a row hides it: opacities added up from the nearest prop on.
        self._fronts: list[tuple[float, np.ndarray]] = []
        front = np.zeros(scene.sky.shape, np.uint8)
        for prop in sorted(scene.props, key=lambda p: -p.foot):
            front = np.maximum(front, prop.alpha)
            self._fronts.append((prop.foot, self._endless(front)))

    def _endless(self, layer: np.ndarray) -> np.ndarray:
        """A layer, its mirror image, and as much again as a frame needs at its right edge."""
        pair = np.concatenate([layer, layer[:, ::-1]], axis=1)
        return np.concatenate([pair, pair[:, : self.width]], axis=1)

    def sight(self, column: int, row: int) -> PanoramaSight:
        """The frame whose upper left corner is at this place of the scene."""
        return PanoramaSight(self, column, row)

    def cut(self, layer: np.ndarray, column: int, row: int) -> np.ndarray:
        """A frame of a layer, 0..1."""
        start = column % self._period
        part = layer[row : row + self.height, start : start + self.width]
        return part.astype(np.float32) / 255

    def front(self, row: float) -> np.ndarray | None:
        """The layer of all that stands in front of a row."""
        hiding = None
        for foot, front in self._fronts:
            if foot <= row:
                break
            hiding = front
        return hiding

    @property
    def albedo(self) -> np.ndarray:
        return self._albedo

    @property
    def sky(self) -> np.ndarray:
        return self._sky


class PanoramaSight:
    """What one frame shows of a panorama (a `scenes.Sight`)."""

    def __init__(self, panorama: Panorama, column: int, row: int):
        self._panorama, self._column, self._row = panorama, column, row
        self.albedo = panorama.cut(panorama.albedo, column, row)
        self.sky = panorama.cut(panorama.sky, column, row)
        rows = np.arange(panorama.height, dtype=np.float32) + row
        nearness = panorama.scene.perspective.nearness(rows)
        self.nearness = np.clip(nearness, 0, 1)[:, None]

    def occlusion(self, row: float) -> np.ndarray | None:
        front = self._panorama.front(row)
        return None if front is None else self._panorama.cut(front, self._column, self._row)
