r"""How the cost of an image grows: with entries of a memory, proposals, and frames of a window.

    python -m benchmarks.cost_growth
    python -m benchmarks.cost_growth --model_id=50 --image_size=320 --rounds=3

Each axis is one process, in which all of its points take turns. Entries and proposals are those of
Context R-CNN at the size that is asked for, batch 1; frames are what the toys of the video models
see for each frame of a video, next to their still-image detector. Writes what it prints to
benchmarks/results/cost_growth.txt, and a plot to docs/figures/cost.svg.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

import context_rcnn  # noqa: F401
from benchmarks.context import DEPTH
from benchmarks.record import FIGURES, Record, in_process, parser_of
from context_rcnn.tasks.timing import medians

FIGURE = FIGURES / "cost.svg"
ENTRIES = (500, 1_000, 2_000, 4_000, 8_500, 17_000)
PROPOSALS = (50, 100, 200, 300, 600)
# The frames that a video model looks back and ahead for, in its own settings.
WINDOWS: dict[str, tuple[str, Mapping[int, dict]]] = {
    "STMN": ("stmn_tiny", {n: {"window": n} for n in (1, 3, 5, 7, 9)}),
    "MemNet": ("memnet_tiny", {1: {}}),
    "causal FGFA": ("fgfa_tiny", {n + 1: {"before": n, "after": 0} for n in (1, 2, 4, 8)}),
    "MEGA": ("mega_tiny", {n: {"local_frames": n} for n in (3, 5, 9, 17)}),
}
STILL = 0  # the point of the detector without a memory
Points = dict[str, dict[int, Callable[[], object]]]


def entries(args: argparse.Namespace) -> Points:
    """Images with more and more memory, projected before or each time."""
    import tensorflow as tf

    from context_rcnn import configs

    temporal = configs.Temporal(type="context_rcnn")
    temporal.context_rcnn.long_term.entry_size = DEPTH
    single, images, shapes = _detector(args, args.proposals, configs.Temporal())
    context, *_ = _detector(args, args.proposals, temporal)
    points: Points = {"keys and values kept": {}, "projected for each image": {}}
    alone = tf.function(lambda: single(images, shapes)["detection_scores"], autograph=False)

    @tf.function(autograph=False)
    def detect(memory):
        return context(images, shapes, memory=memory)["detection_scores"]

    for curve in points.values():
        curve[STILL] = lambda: alone().numpy()
    for count in ENTRIES:
        memory = {
            "context_features": tf.random.normal([1, count, DEPTH]),
            "context_valid": tf.ones([1, count], tf.bool),
        }
        kept = context.box_memory.project(**memory)
        points["keys and values kept"][count] = lambda m=kept: detect(m).numpy()
        points["projected for each image"][count] = lambda m=memory: detect(m).numpy()
    return points


def proposals(args: argparse.Namespace) -> Points:
    """Images with more and more proposals."""
    import tensorflow as tf

    from context_rcnn import configs

    curve: dict[int, Callable[[], object]] = {}
    for count in PROPOSALS:
        single, images, shapes = _detector(args, count, configs.Temporal())
        call = tf.function(
            lambda s=single, i=images, h=shapes: s(i, h)["detection_scores"], autograph=False
        )
        curve[count] = lambda c=call: c().numpy()
    return {"single frame": curve}


def frames(args: argparse.Namespace) -> Points:
    """A frame of a video, with windows of more and more frames."""
    import tensorflow as tf

    from benchmarks.video_frames import advancing, frame_of
    from context_rcnn import configs
    from context_rcnn.configs import schema
    from context_rcnn.models import temporal as temporal_models

    points: Points = {}
    for title, (experiment, windows) in WINDOWS.items():
        model = schema.load_experiment(experiment).task.model.replace(num_classes=8)
        height, width = model.image_size
        images = tf.cast(tf.random.uniform([1, height, width, 3], maxval=255), tf.uint8)
        shapes = tf.constant([[height, width]], tf.float32)
        still = temporal_models.build(temporal_models.make(configs.Temporal()), model)
        call = tf.function(
            lambda s=still, i=images, h=shapes: s(i, h)["detection_scores"], autograph=False
        )
        curve = points[title] = {STILL: lambda c=call: c().numpy()}
        for count, settings in windows.items():
            temporal = schema.load_experiment(experiment).task.temporal
            temporal.override({temporal.type: settings})
            memory = temporal_models.make(temporal)
            stream = memory.stream(temporal_models.build(memory, model))
            frame, state = frame_of(stream, images, shapes), stream.initial_state(1)
            for _ in range(2):  # a state has its final types after a step
                _, state = stream.step(frame, state)
            step = tf.function(stream.step, autograph=False)
            curve[count] = advancing(step, frame, state)
    return points


AXES = {"entries": entries, "proposals": proposals, "frames": frames}
TITLES = {
    "entries": "entries of the memory",
    "proposals": "proposals",
    "frames": "frames of the window",
}


def _detector(args: argparse.Namespace, count: int, temporal: Any):
    """A detector of so many proposals, an image and its size."""
    import tensorflow as tf

    from context_rcnn import configs
    from context_rcnn.models import temporal as temporal_models

    size = args.image_size
    config = configs.FasterRcnn(
        num_classes=48,
        image_size=[size, size],
        backbone=configs.Backbone(model_id=args.model_id),
        proposals=configs.Proposals(count=count),
    )
    detector = temporal_models.build(temporal_models.make(temporal), config)
    images = tf.random.uniform([1, size, size, 3], maxval=255)
    return detector, images, tf.constant([[size, size]], tf.float32)


def measure(axis: str, args: argparse.Namespace) -> dict[str, dict[int, tuple[float, float]]]:
    """Seconds of each point of each curve, with their spread."""
    points = AXES[axis](args)
    functions = {f"{c}/{p}": call for c, curve in points.items() for p, call in curve.items()}
    times = medians(functions, rounds=args.rounds, warmup=2)
    return {c: {p: times[f"{c}/{p}"] for p in curve} for c, curve in points.items()}


def as_table(axis: str, curves: dict[str, dict[str, tuple[float, float]]]) -> list[str]:
    """The points of an axis, in milliseconds and as a multiple of the first one."""
    lines = ["", f"{TITLES[axis]:36} {'ms':>8} {'+-':>7} {'times':>6}"]
    for title, curve in curves.items():
        first = next(iter(curve.values()))[0]
        for point, (median, spread) in curve.items():
            name = f"{title}, {point}" if point != str(STILL) else f"{title}, without"
            cells = f"{1000 * median:8.1f} {1000 * spread:7.1f} {median / first:6.2f}"
            lines.append(f"{name:36} {cells}")
    return lines


def draw(found: dict[str, dict[str, dict[str, tuple[float, float]]]]) -> None:
    """Writes the plot: each axis as a panel, as a multiple of the first point of a curve."""
    import matplotlib.figure

    from context_rcnn.report import figures

    figure = matplotlib.figure.Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (axis, curves) in zip(panels, found.items(), strict=True):
        for title, curve in curves.items():
            first = next(iter(curve.values()))[0]
            shown = {int(point): value for point, value in curve.items() if point != str(STILL)}
            heights = [median / first for median, _ in shown.values()]
            spreads = [spread / first for _, spread in shown.values()]
            axes.errorbar(list(shown), heights, yerr=spreads, marker="o", capsize=2, label=title)
        axes.axhline(1, color="grey", linewidth=0.8)
        axes.set_xlabel(TITLES[axis])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    figure.axes[0].set_ylabel("time of an image, × the first")
    figures.save(figure, str(FIGURE))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model_id", type=int, default=101, help="of the ResNet (default: 101)")
    parser.add_argument("--image_size", type=int, default=640, help="(default: 640)")
    parser.add_argument(
        "--proposals", type=int, default=300, help="where entries grow (default: 300)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each point (default: 5)")
    parser.add_argument("--axis", choices=AXES, help="one axis alone, printed as JSON")
    args = parser.parse_args()
    if args.axis:
        print(json.dumps(measure(args.axis, args)))
        return
    size = f"ResNet-{args.model_id}, {args.image_size}x{args.image_size}"
    record, found = Record(f"{size}, batch 1, no XLA; frames: toys of 192x256"), {}
    for axis in AXES:
        names = ("model_id", "image_size", "proposals", "rounds")
        flags = [f"--{name}={getattr(args, name)}" for name in names]
        found[axis] = in_process("benchmarks.cost_growth", f"--axis={axis}", *flags)
        record.say(*as_table(axis, found[axis]))
    record.keep("cost_growth")
    draw(found)


if __name__ == "__main__":
    main()
