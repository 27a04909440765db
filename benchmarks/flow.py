r"""How far a flow network is off on pairs held out, next to no flow and to OpenCV's DIS flow.

    context-rcnn simulate flow pairs --image_size=128x96 --cell=8 --flow_distances=-1,-2,-4
    context-rcnn train --pipeline_config_path=configs/simulation/flow_net.yaml \
        --model_dir=runs/flow_net
    python -m benchmarks.flow --model_dir=runs/flow_net --pairs=pairs

Prints mean end-point errors in cells of a detector's maps, of 8 pixels of a pair, by the motion of
the pair: its mean known flow, in cells.
"""

import numpy as np

import context_rcnn  # noqa: F401
from benchmarks.record import parser_of

CELL = 8  # pixels of a pair; within a detector, images are halved first
MOTIONS = (0.25, 1.0, np.inf)  # cells; upper ends


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model_dir", required=True, help="run of a flow network")
    parser.add_argument("--pairs", required=True, help="folder of pairs in FlyingChairs' layout")
    args = parser.parse_args()

    from context_rcnn.data.flow_pairs import flow_batches
    from context_rcnn.data.readers.flying_chairs import read_flying_chairs
    from context_rcnn.tasks.loading import load_run

    trained = load_run(args.model_dir)
    size = tuple(trained.config.task.image_size)
    pairs, _ = read_flying_chairs(args.pairs, split="val")
    errors: dict[str, list[float]] = {"motion": []}
    for batch in flow_batches(pairs, size=size, batch_size=1, training=False).as_numpy_iterator():
        map_size = (size[0] // CELL, size[1] // CELL)
        known = cells_of(batch["flow"][0], map_size)
        flows = {
            "no flow": np.zeros_like(known),
            "DIS": cells_of(dis_flow(batch["now"][0], batch["before"][0]), map_size),
            "network": trained.model.net(batch["now"], batch["before"], 2 * CELL)[0].numpy(),
        }
        errors["motion"].append(float(np.linalg.norm(known, axis=-1).mean()))
        for name, flow in flows.items():
            apart = float(np.linalg.norm(flow - known, axis=-1).mean())
            errors.setdefault(name, []).append(apart)
    print(as_table({name: np.array(values) for name, values in errors.items()}))


def cells_of(vectors: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Means of a flow in pixels over each cell of a map of this size, in cells."""
    rows, columns = size
    tall, wide = vectors.shape[0] // rows, vectors.shape[1] // columns
    parts = vectors[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide, 2)
    return parts.mean((1, 3)) / (tall, wide)


def dis_flow(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """OpenCV's dense inverse search, as rows and columns."""
    import cv2

    grey = [cv2.cvtColor(np.uint8(255 * part), cv2.COLOR_RGB2GRAY) for part in (now, before)]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(*grey, None)[..., ::-1]


def as_table(errors: dict[str, np.ndarray]) -> str:
    """Mean errors by motion, as Markdown."""
    names = [name for name in errors if name != "motion"]
    lines = [f"| motion in cells | pairs | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    low = 0.0
    for high in (*MOTIONS, None):
        last = high is None
        rows = np.ones(len(errors["motion"]), bool)
        if not last:
            rows = (errors["motion"] >= low) & (errors["motion"] < high)
        title = "all" if last else f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}"
        means = [f"{errors[name][rows].mean():.3f}" if rows.any() else "-" for name in names]
        lines.append(f"| {title} | {int(rows.sum())} | {' | '.join(means)} |")
        low = high or low
    return "\n".join(lines)


if __name__ == "__main__":
    main()
