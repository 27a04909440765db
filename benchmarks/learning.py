r"""What a training step costs when all of a detector learns, most of it is frozen, or on features.

    python -m benchmarks.learning --config_file=configs/simulation/context_rcnn.yaml
    python -m benchmarks.learning --experiment=context_rcnn_c4 --batch_size=1 --rounds=3

The same task in turns in one process: with nothing frozen, with a frozen backbone, with everything
frozen but the memory and the predictor, and the same on stored features. Batches are made up, of
the settings' size. With --read they are those of the settings, and reading them counts; the store
is that of task.features:

    python -m benchmarks.learning --config_file=configs/simulation/context_rcnn.yaml --read \
        --params_override=task.features=demo/store

Writes what it prints to benchmarks/results/learning_<experiment>.txt; `_read` is added with --read.
"""

from collections.abc import Callable

import context_rcnn  # noqa: F401
from benchmarks.record import Record, parser_of
from context_rcnn.configs.flags import add_experiment_flags, experiment_of
from context_rcnn.tasks.timing import medians

READ_STEPS = 20
KINDS = {
    "all learns": {},
    "backbone frozen": {"freeze": ["backbone"]},
    "all but memory and predictor frozen": {"freeze": ["backbone", "first_stage", "box_head"]},
    "the same, on features": {"learn_on": "features"},
}


def make_step(config, batch_size: int, read: bool, changes) -> Callable[[], object]:
    """A training step on a made-up batch, or on the next one of the training data."""
    import tensorflow as tf
    import tf_keras

    from context_rcnn.tasks.task import task_class

    params = config.task.replace(**changes)
    make = task_class(params)
    task = make(params) if read else make.without_data(params, num_classes=8)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(1e-4, momentum=0.9)
    optimizer.build(model.trainable_variables)
    step = tf.function(lambda inputs: task.train_step(inputs, model, optimizer)[task.loss])
    if not read:
        inputs = task.dummy_inputs(batch_size)
        return lambda: step(inputs).numpy()
    task.initialize(model)
    batches = iter(task.build_inputs(params.train_data.replace(global_batch_size=batch_size)))

    def several() -> None:
        # One alone would find its batch read while the others took their turns.
        for _ in range(READ_STEPS):
            step(next(batches)).numpy()

    return several


def main() -> None:
    parser = parser_of(__doc__)
    add_experiment_flags(parser)
    parser.add_argument(
        "--batch_size", type=int, help="number of clips per step (default: that of the settings)"
    )
    parser.add_argument(
        "--read", action="store_true", help="take batches from the data of the settings"
    )
    parser.add_argument("--rounds", type=int, default=7, help="steps of each kind (default: 7)")
    args = parser.parse_args()
    config = experiment_of(args, parser)
    batch_size = args.batch_size or config.task.train_data.global_batch_size
    steps = {name: make_step(config, batch_size, args.read, how) for name, how in KINDS.items()}
    number = READ_STEPS if args.read else 1
    model = config.task.model
    record = Record(
        f"{config.name}, ResNet-{model.backbone.model_id}, {model.image_size}, {batch_size} clips "
        f"of {config.task.clip.frames}, {'read' if args.read else 'made-up'} batches"
    )
    record.say(f"{'a training step':40} {'s':>8} {'+-':>7} {'faster':>7}")
    times = medians(steps, rounds=args.rounds, warmup=1)
    slowest = times["all learns"][0]
    for name, (median, spread) in times.items():
        seconds, apart = median / number, spread / number
        record.say(f"{name:40} {seconds:8.4f} {apart:7.4f} {slowest / median:7.1f}")
    record.keep(f"learning_{config.name}{'_read' * args.read}")


if __name__ == "__main__":
    main()
