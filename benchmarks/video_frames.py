r"""What each frame of a video costs a detector that remembers, next to its still-image detector.

    python -m benchmarks.video_frames --models=memory_warps
    python -m benchmarks.video_frames --models=stmn --size=paper --classes=30 --rounds=3

The steps of all ways to run a model take turns in one process, on one video. What each does for a
frame is counted: images that go through the trunk, pairs of images whose flow is computed, and maps
that are warped. The state is that of one video. Writes what it prints to
benchmarks/results/video_frames_<models>_<size>.txt.
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import context_rcnn  # noqa: F401
from benchmarks.record import Record, parser_of
from context_rcnn.tasks.timing import medians

STILL = "still image"


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to run a model: its settings, and what of its stream is called."""

    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    temporal: str = ""  # another model than that of the experiment
    method: str = "step"
    looks_once: bool = False  # a frame from elsewhere is one that was looked at before


MODELS = {
    "stmn": {
        "nothing that comes later": Way({"directions": "forward"}),
        "middle of the window": Way({"merge": "centre"}),
        "all windows pooled": Way({"merge": "overlap"}),
    },
    "memory_warps": {
        "MemNet": Way(),
        "MemNet, propagated": Way(method="propagate"),
        "ClockNet, hold": Way({"clocks": [1, 4, 8]}),
        "ClockNet, interleaved": Way({"clocks": [1, 4, 8], "schedule": "interleaved"}),
        "FGFA": Way(temporal="fgfa"),
        "causal FGFA": Way({"after": 0}, "fgfa"),
        "causal, accumulated flow": Way({"after": 0, "accumulate_flow": True}, "fgfa"),
    },
    "mega": {
        "offline": Way(looks_once=True),
        "offline, by step alone": Way(),
        "online": Way({"online": True}),
    },
}
EXPERIMENTS = {
    "tiny": {
        "stmn": "stmn_tiny",
        "memory_warps": "memnet_tiny",
        "fgfa": "fgfa_tiny",
        "mega": "mega_tiny",
    },
    "paper": {
        "stmn": "stmn_rfcn",
        "memory_warps": "memnet_rfcn",
        "fgfa": "fgfa_rfcn",
        "mega": "mega_dc5",
    },
}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument(
        "--models", choices=MODELS, default="memory_warps", help="models to measure"
    )
    parser.add_argument(
        "--size", choices=EXPERIMENTS, default="tiny", help="toys, or as the papers have them"
    )
    parser.add_argument("--classes", type=int, default=8, help="number of classes (default: 8)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default: 7)")
    parser.add_argument("--jit_compile", action="store_true", help="compile the steps with XLA")
    args = parser.parse_args()

    import tensorflow as tf

    from context_rcnn import configs
    from context_rcnn.configs import schema
    from context_rcnn.models import temporal as temporal_models

    experiments = EXPERIMENTS[args.size]
    model = schema.load_experiment(experiments[args.models]).task.model
    model = model.replace(num_classes=args.classes)
    height, width = model.image_size
    images = tf.cast(tf.random.uniform([1, height, width, 3], maxval=255), tf.uint8)
    shapes = tf.constant([[height, width]], tf.float32)
    still = temporal_models.build(temporal_models.make(configs.Temporal()), model)
    alone = tf.function(
        lambda: still(images, shapes)["detection_scores"],
        jit_compile=args.jit_compile,
        autograph=False,
    )
    functions = {STILL: lambda: alone().numpy()}
    counts, sizes, delays = {STILL: Counter(trunk=1)}, {STILL: 0}, {STILL: 0}
    for name, way in MODELS[args.models].items():
        temporal = schema.load_experiment(experiments[way.temporal or args.models]).task.temporal
        temporal.override({temporal.type: dict(way.settings)})
        memory = temporal_models.make(temporal)
        detector = temporal_models.build(memory, model)
        stream = memory.stream(detector)
        frame = frame_of(stream, images, shapes)
        state = stream.initial_state(1)
        sizes[name] = sum(part.dtype.size * tf.size(part).numpy() for part in state.values())
        delays[name] = stream.latency
        _, state = stream.step(frame, state)
        call = getattr(stream, way.method)
        call = looking_once(stream, frame) if way.looks_once else call
        with counted(detector) as counts[name]:
            _, state = call(frame, state)
        functions[name] = advancing(
            tf.function(call, jit_compile=args.jit_compile, autograph=False), frame, state
        )
    record = Record(
        f"{args.models}, {args.size}, {height}x{width}, {'XLA' if args.jit_compile else 'no XLA'}"
    )
    record.say(
        f"{'':26} {'ms':>8} {'+-':>7} {'times':>6} {'trunk':>6} {'flows':>6} {'warps':>6} "
        f"{'late, frames':>13} {'state, MiB':>11}"
    )
    times = medians(functions, rounds=args.rounds, warmup=2)
    for name, (median, spread) in times.items():
        done = counts[name]
        record.say(
            f"{name:26} {1000 * median:8.1f} {1000 * spread:7.1f} "
            f"{median / times[STILL][0]:6.2f} {done['trunk']:6} {done['flow']:6} {done['move']:6} "
            f"{delays[name]:13} {sizes[name] / 2**20:11.1f}"
        )
    jit = "_xla" if args.jit_compile else ""
    record.keep(f"video_frames_{args.models}_{args.size}{jit}")


def frame_of(stream, images, shapes):
    """A frame with what the stream asks for."""
    import tensorflow as tf

    from context_rcnn.models.streaming import Frame

    valid = tf.constant([True])
    frame = Frame(images, shapes, tf.constant([1], tf.int64), valid)
    if "ended" in stream.inputs:
        frame = frame._replace(ended=~valid)
    if "elsewhere" in stream.inputs:
        frame = frame._replace(elsewhere=frame)
    return frame


def looking_once(stream, frame):
    """A step as `context-rcnn videos` has it: every second look of a frame was kept."""
    kept = frame.elsewhere._replace(looked=stream.look(frame.elsewhere))

    def step(frame, state):
        return stream.step(frame._replace(looked=stream.look(frame), elsewhere=kept), state)

    return step


def advancing(step, frame, state):
    """A function that advances its own state by a frame."""
    held = {"state": state}

    def advance():
        found, held["state"] = step(frame, held["state"])
        return found["detection_scores"].numpy()

    return advance


@contextlib.contextmanager
def counted(detector) -> Iterator[Counter]:
    """Counts images through the trunk, flows and warps of what is called within."""
    counts: Counter = Counter()

    def counting(name, call):
        def wrapped(first, *rest, **given):
            counts[name] += int(first.shape[0])
            return call(first, *rest, **given)

        return wrapped

    port, trunk = detector.map_memory, detector.backbone
    own = {name: getattr(port, name) for name in ("flow", "move") if hasattr(port, name)}
    detector.backbone = counting("trunk", trunk)
    for name, call in own.items():
        setattr(port, name, counting(name, call))
    try:
        yield counts
    finally:
        detector.backbone = trunk
        for name in own:
            delattr(port, name)


if __name__ == "__main__":
    main()
