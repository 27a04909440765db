r"""What a memory costs: the single-frame detector next to Context R-CNN, in turns in one process.

    python -m benchmarks.context
    python -m benchmarks.context --model_id=50 --image_size=320 --proposals=100

For each size of the bank: `projected` has keys and values computed before, once per camera; `plain`
projects the bank for every image, as training does and as the released code does in inference too.
Writes what it prints to benchmarks/results/context_<model>_<size>.txt.
"""

import context_rcnn  # noqa: F401
from benchmarks.record import Record, parser_of
from context_rcnn.tasks.timing import medians

DEPTH = 2048 + 9


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model_id", type=int, default=101, help="of the ResNet (default: 101)")
    parser.add_argument("--image_size", type=int, default=640, help="(default: 640)")
    parser.add_argument("--proposals", type=int, default=300, help="(default: 300)")
    parser.add_argument("--rounds", type=int, default=7, help="(default: 7)")
    parser.add_argument("--jit_compile", action="store_true", help="under XLA")
    args = parser.parse_args()

    import tensorflow as tf

    from context_rcnn import configs
    from context_rcnn.models import temporal as temporal_models

    model_config = configs.FasterRcnn(
        num_classes=48,
        image_size=[args.image_size] * 2,
        backbone=configs.Backbone(model_id=args.model_id),
        proposals=configs.Proposals(count=args.proposals),
    )
    temporal = configs.Temporal(type="context_rcnn")
    temporal.context_rcnn.long_term.entry_size = DEPTH
    context = temporal_models.build(temporal_models.make(temporal), model_config)
    single = temporal_models.build(temporal_models.make(configs.Temporal()), model_config)
    images = tf.random.uniform([1, args.image_size, args.image_size, 3], maxval=255)
    shapes = tf.constant([[args.image_size] * 2], tf.float32)

    @tf.function(jit_compile=args.jit_compile)
    def detect_alone():
        return single(images, shapes)["detection_scores"]

    @tf.function(jit_compile=args.jit_compile, reduce_retracing=False)
    def detect(memory):
        return context(images, shapes, memory=memory)["detection_scores"]

    functions = {"single frame": detect_alone}
    for entries in (2000, 8500):
        memory = {
            "context_features": tf.random.normal([1, entries, DEPTH]),
            "context_valid": tf.ones([1, entries], tf.bool),
        }
        projected = context.box_memory.project(**memory)
        functions[f"projected, {entries} entries"] = lambda m=projected: detect(m)
        functions[f"plain, {entries} entries"] = lambda m=memory: detect(m)
    record = Record(
        f"ResNet-{args.model_id}, {args.image_size}x{args.image_size}, {args.proposals} proposals, "
        f"batch 1, {'XLA' if args.jit_compile else 'no XLA'}"
    )
    record.say(f"{'':26} {'s':>7} {'+-':>6} {'times':>6}")
    times = medians(functions, rounds=args.rounds, warmup=1)
    alone = times["single frame"][0]
    for name, (median, spread) in times.items():
        record.say(f"{name:26} {median:7.3f} {spread:6.3f} {median / alone:6.2f}")
    jit = "_xla" if args.jit_compile else ""
    record.keep(f"context_{args.model_id}_{args.image_size}{jit}")


if __name__ == "__main__":
    main()
