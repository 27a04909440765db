"""What a model that averages would gain if it ignored what hides people, by the simulator's masks.

    python -m benchmarks.studies.psta_ceiling --model_dir=runs/people/average --archive=people \
        --output=ceiling.json

Writes JSON with mAP, Rank-1 and mINP of three averages of the same maps: over all frames, over the
frames that nothing hides, and over those of their cells that show the person. Where the second and
the third are no better than the first, the data leave attention nothing to win.
"""

import json
import pathlib

import numpy as np
from PIL import Image

from benchmarks.record import parser_of
from benchmarks.studies.psta_attention import KINDS, read_masks
from context_rcnn.data.readers.tracklet_layouts import TrackletOptions, read_tracklets
from context_rcnn.data.tracklet_images import ClipReader
from context_rcnn.data.tracklet_sampling import restricted
from context_rcnn.evaluation import reid

AVERAGES = ("all frames", "clear frames", "clear cells")
MEASURES = ("mAP", "Rank-1", "mINP")
HIDDEN = 0.1  # share of a frame from which what covers it hides the person
SEEN = 0.1  # share of a frame that the person must have
CLIPS = 16  # at a time


def shares_of(mask: np.ndarray, kind: str, rows: int, columns: int) -> np.ndarray:
    """The share of each cell that shows this kind, [rows, columns], of a mask [height, width]."""
    image = Image.fromarray((mask == KINDS[kind]).astype(np.float32))
    return np.asarray(image.resize((columns, rows), Image.Resampling.BOX))


def averages_of(maps: np.ndarray, masks: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The three averages of the maps of a clip.

    A clip without a clear frame has all its frames for clear ones.

    Args:
        maps: maps of its frames, [frames, rows, columns, channels].
        masks: masks of its frames.
    """
    rows, columns = maps.shape[1:3]
    person = np.stack([shares_of(mask, "person", rows, columns) for mask in masks])
    hidden = np.array([np.mean(mask == KINDS["occluder"]) for mask in masks])
    clear = (hidden < HIDDEN) & (person.mean(axis=(1, 2)) > SEEN)
    if not clear.any():
        clear[:] = True
    weights = person * clear[:, None, None]
    if not weights.any():
        weights = np.ones_like(person)
    return {
        "all frames": maps.mean(axis=(0, 1, 2)),
        "clear frames": maps[clear].mean(axis=(0, 1, 2)),
        "clear cells": (maps * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum(),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model_dir", required=True, help="folder of a run that averages")
    parser.add_argument("--archive", required=True, type=pathlib.Path, help="simulated tracklets")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="file to write")
    args = parser.parse_args()

    from context_rcnn.tasks.loading import load_run

    model = load_run(args.model_dir).model
    frames, height, width, _ = model.clip_shape
    reader = ClipReader(str(args.archive), (height, width))
    tracklets = read_tracklets(TrackletOptions(str(args.archive), "mars"))
    every = [*tracklets.query, *tracklets.gallery]
    found: dict[str, list[np.ndarray]] = {name: [] for name in AVERAGES}
    for start in range(0, len(every), CLIPS):
        part = every[start : start + CLIPS]
        numbers = [restricted(len(tracklet.frames), frames) for tracklet in part]
        clips = [reader.clip(*one) for one in zip(part, numbers, strict=True)]
        maps = model.frame_maps(np.stack(clips)).numpy()
        for tracklet, places, one in zip(part, numbers, maps, strict=True):
            masks = read_masks(args.archive, [tracklet.frames[i] for i in places])
            for name, average in averages_of(one, masks).items():
                found[name].append(average)
    identities = [tracklet.identity for tracklet in every]
    cameras = [tracklet.camera for tracklet in every]
    summary = {}
    for name, features in found.items():
        normed = model.necks[0](np.stack(features), training=False).numpy()
        described = reid.Described(normed, identities, cameras)
        query = described.take(np.arange(len(tracklets.query)))
        # The gallery of MARS has the queries too.
        metrics = reid.rank(query, described).metrics
        summary[name] = {measure: metrics[measure] for measure in MEASURES}
    args.output.write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
