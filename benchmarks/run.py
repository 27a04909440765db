r"""Measures the road from photographs to detections, part by part.

    make bench
    python -m benchmarks.run --only=detector

Writes what it prints to benchmarks/results/spine.txt.
"""

import tempfile
import time

import context_rcnn  # noqa: F401
from benchmarks.record import Record, parser_of
from context_rcnn.tasks.timing import medians


def measure_archive(say) -> None:
    """Simulated frames, checked images and written examples a second."""
    from beam_pipelines import create_examples
    from context_rcnn.data.archive import ArchiveOptions
    from context_rcnn.data.images import ImageOptions
    from context_rcnn.data.validate import validate_archive
    from context_rcnn.simulation import simulate_camera_traps, simulate_traffic, simulate_videos

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        frames = simulate_camera_traps(f"{folder}/traps", cameras=6, days=20)["frames"]
        say(
            "simulated camera-trap frames per second, 160x120",
            frames / (time.perf_counter() - start),
        )
        start = time.perf_counter()
        summary = simulate_traffic(f"{folder}/roads", cameras=4, days=1, clips_per_day=2)
        say(
            "simulated traffic frames per second, 352x240",
            summary["frames"] / (time.perf_counter() - start),
        )
        start = time.perf_counter()
        filmed = simulate_videos(f"{folder}/videos", videos=4)["frames"]
        say("simulated video frames per second, 256x192", filmed / (time.perf_counter() - start))
        options = ArchiveOptions(
            input_json=f"{folder}/traps/camera_traps.json", image_root=f"{folder}/traps/images"
        )
        start = time.perf_counter()
        validate_archive(options)
        say("validated images per second, one thread", frames / (time.perf_counter() - start))

        def write(name, *flags):
            create_examples.create_examples(
                options, ImageOptions(), f"{folder}/{name}", num_shards=4, pipeline_args=flags
            )

        write("first")  # imports TensorFlow
        for name, flags in (
            ("one thread", ()),
            ("two threads", ("--direct_num_workers=2", "--direct_running_mode=multi_threading")),
        ):
            start = time.perf_counter()
            write(name.replace(" ", "_"), *flags)
            say(f"examples written a second, Beam, {name}", frames / (time.perf_counter() - start))


def measure_detector(say, experiment: str, batch_size: int) -> None:
    """Training step and inference, plain and under XLA, in turns."""
    import tensorflow as tf
    import tf_keras

    from context_rcnn.configs import schema
    from context_rcnn.tasks.task import task_class

    config = schema.load_experiment(experiment)
    task = task_class(config.task).without_data(config.task, num_classes=8)
    model = task.build_model()
    optimizer = tf_keras.optimizers.SGD(1e-4, momentum=0.9)
    optimizer.build(model.trainable_variables)
    inputs = task.dummy_inputs(batch_size)
    functions = {}
    for how, jit in (("plain", False), ("XLA", True)):
        step = tf.function(
            lambda x: task.train_step(x, model, optimizer)[task.loss], jit_compile=jit
        )
        detect = tf.function(lambda x: task.validation_step(x, model)["scores"], jit_compile=jit)
        functions[f"{how} training"] = lambda step=step: step(inputs).numpy()
        functions[f"{how} inference"] = lambda detect=detect: detect(inputs).numpy()
    times = medians(functions)
    for name, (median, spread) in times.items():
        rate = batch_size / median
        say(f"{experiment}, batch {batch_size}, {name}: images/s", rate, rate * spread / median)
    for name in ("training", "inference"):
        ratio = times[f"plain {name}"][0] / times[f"XLA {name}"][0]
        say(f"{experiment}, {name}: plain / XLA", ratio)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", choices=["archive", "detector"], help="one part only")
    args = parser.parse_args()
    record = Record("the toy and its data")

    def say(what: str, value: float, spread: float | None = None) -> None:
        record.say(f"{what:70} {value:10.2f}" + (f" +- {spread:.2f}" if spread is not None else ""))

    if args.only != "detector":
        measure_archive(say)
    if args.only != "archive":
        measure_detector(say, "faster_rcnn_tiny", 16)
    if args.only is None:
        record.keep("spine")


if __name__ == "__main__":
    main()
