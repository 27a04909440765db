r"""What learning to detect does to a flow network: its flow before and after, measured and drawn.

    python -m benchmarks.fine_tuned_flow --flow_dir=warps_tables/videos-0/flow_net \
        --model_dir=warps_tables/videos-0/rows/memnet \
        --archive=warps_tables/videos-0/videos_archive

The paper finds that flow which was trained further moves animals as wholes. For each animal of the
validation videos, in the cells of the middle of its box: how far the flow of cells is apart
(root mean square around their mean, in cells; 0 if the animal moves as one piece), and how far
their mean is off the simulator's own. For the rest of the picture, how far each cell is off. The
pictures are a frame, the one before, both flows and the true one; a hue is a direction, and full
colour is the fastest cell of the row.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import context_rcnn  # noqa: F401
from benchmarks.flow import cells_of
from benchmarks.record import FIGURES, parser_of

MIDDLE = 0.6  # of a box's sides, so that few of its cells are of the ground
WAYS = ("before", "after", "true flow")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--flow_dir", required=True, help="run of the flow network")
    parser.add_argument(
        "--model_dir", required=True, help="run of the memory_warps or fgfa that went on from it"
    )
    parser.add_argument("--archive", required=True, help="folder of the simulated videos")
    parser.add_argument(
        "--every", type=int, default=7, help="frames of a video from one to the next (default: 7)"
    )
    parser.add_argument(
        "--figure",
        type=pathlib.Path,
        default=FIGURES / "flow.jpg",
        help="file of the pictures (default: %(default)s)",
    )
    args = parser.parse_args()

    import tensorflow as tf

    from context_rcnn.layers.flow_net import half
    from context_rcnn.simulation import open_film
    from context_rcnn.tasks.loading import load_run

    port = load_run(args.model_dir).model.map_memory
    after = port.flow_net.get_weights()
    before = load_run(args.flow_dir).model.net.get_weights()
    names = sorted(os.listdir(os.path.join(args.archive, "Data", "VID", "val")))
    rows: list[dict[str, float]] = []
    drawn: list[tuple[float, list[np.ndarray]]] = []
    for name in names:
        film = open_film(args.archive, name)
        for t in range(1, film.frames, args.every):
            shots = [film.shot(t), film.shot(t - 1)]
            now, then = (half(tf.image.resize(shot.image[None], port.image_size)) for shot in shots)
            flows = {}
            for way, weights in (("before", before), ("after", after)):
                port.flow_net.set_weights(weights)
                flows[way] = port.flow(now, then)[0].numpy()
            size = port.map_shape[:2]
            flows["true flow"] = cells_of(film.flow(t, t - 1).vectors[..., ::-1], size)
            sides = shots[0].image.shape[:2]
            middles = [middle_of(animal.box, sides, size) for animal in shots[0].animals]
            found = measure(flows, middles)
            rows += found
            if found:
                change = max(row["apart, before"] - row["apart, after"] for row in found)
                images = [shot.image for shot in shots]
                drawn.append((change, [*images, *coloured([flows[way] for way in WAYS])]))
    print(as_table(rows))
    drawn.sort(key=lambda example: -example[0])
    draw([parts for _, parts in drawn[:4]], args.figure)
    print(args.figure)


def middle_of(box: Sequence[float], sides: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """The cells, bool [rows, columns], whose centres are in the middle of a box.

    Args:
        box: left, top, width and height in pixels.
        sides: height and width of the image.
        size: rows and columns of the map.
    """
    left, top, width, height = box
    rows, columns = ((np.arange(n) + 0.5) * side / n for n, side in zip(size, sides, strict=True))
    down = np.abs(rows - top - height / 2) <= MIDDLE * height / 2
    across = np.abs(columns - left - width / 2) <= MIDDLE * width / 2
    return down[:, None] & across


def measure(
    flows: Mapping[str, np.ndarray], middles: Sequence[np.ndarray]
) -> list[dict[str, float]]:
    """What there is to say of each animal that covers some cells.

    Args:
        flows: [rows, columns, 2] in cells, with "true flow" among them.
        middles: cells of each animal.
    """
    true, animals = flows["true flow"], np.any(middles, axis=0) if len(middles) else None
    found = []
    for cells in middles:
        if cells.sum() < 4:
            continue
        row = {}
        for way, flow in flows.items():
            mean = flow[cells].mean(0)
            row[f"apart, {way}"] = float(np.sqrt(np.square(flow[cells] - mean).sum(-1).mean()))
            row[f"off, {way}"] = float(np.linalg.norm(mean - true[cells].mean(0)))
            ground = np.linalg.norm(flow - true, axis=-1)[~animals]
            row[f"ground off, {way}"] = float(ground.mean())
        found.append(row)
    return found


def as_table(rows: Sequence[Mapping[str, float]]) -> str:
    """Means over animals, as Markdown."""
    lines = [f"| {len(rows)} animals | {' | '.join(WAYS)} |", "|---" * 4 + "|"]
    titles = {
        "apart": "cells of an animal apart",
        "off": "an animal off",
        "ground off": "ground off",
    }
    for key, title in titles.items():
        cells = [f"{np.mean([row[f'{key}, {way}'] for row in rows]):.3f}" for way in WAYS]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def coloured(flows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Flows as pictures: a hue for a direction, full colour for the fastest cell of all."""
    import matplotlib.colors

    fastest = max(np.linalg.norm(flow, axis=-1).max() for flow in flows) or 1.0
    pictures = []
    for flow in flows:
        hue = (np.arctan2(flow[..., 0], flow[..., 1]) / (2 * np.pi)) % 1.0
        speed = np.linalg.norm(flow, axis=-1) / fastest
        hsv = np.stack([hue, speed, np.ones_like(speed)], axis=-1)
        pictures.append(matplotlib.colors.hsv_to_rgb(hsv))
    return pictures


def draw(examples: Sequence[Sequence[Any]], path: pathlib.Path) -> None:
    """Writes the pictures, a row for each example."""
    import matplotlib.figure

    from context_rcnn.report import figures

    titles = ("frame", "the one before", *WAYS)
    size = (10, 1.7 * max(len(examples), 1))
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    grid = figure.subplots(max(len(examples), 1), len(titles), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, parts in zip(grid, examples, strict=False):
        for axes, part in zip(row, parts, strict=True):
            axes.imshow(part, interpolation="nearest")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    figures.save(figure, str(path))


if __name__ == "__main__":
    main()
