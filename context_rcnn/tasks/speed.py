"""How fast this machine trains a detector, measured on made-up batches in less than a minute.

    python -m context_rcnn.tasks.speed --config_file=configs/simulation/faster_rcnn.yaml

Prints JSON: seconds until the first step (TensorFlow, building, tracing), seconds a step, and
images per second. No data are read, so what reading them costs is not in it.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence

from context_rcnn.configs.flags import add_experiment_flags, experiment_of


def measure(config, steps: int = 5) -> dict[str, float]:
    """Trains on made-up batches.

    Args:
        config: the settings of an experiment.
        steps: number of steps to time; their median counts.
    """
    import tensorflow as tf
    from official.modeling import optimization

    from context_rcnn.tasks.task import task_class

    task = task_class(config.task).without_data(config.task, num_classes=4)
    model = task.build_model()
    factory = optimization.OptimizerFactory(config.trainer.optimizer_config)
    optimizer = factory.build_optimizer(factory.build_learning_rate())
    batch = task.dummy_inputs(config.task.train_data.global_batch_size)
    step = tf.function(lambda inputs: task.train_step(inputs, model, optimizer), autograph=False)
    step(batch)
    seconds = []
    for _ in range(steps):
        start = time.monotonic()
        step(batch)[task.loss].numpy()
        seconds.append(time.monotonic() - start)
    median = statistics.median(seconds)
    return {"seconds_a_step": median, "images_per_second": len(next(iter(batch.values()))) / median}


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints. Returns 0."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_experiment_flags(parser)
    parser.add_argument("--steps", type=int, default=5, help="steps to time (default: 5)")
    args = parser.parse_args(argv)
    found = measure(experiment_of(args, parser), args.steps)
    found["seconds_to_start"] = time.monotonic() - start - args.steps * found["seconds_a_step"]
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
