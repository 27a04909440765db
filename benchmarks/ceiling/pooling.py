"""How many boxes are named right when what several boxes show is put together.

Two relations say which of the boxes within reach are put together: those of the box's `identity`,
as if an oracle followed each object; and those that look `alike`, which is what a memory can find
by itself: both of a pair of look-alikes are among them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.ceiling.boxes import Boxes
from benchmarks.ceiling.reaches import Reach

RELATIONS = ("alike", "identity")
STATES = ("clear", "seen elsewhere", "hidden throughout")

# (a camera's boxes, which boxes [boxes, boxes] are put together) -> chance [boxes] to be right,
# NaN for a box that does not count.
Judge = Callable[[Boxes, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
    """What one reach gives.

    Attributes:
        reach: its name.
        accuracy: percent of the boxes that are named right, by relation.
        by_state: the same for the boxes of each of STATES.
    """

    reach: str
    accuracy: dict[str, float]
    by_state: dict[str, dict[str, float]]


def measure(cameras: Sequence[Boxes], reaches: Mapping[str, Reach], judge: Judge) -> list[Row]:
    """A row for each reach."""
    states = np.concatenate([states_of(boxes) for boxes in cameras])
    rows = []
    for name, reach in reaches.items():
        accuracy, by_state = {}, {}
        for relation in RELATIONS:
            right = np.concatenate(
                [judge(boxes, reach(boxes) & related(boxes, relation)) for boxes in cameras]
            )
            accuracy[relation] = _percent(right)
            by_state[relation] = {
                state: _percent(right[states == number]) for number, state in enumerate(STATES)
            }
        rows.append(Row(name, accuracy, by_state))
    return rows


def related(boxes: Boxes, relation: str) -> np.ndarray:
    """Which pairs of boxes [boxes, boxes] are put together wherever they are."""
    key = boxes.identities if relation == "identity" else boxes.groups
    return key[:, None] == key[None]


def states_of(boxes: Boxes) -> np.ndarray:
    """Of each box, the place in STATES: whether it, or its object somewhere else, shows itself."""
    elsewhere = (related(boxes, "identity") & boxes.shows[None]).any(axis=1)
    return np.where(boxes.shows, 0, np.where(elsewhere, 1, 2))


def by_labels(guesses: Mapping[int, int]) -> Judge:
    """Perfect boxes: what shows itself is known, and what does not is guessed as well as can be.

    A box that shows itself is right. Another takes the class that most boxes put together with it
    show; of classes shown equally often it takes one by chance. If none shows itself, it guesses.

    Args:
        guesses: class to guess for a hidden box, by group of look-alikes.
    """

    def judge(boxes: Boxes, together: np.ndarray) -> np.ndarray:
        shown = np.eye(boxes.classes.max() + 1)[boxes.classes] * boxes.shows[:, None]
        votes = together.astype(float) @ shown  # [boxes, classes]
        most = votes.max(axis=1)
        winners = votes == most[:, None]
        mine = winners[np.arange(len(votes)), boxes.classes] / winners.sum(axis=1)
        guessed = [guesses.get(group) == name for group, name in
                   zip(boxes.groups.tolist(), boxes.classes.tolist(), strict=True)]  # fmt: skip
        return np.where(boxes.shows, 1.0, np.where(most > 0, mine, guessed))

    return judge


def by_scores(scores: Mapping[str, np.ndarray]) -> Judge:
    """A detector's scores [boxes, classes] by camera: their mean decides.

    Boxes that the detector did not find have NaN; they do not count, and are not put together.
    """

    def judge(boxes: Boxes, together: np.ndarray) -> np.ndarray:
        own = scores[boxes.camera]
        found = ~np.isnan(own[:, 0])
        pooled = together.astype(float) @ np.nan_to_num(own)
        return np.where(found, pooled.argmax(axis=1) == boxes.classes, np.nan)

    return judge


def _percent(right: np.ndarray) -> float:
    counted = right[~np.isnan(right)]
    return 100 * float(counted.mean()) if counted.size else float("nan")
