r"""A trained MemNet, ClockNet or causal FGFA moved by the simulator's own flow.

    python -m benchmarks.true_flow --model_dir=warps_tables/videos-0/rows/memnet \
        --archive=warps_tables/videos-0/videos_archive

Tells what its flow network costs it: evaluates the run on its validation videos twice, with the
network and with the exact flow of each pixel, averaged over the cells of a map. If both are no
better than the still-image detector, flow is not the reason. With `--gap=4` each frame is detected
in with the evidence of frames up to four before it, brought on by either flow: what is lost with
the true one is not the flow network's fault.
"""

import os
from collections.abc import Sequence

import numpy as np

import context_rcnn  # noqa: F401
from benchmarks.flow import cells_of
from benchmarks.record import parser_of
from context_rcnn.configs.temporal.memory_warps import WithoutEvidence


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--model_dir", required=True, help="run of a memory_warps, or of an fgfa with after: 0"
    )
    parser.add_argument("--archive", required=True, help="folder of the simulated videos")
    parser.add_argument(
        "--gap", type=int, default=0, help="number of frames without evidence (default: 0)"
    )
    parser.add_argument(
        "--by",
        choices=("features", "boxes"),
        default="features",
        help="what is brought on over the gap (default: features)",
    )
    args = parser.parse_args()

    from context_rcnn.tasks.loading import load_run

    trained = load_run(args.model_dir)
    temporal = trained.task.task_config.temporal
    if temporal.type not in ("memory_warps", "fgfa"):
        parser.error(
            f"--model_dir={args.model_dir}: a run of {temporal.type} moves nothing by flow"
        )
    if temporal.type == "fgfa":
        if temporal.fgfa.after or temporal.fgfa.accumulate_flow:
            parser.error("--model_dir: of FGFA, only causal ones that measure each flow at once")
        if args.gap:
            parser.error(f"--gap={args.gap}: an FGFA looks at every frame; name a MemNet")
    if args.gap and len(trained.model.map_memory.clocks) > 1:
        parser.error(f"--gap={args.gap}: --model_dir has several clocks; name a MemNet")
    for name, archive in (("flow network", ""), ("true flow", args.archive)):
        metrics = evaluate(trained, archive, args.gap, args.by)
        speeds = metrics["by_speed"]
        by_speed = ", ".join(
            f"{speed} {100 * value:.1f}"
            for speed in ("slow", "medium", "fast")
            if (value := speeds[speed]["mAP@.5"]) is not None
        )
        means = ", ".join(f"{key} {100 * metrics[key]:.1f}" for key in ("mAP@.75", "mAP@.5"))
        print(f"{name}: {means} ({by_speed})", flush=True)


def evaluate(trained, archive: str, gap: int = 0, by: str = "features") -> dict:
    """Metrics on the validation videos; with an archive, by the flow of its films.

    Args:
        trained: run of a memory_warps, or of a causal FGFA.
        archive: folder of the simulated videos, or nothing.
        gap: number of frames without evidence.
        by: what is brought on over the gap.
    """
    import tensorflow as tf

    from context_rcnn.data import input as input_lib
    from context_rcnn.data import videos
    from context_rcnn.evaluation import coco, results
    from context_rcnn.models.streaming import Frame
    from context_rcnn.simulation import open_film

    task = trained.task
    params = task.task_config
    port, settings = trained.model.map_memory, params.temporal.get().replace()
    if params.temporal.type == "memory_warps":
        settings.without_evidence = WithoutEvidence(gap=gap, by=by)
    stream = task.temporal.with_settings(settings).stream(trained.model)
    to_row = task.image_input(params.validation_data)
    files = input_lib.find_files(params.validation_data.input_path)
    memories = len(remembered(0, params.temporal))
    flow = tf.Variable(tf.zeros([memories, *port.map_shape[:2], 2]))
    own = port.flow
    if archive:
        port.flow = lambda now, before: tf.tile(  # of a gap, all past states meet the same frame
            flow, [tf.shape(now)[0] // memories, 1, 1, 1]
        )
    step = tf.function(stream.step, autograph=False)
    detections, state = coco.Detections(), stream.initial_state(1)
    dataset = tf.data.Dataset.from_tensor_slices(files).flat_map(videos.read_videos)
    for number, video in enumerate(dataset):
        film = None
        for t, record in enumerate(video):
            example = input_lib.examples.parse_example(record)
            row = to_row.frame(example)
            if archive:
                name = os.path.basename(example["seq_id"].numpy().decode())
                film = film or open_film(archive, name)
                flow.assign(true_flows(film, t, remembered(t, params.temporal), port.map_shape))
            frame = Frame(
                row["image"][None],
                row["image_shape"][None],
                tf.constant([number], tf.int64),
                tf.constant([True]),
            )
            found, state = step(frame, state)
            shape = np.tile(found["image_shape"][0], 2)
            detections.add(
                int(row["key"]),
                found["detection_boxes"][0].numpy() / shape,
                found["detection_scores"][0].numpy(),
                found["detection_classes"][0].numpy(),
            )
    port.flow = own
    return results.measure(
        task.evaluation_images(), detections, task.class_names, params.evaluation.recalls
    )


def remembered(t: int, temporal) -> list[int]:
    """The frames before t whose memories are moved to t, below 0 for none."""
    if temporal.type == "fgfa":
        return list(range(t - temporal.fgfa.before, t))
    clocks, hold = temporal.memory_warps.clocks, temporal.memory_warps.schedule == "hold"
    return [(t - 1) // clock * clock if hold else t - clock for clock in clocks]


def true_flows(film, t: int, earlier: Sequence[int], map_shape: Sequence[int]) -> np.ndarray:
    """D from frame t to earlier ones, in cells of the maps; 0 where there is no frame."""
    rows, columns = map_shape[:2]
    flows = np.zeros((len(earlier), rows, columns, 2), np.float32)
    for i, then in enumerate(earlier):
        if then >= 0:
            flows[i] = cells_of(film.flow(t, then).vectors[..., ::-1], (rows, columns))
    return flows


if __name__ == "__main__":
    main()
