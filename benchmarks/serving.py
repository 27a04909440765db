r"""What an exported Context R-CNN costs: to write, to load, and each way of asking it.

    python -m benchmarks.serving

ResNet-50 C4 with random weights, images of 320x320, 100 proposals, a memory of 2,000 entries of
2057, keys and values of 2048. `trained` is the same detector in the process that built it, without
a memory. Also what such a memory is as JSON, which REST wants, and as it lies in memory, which gRPC
sends.
Writes what it prints to benchmarks/results/serving.txt.
"""

import json
import os
import pathlib
import tempfile
import time

import numpy as np

import context_rcnn  # noqa: F401
from benchmarks.record import Record
from context_rcnn.tasks.timing import medians

SIZE, ENTRIES, DEPTH = 320, 2000, 2048


def write_runs(folder: str) -> None:
    """A still-image run and its extractor, and a run with a memory made by that."""
    import tensorflow as tf

    from context_rcnn.configs import schema
    from context_rcnn.export.extractor import export_extractor
    from context_rcnn.tasks.detection import DetectionTask

    with open(f"{folder}/label_map.pbtxt", "w") as file:
        file.write("item { id: 1 name: 'animal' }\n")
    common = (
        f"task.label_map={folder}/label_map.pbtxt,task.model.image_size=[{SIZE},{SIZE}],"
        "task.model.backbone.model_id=50,task.model.proposals.count=100"
    )
    extractor = ""
    for name in ("faster_rcnn_c4", "context_rcnn_c4"):
        settings = common
        if extractor:
            settings += (
                f",task.temporal.context_rcnn.long_term.entry_size={DEPTH + 9}"
                f",task.temporal.context_rcnn.long_term.extractor='{extractor}'"
                f",task.memory.max_entries={ENTRIES}"
            )
        config = schema.load_experiment(name, (), settings)
        model = DetectionTask(config.task).build_model()
        os.makedirs(f"{folder}/{name}")
        schema.save_experiment(config, f"{folder}/{name}/params.yaml")
        tf.train.Checkpoint(model=model).save(f"{folder}/{name}/ckpt")
        if not extractor:
            extractor = export_extractor(f"{folder}/{name}", f"{folder}/extractor")["hash"]


def main() -> None:
    import tensorflow as tf

    from context_rcnn.export.export import export_run
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.tasks.loading import load_run

    def timed(function):
        start = time.perf_counter()
        result = function()
        return result, time.perf_counter() - start

    record = Record(f"ResNet-50, {SIZE}x{SIZE}, {ENTRIES} entries")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        write_runs(folder)
        run, export = f"{folder}/context_rcnn_c4", f"{folder}/export"
        _, seconds = timed(lambda: export_run(run, export, extractor=f"{folder}/extractor"))
        model, loading = timed(lambda: ExportedModel(export))
        files = [path for path in pathlib.Path(export, "saved_model").rglob("*") if path.is_file()]
        sizes = {path.name: path.stat().st_size for path in files}
        record.say(f"export {seconds:.0f} s, load {loading:.1f} s")
        record.say(
            f"SavedModel {sum(sizes.values()) / 1e6:.0f} MB, of which graphs "
            f"{sizes['saved_model.pb'] / 1e6:.1f} MB"
        )
        trained = tf.function(load_run(run).model)
    pixels = rng.integers(0, 255, (4, SIZE, SIZE, 3)).astype(np.uint8)
    images = [tf.io.encode_jpeg(image).numpy() for image in pixels]
    memory = rng.normal(size=(ENTRIES, DEPTH + 9)).astype(np.float32)
    keys, values = (tf.constant(part[None]) for part in model.project(memory))
    tiled = [tf.repeat(part, 4, axis=0) for part in (keys, values)]
    valid = np.ones([1, ENTRIES], bool)
    shape = tf.constant([[SIZE, SIZE]], tf.float32)
    state = [model.initial_state(1)]

    def step():
        _, state[0] = model.step(images[:1], [1], [True], state[0], seconds=[1_500_000_000])

    functions = {
        "1 image   trained, prepared": lambda: trained(tf.constant(pixels[:1]), shape),
        "1 image   detect": lambda: model.detect(images[:1]),
        "1 image   detect_with_context": lambda: model.detect_with_context(
            images[:1], memory[None], [ENTRIES]
        ),
        "1 image   detect_with_projected": lambda: model.detect_with_projected(
            images[:1], keys, values, valid
        ),
        "1 image   extract": lambda: model.extract(images[:1]),
        "1 image   step": step,
        "4 images  detect": lambda: model.detect(images),
        "4 images  detect_with_projected, one row": lambda: model.detect_with_projected(
            images, keys, values, valid
        ),
        "4 images  detect_with_projected, four rows": lambda: model.detect_with_projected(
            images, *tiled, np.repeat(valid, 4, axis=0)
        ),
        "          project": lambda: model.project(memory),
    }
    for name, (median, spread) in medians(functions, rounds=7).items():
        record.say(f"{name:44} {1e3 * median:7.0f} +- {1e3 * spread:3.0f} ms")
    size = sum(value.numpy().nbytes for value in state[0].values())
    record.say(f"state of one camera {size / 1e6:.0f} MB")
    text, writing = timed(lambda: json.dumps(memory.tolist()))
    _, reading = timed(lambda: json.loads(text))
    record.say(
        f"memory {memory.nbytes / 1e6:.0f} MB; as JSON {len(text) / 1e6:.0f} MB, written in "
        f"{writing:.1f} s, read in {reading:.1f} s"
    )
    record.keep("serving")


if __name__ == "__main__":
    main()
