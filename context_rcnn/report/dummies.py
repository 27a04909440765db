"""Dummies of simulated camera traps, called what they are: stumps and rocks shaped like animals.

`context-rcnn simulate` writes where they stand. A report that does not know them shows a box on
what looks like an animal, in an image that is labelled empty, and the reader blames the labels.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from context_rcnn.data import fields
from context_rcnn.report.compare import Case, iou
from context_rcnn.report.runs import Run
from context_rcnn.report.text import clean

NOTE = (
    "These cameras are simulated. Before two of three stands a dummy, a stump or a rock shaped "
    "like an animal that never moves, to fool a detector. What looks like an animal in an image "
    "that is labelled empty is such a dummy: to report it is the mistake, to pass over it is "
    "right. And some animals hide what tells their species from another, so that no detector can "
    "see it in the picture alone."
)
_SAME_PLACE = 0.3  # IoU


@dataclasses.dataclass(frozen=True)
class Dummies:
    """Where they stand.

    Attributes:
        places: by camera, the species that each looks like, and its boxes x1 y1 x2 y2 in pixels,
            one since each time that the camera was bumped.
    """

    places: Mapping[str, Sequence[tuple[str, np.ndarray]]]

    @classmethod
    def read(cls, path: str) -> "Dummies":
        """Of the file that `context-rcnn simulate camera-traps` leaves in its folder.

        Raises:
            ValueError: Naming the file, if it is not that.
        """
        cameras: Any = fields.load_json_object(path).get("cameras")
        try:
            return cls(
                {
                    camera: [
                        (str(dummy["looks_like"]), _boxes(dummy["views"]))
                        for dummy in truth["distractors"]
                    ]
                    for camera, truth in dict(cameras).items()
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: does not say where the dummies of simulated camera traps stand "
                f"({type(error).__name__}: {error})"
            ) from error

    def of(self, case: Case, run: Run) -> str:
        """The species that the dummy under a case's first box looks like, "" if there is none.

        Ids of simulated images are CAMERA-NUMBER.
        """
        width, height = run.sizes[case.image]
        scale = np.array([width, height, width, height], np.float64)
        for species, boxes in self.places.get(case.image_id.rpartition("-")[0], ()):
            if len(boxes) and iou(case.edges[:1], boxes / scale).max() >= _SAME_PLACE:
                return clean(species, 40)
        return ""


def _boxes(views: Sequence[Mapping]) -> np.ndarray:
    """Boxes x1 y1 x2 y2 of the views that show a dummy."""
    seen = [view["bbox"] for view in views if view["bbox"] is not None]
    corners = np.array(seen, np.float64).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
