"""One class for the animals of a burst, by the rules that users of MegaDetector know.

In the images of a burst, detections that count vote for their class. A detection changes its class
to that of most votes if its own says no more than "animal" and the other has at least two votes, or
if its own has one vote and the other at least four. People and vehicles take no part. Scores and
boxes stay, and so does the journal, from which the results are written again without it.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable

from context_rcnn.results.classes import Classes
from context_rcnn.results.records import Detection, ImageResult

MOST_OF_GENERIC, MOST_OF_OTHERS, FEWEST = 2, 4, 1


class BurstClasses:
    """Votes of all bursts; RAM grows with the number of bursts that show an animal.

    Args:
        images: all images.
        classes: classes of the results.
        threshold: lowest score of a detection that votes.
    """

    def __init__(self, images: Iterable[ImageResult], classes: Classes, threshold: float):
        self._classes = classes
        self._votes: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        for image in images:
            if image.burst and image.frame_rate is None:
                self._votes[image.camera, image.burst].update(
                    found.class_id
                    for found in image.detections
                    if found.score >= threshold and self._is_animal(found)
                )

    def smoothed(self, image: ImageResult) -> tuple[ImageResult, int]:
        """The image with the classes of its burst, and how many detections have another class."""
        votes = self._votes.get((image.camera, image.burst)) if image.burst else None
        if not votes or image.frame_rate is not None:
            return image, 0
        detections = tuple(self._smoothed(found, votes) for found in image.detections)
        changed = sum(
            new.class_id != old.class_id
            for new, old in zip(detections, image.detections, strict=True)
        )
        return dataclasses.replace(image, detections=detections), changed

    def _smoothed(self, found: Detection, votes: Counter[int]) -> Detection:
        if not self._is_animal(found):
            return found
        named = {i: n for i, n in votes.items() if not self._classes.is_generic(i)}
        best = max(named, key=lambda i: (named[i], -i), default=None)
        if best is None or best == found.class_id:
            return found
        if self._classes.is_generic(found.class_id):
            wins = named[best] >= MOST_OF_GENERIC
        else:
            wins = named[best] >= MOST_OF_OTHERS and votes[found.class_id] <= FEWEST
        return dataclasses.replace(found, class_id=best) if wins else found

    def _is_animal(self, found: Detection) -> bool:
        return self._classes.kinds[found.class_id] == "animal"
