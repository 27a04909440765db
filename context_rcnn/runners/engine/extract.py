"""From the output of an extractor to the entries that a memory bank stores."""

from collections import Counter

from context_rcnn.memory_bank.curation import FrameOptions, select_boxes
from context_rcnn.memory_bank.entries import Entries
from context_rcnn.memory_bank.features import StorageDtype
from context_rcnn.runners.engine.model import Outputs


def entries_of(
    image_id: str, seconds: int | None, outputs: Outputs, frames: FrameOptions, dtype: StorageDtype
) -> tuple[Entries | None, Counter]:
    """The entries of one image to store, None for none, and what was left out by reason.

    Args:
        image_id: id of the image.
        seconds: time of the image, None if unknown.
        outputs: `features` [b, depth], `boxes`, `scores` and `classes`; padding scores below 0.
        frames: rules for the boxes that are stored.
        dtype: dtype of the stored features.
    """
    found = outputs["scores"] >= 0
    kept, left_out = select_boxes(outputs["scores"][found], frames)
    if not len(kept):
        return None, left_out
    entries = Entries.make(
        image_ids=[image_id] * len(kept),
        seconds=[seconds] * len(kept),
        **{name: outputs[name][kept] for name in ("boxes", "features", "scores", "classes")},
    )
    return entries.stored_as(dtype), left_out
