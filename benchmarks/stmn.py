r"""What STMN costs for each frame of a video, next to its still-image detector.

    python -m benchmarks.stmn
    python -m benchmarks.stmn --experiment=stmn_rfcn --classes=30 --rounds=3

The steps of all ways to run it take turns in one process, on one video; state is that of one video.
Writes what it prints to benchmarks/results/stmn_<experiment>.txt.
"""

import argparse
import os
import pathlib
import platform
import time

import context_rcnn  # noqa: F401
from context_rcnn.tasks.timing import medians

RESULTS = pathlib.Path(__file__).parent / "results"
WAYS = {
    "nothing that comes later": {"directions": "forward"},
    "middle of the window": {"merge": "centre"},
    "all windows pooled": {"merge": "overlap"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--experiment", default="stmn_tiny", help="experiment to measure (default: stmn_tiny)"
    )
    parser.add_argument("--classes", type=int, default=8, help="number of classes (default: 8)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default: 7)")
    parser.add_argument("--jit_compile", action="store_true", help="compile the steps with XLA")
    args = parser.parse_args()

    import tensorflow as tf

    from context_rcnn import configs
    from context_rcnn.configs import schema
    from context_rcnn.models import temporal as temporal_models
    from context_rcnn.models.streaming import Frame

    model = schema.load_experiment(args.experiment).task.model
    model = model.replace(num_classes=args.classes)
    height, width = model.image_size
    images = tf.cast(tf.random.uniform([1, height, width, 3], maxval=255), tf.uint8)
    shapes = tf.constant([[height, width]], tf.float32)
    still = temporal_models.build(temporal_models.make(configs.Temporal()), model)
    alone = tf.function(
        lambda: still(images, shapes)["detection_scores"], jit_compile=args.jit_compile
    )
    functions, sizes, delays = {"still image": lambda: alone().numpy()}, {}, {"still image": 0}
    for name, settings in WAYS.items():
        temporal = schema.load_experiment(args.experiment).task.temporal
        temporal.override({"stmn": settings})
        memory = temporal_models.make(temporal)
        stream = memory.stream(temporal_models.build(memory, model))
        step = tf.function(stream.step, jit_compile=args.jit_compile)
        valid = tf.constant([True])
        frame = Frame(images, shapes, tf.constant([1], tf.int64), valid, ended=~valid)
        held = {"state": stream.initial_state(1)}
        sizes[name] = sum(
            part.dtype.size * tf.size(part).numpy() for part in held["state"].values()
        )
        delays[name] = stream.latency

        def advance(step=step, frame=frame, held=held):
            found, held["state"] = step(frame, held["state"])
            return found["detection_scores"].numpy()

        functions[name] = advance
    lines = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    say(
        f"{platform.machine()}, {os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}: "
        f"{args.experiment}, {height}x{width}, {'XLA' if args.jit_compile else 'no XLA'}"
    )
    say(f"{'':26} {'ms':>8} {'+-':>7} {'times':>6} {'late, frames':>13} {'state, MiB':>11}")
    times = medians(functions, rounds=args.rounds, warmup=2)
    for name, (median, spread) in times.items():
        state = f"{sizes[name] / 2**20:.1f}" if name in sizes else "-"
        say(
            f"{name:26} {1000 * median:8.1f} {1000 * spread:7.1f} "
            f"{median / times['still image'][0]:6.2f} {delays[name]:13} {state:>11}"
        )
    RESULTS.mkdir(exist_ok=True)
    jit = "_xla" if args.jit_compile else ""
    (RESULTS / f"stmn_{args.experiment}{jit}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
