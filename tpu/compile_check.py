r"""Compiles a training step and inference with XLA, as a TPU would, without a TPU.

What does not compile (dynamic shapes, unsupported operations) fails here within minutes on any
machine, rather than on an expensive one:

    python -m tpu.compile_check --config_file=configs/serengeti/faster_rcnn.yaml
"""

import argparse
import sys
import time
from collections.abc import Sequence

import context_rcnn  # noqa: F401
from context_rcnn.configs.flags import add_experiment_flags, experiment_of


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles both and prints how long it took. Returns 1 if one does not compile."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_experiment_flags(parser)
    parser.add_argument(
        "--batch_size",
        type=int,
        default=2,
        help="number of images (or clips) per replica (default: 2)",
    )
    parser.add_argument(
        "--num_classes", type=int, default=10, help="number of classes (default: 10)"
    )
    args = parser.parse_args(argv)

    import tensorflow as tf
    import tf_keras

    from context_rcnn.tasks.task import task_class

    config = experiment_of(args, parser)
    config.task.validation_data.global_batch_size = args.batch_size
    task = task_class(config.task).without_data(config.task, args.num_classes)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    inputs = task.dummy_inputs(args.batch_size)
    evaluated = task.dummy_evaluation_inputs(args.batch_size)
    task.start_evaluation(model)
    failed = 0
    for name, function, batch in (
        ("training step", lambda x: task.train_step(x, model, optimizer), inputs),
        ("inference", lambda x: task.validation_step(x, model), evaluated),
    ):
        start = time.monotonic()
        try:
            tf.function(function, jit_compile=True, autograph=False)(batch)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            print(f"{name}: does not compile: {error.message.splitlines()[0]}")
            failed = 1
        else:
            print(f"{name}: compiled and ran once in {time.monotonic() - start:.1f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
