r"""Where MatchTrans takes a memory from, next to the simulator's true flow.

    python -m benchmarks.alignment --model_dir=stmn_tables/videos-0/rows/stmn \
        --archive=stmn_tables/videos-0/videos_archive

Of cells of pairs of frames, by their true motion: how far the mean of the cells that the memory is
averaged from is off, and how widely they are spread, both in cells. Without an alignment the first
is the motion itself and the second 0. The mean of all (2k + 1)^2 cells has a spread of sqrt(2 / 3 k
(k + 1)): a memory that is moved by it again and again is soon nothing but a blur.
"""

import argparse
import functools
import os

import numpy as np

import context_rcnn  # noqa: F401
from benchmarks.flow import cells_of

MOTIONS = (0.25, 0.5, 1.0, 2.0, np.inf)  # cells; upper ends


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model_dir", required=True, help="run of an STMN")
    parser.add_argument("--archive", required=True, help="folder of the simulated videos")
    parser.add_argument("--videos", type=int, default=20, help="number of videos (default: 20)")
    parser.add_argument(
        "--distance", type=int, default=1, help="frames from one to the next (default: 1)"
    )
    parser.add_argument(
        "--sharpness",
        type=float,
        help="power of the cosines, in place of the run's (task.temporal.stmn.sharpness)",
    )
    args = parser.parse_args()

    from context_rcnn.tasks.loading import load_run

    trained = load_run(args.model_dir)
    unit = trained.model.map_memory.forward
    if not unit.moves:
        parser.error(f"--model_dir={args.model_dir}: its memory is not moved")
    if args.sharpness is not None:
        unit.match = functools.partial(unit.match, sharpness=args.sharpness)
    rows = measure(trained, args.archive, args.videos, args.distance)
    match = unit.match.keywords
    everywhere = np.sqrt(2 / 3 * match["reach"] * (match["reach"] + 1))
    print(
        f"{match['variant']}, reach {match['reach']}, sharpness {match['sharpness']}; "
        f"the spread of all cells: {everywhere:.2f}"
    )
    print(as_table(rows))


def measure(trained, archive: str, count: int, distance: int) -> np.ndarray:
    """Of each cell: its motion, how far the mean is off, and the spread; [cells, 3]."""
    import tensorflow as tf

    from context_rcnn.data import examples, videos
    from context_rcnn.data import input as input_lib
    from context_rcnn.models.stmn.memory import LEVEL
    from context_rcnn.simulation import open_film

    params = trained.task.task_config.validation_data
    files = input_lib.find_files(params.input_path)
    to_row, unit, rows = trained.task.image_input(params), trained.model.map_memory.forward, []
    heard = {}

    def listen(maps, **given):
        heard.update(maps)
        return maps

    dataset = tf.data.Dataset.from_tensor_slices(files).flat_map(videos.read_videos)
    for video in dataset.take(count):
        film, maps = None, []
        for t, record in enumerate(video):
            example = examples.parse_example(record)
            row = to_row.frame(example)
            image, shape = row["image"][None], row["image_shape"][None]
            trained.model.look(image, shape, training=False, port=listen)
            maps.append(heard[LEVEL])
            film = film or open_film(archive, os.path.basename(example["seq_id"].numpy().decode()))
            if t >= distance:
                shares = unit.match(maps[t], maps[t - distance])[0].numpy()
                flow = cells_of(film.flow(t, t - distance).vectors[..., ::-1], shares.shape[:2])
                rows.append(np.stack(compared(shares, flow), axis=-1).reshape(-1, 3))
    return np.concatenate(rows)


def compared(shares: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Motion, error of the mean and spread, each [rows, columns].

    Args:
        shares: [rows, columns, (2k + 1)^2], of the cells around each.
        flow: [rows, columns, 2], where each cell was, in rows and columns.
    """
    reach = (round(shares.shape[-1] ** 0.5) - 1) // 2
    steps = np.arange(-reach, reach + 1)
    places = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    mean = shares @ places
    apart = np.square(places - mean[..., None, :]).sum(-1)
    spread = np.sqrt((shares * apart).sum(-1))
    return np.linalg.norm(flow, axis=-1), np.linalg.norm(mean - flow, axis=-1), spread


def as_table(rows: np.ndarray) -> str:
    """Means by motion, as Markdown."""
    lines = [
        "| motion in cells | cells | no alignment off by | off by | spread |",
        "|---" * 5 + "|",
    ]
    low = 0.0
    for high in MOTIONS:
        chosen = rows[(rows[:, 0] >= low) & (rows[:, 0] < high)]
        title = f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}"
        means = [f"{mean:.2f}" for mean in chosen.mean(0)] if len(chosen) else ["-"] * 3
        lines.append(f"| {title} | {len(chosen)} | {' | '.join(means)} |")
        low = high
    return "\n".join(lines)


if __name__ == "__main__":
    main()
