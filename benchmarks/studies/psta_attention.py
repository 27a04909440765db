"""How much a trained PSTA attends to people and to what hides them, by the simulator's masks.

    python -m benchmarks.studies.psta_attention --model_dir=runs/people/psta --archive=people \
        --output=occluders.json

Writes JSON: for spatial and temporal attention of the first stage, the mean over cells that show
the person, what hides it, and neither; a cell belongs to what covers most of it.
"""

import json
import pathlib

import numpy as np
from PIL import Image

from benchmarks.record import parser_of
from context_rcnn.data.readers.tracklet_layouts import TrackletOptions, read_tracklets
from context_rcnn.data.tracklet_images import ClipReader
from context_rcnn.data.tracklet_sampling import restricted

KINDS = {"background": 0, "person": 1, "occluder": 2}
OCCLUDED = 0.1  # share of a clip's pixels that an occluder covers, at least


def cells_of(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """What covers most of each cell, [rows, columns], of a mask [height, width]."""
    shares = [
        np.asarray(
            Image.fromarray((mask == kind).astype(np.float32)).resize(
                (columns, rows), Image.Resampling.BOX
            )
        )
        for kind in sorted(KINDS.values())
    ]
    return np.argmax(shares, axis=0)


def read_masks(archive: pathlib.Path, names: list[str]) -> list[np.ndarray]:
    """The masks [height, width] of frames, by their names in the archive."""
    return [np.asarray(Image.open(archive / "masks" / f"{name[:-4]}.png")) for name in names]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model_dir", required=True, help="folder of the run")
    parser.add_argument("--archive", required=True, type=pathlib.Path, help="simulated tracklets")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="file to write")
    parser.add_argument(
        "--clips", type=int, default=300, help="number of clips to look at (default: 300)"
    )
    args = parser.parse_args()

    from context_rcnn.tasks.loading import load_run

    trained = load_run(args.model_dir)
    frames, height, width, _ = trained.model.clip_shape
    reader = ClipReader(str(args.archive), (height, width))
    tracklets = read_tracklets(TrackletOptions(str(args.archive), "mars"))
    values: dict[str, dict[str, list[np.ndarray]]] = {}
    clips = 0
    for tracklet in [*tracklets.query, *tracklets.gallery]:
        if clips == args.clips:
            break
        numbers = restricted(len(tracklet.frames), frames)
        names = [tracklet.frames[i] for i in numbers]
        masks = read_masks(args.archive, names)
        if np.mean([mask == KINDS["occluder"] for mask in masks]) < OCCLUDED:
            continue
        clips += 1
        found = trained.model.attention_maps(reader.clip(tracklet, numbers)[None])
        for kind, attention in found.items():
            rows, columns = attention.shape[2:4]
            cells = np.stack([cells_of(mask, rows, columns) for mask in masks])
            for name, number in KINDS.items():
                lists = values.setdefault(kind, {name: [] for name in KINDS})
                lists[name].append(attention.numpy()[0][cells == number])
    summary: dict = {
        kind: {name: float(np.concatenate(parts).mean()) for name, parts in lists.items()}
        for kind, lists in values.items()
    }
    args.output.write_text(json.dumps(summary | {"clips": clips}, indent=1))


if __name__ == "__main__":
    main()
