r"""What a training step costs when all of a detector learns, and when most of it is frozen.

    python -m benchmarks.learning --config_file=configs/simulation/context_rcnn.yaml
    python -m benchmarks.learning --experiment=context_rcnn_c4 --batch_size=1 --rounds=3

The same task in turns in one process, on made-up batches of the settings' size: with nothing
frozen, with a frozen backbone, and with everything frozen but the memory and the predictor. Reading
the data is not in it. Writes what it prints to benchmarks/results/learning_<experiment>.txt.
"""

import argparse
import os
import pathlib
import platform
import time
from collections.abc import Callable

import context_rcnn  # noqa: F401
from benchmarks.timing import medians

RESULTS = pathlib.Path(__file__).parent / "results"
FROZEN = {
    "all learns": [],
    "backbone frozen": ["backbone"],
    "all but memory and predictor frozen": ["backbone", "first_stage", "box_head"],
}


def make_step(config, batch_size: int, **changes) -> Callable[[], object]:
    """A training step on a made-up batch."""
    import tensorflow as tf
    import tf_keras

    from context_rcnn.tasks.task import task_class

    params = config.task.replace(**changes)
    task = task_class(params).without_data(params, num_classes=8)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(1e-4, momentum=0.9)
    optimizer.build(model.trainable_variables)
    inputs = task.dummy_inputs(batch_size)
    step = tf.function(lambda: task.train_step(inputs, model, optimizer)[task.loss])
    return lambda: step().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default="", help="name of an experiment")
    parser.add_argument(
        "--config_file",
        action="append",
        default=[],
        help="YAML file with settings, may be repeated",
    )
    parser.add_argument("--params_override", default="", help="settings, as a.b=1,a.c=2")
    parser.add_argument(
        "--batch_size", type=int, help="number of clips per step (default: that of the settings)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="steps of each kind (default: 7)")
    args = parser.parse_args()

    from context_rcnn.configs import schema

    config = schema.load_experiment(args.experiment, args.config_file, args.params_override)
    batch_size = args.batch_size or config.task.train_data.global_batch_size
    steps = {name: make_step(config, batch_size, freeze=parts) for name, parts in FROZEN.items()}
    lines = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    model = config.task.model
    say(
        f"{platform.machine()}, {os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}: "
        f"{config.name}, ResNet-{model.backbone.model_id}, {model.image_size}, {batch_size} clips "
        f"of {config.task.clip.frames}"
    )
    say(f"{'a training step':40} {'s':>8} {'+-':>7} {'faster':>7}")
    times = medians(steps, rounds=args.rounds, warmup=1)
    slowest = times["all learns"][0]
    for name, (median, spread) in times.items():
        say(f"{name:40} {median:8.4f} {spread:7.4f} {slowest / median:7.1f}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"learning_{config.name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
