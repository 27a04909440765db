"""What was found in one frame, for programs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from context_rcnn.results.records import ImageResult


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """What was found in a frame, best first, with the numbers that `watch` and `videos` write.

    Attributes:
        boxes: float32 [n, 4], y1 x1 y2 x2 as fractions of the upright image.
        scores: float32 [n].
        classes: int32 [n].
        names: name of the class of each.
        size: width and height of the upright image.
        frame: number of the frame, from 0.
        seconds: camera clock of the frame since 1970, as if it were UTC; None if undated.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: list[str]
    size: tuple[int, int]
    frame: int
    seconds: int | None

    @classmethod
    def of(cls, result: ImageResult, class_names: Mapping[int, str]) -> "Detections":
        """Those of an image that did not fail, whose number is in `frame`."""
        found = result.detections
        boxes = np.array([one.box for one in found], np.float32).reshape(-1, 4)
        return cls(
            boxes,
            np.array([one.score for one in found], np.float32),
            np.array([one.class_id for one in found], np.int32),
            [class_names[int(one.class_id)] for one in found],
            result.size,
            result.frame or 0,
            result.seconds,
        )

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> "Detections":
        """Those with at least this score."""
        kept = self.scores >= score
        names = [name for name, there in zip(self.names, kept, strict=True) if there]
        return dataclasses.replace(
            self,
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            classes=self.classes[kept],
            names=names,
        )

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`: boxes in pixels, names as `data["class_name"]`.

        Raises:
            ModuleNotFoundError: If supervision is not installed, with the command that installs it.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            if error.name != "supervision":
                raise
            raise ModuleNotFoundError(
                "to_supervision needs supervision, which is not installed: pip install supervision",
                name="supervision",
            ) from None
        width, height = self.size
        pixels = self.boxes[:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32)
        return supervision.Detections(
            xyxy=pixels,
            confidence=self.scores,
            class_id=self.classes.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )
