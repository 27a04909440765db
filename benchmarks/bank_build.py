r"""Building memory banks, next to the way of the Object Detection API's tools, on the same images.

    python -m benchmarks.bank_build

Two simulated cameras, 320x240; each row is a process of its own. Writes what it prints to
benchmarks/results/bank_build.txt.

The old way is acted out here, as its two Beam jobs do it: one example at a time through the
extractor, features as lists of floats in the example; then all examples of a camera grouped in
memory, and the whole bank copied into each of them. `I/O` rows have an extractor that does nothing,
to see what Beam and files cost; `network` rows have a small Faster R-CNN. The old way is held to
14 GB of memory, and the 800-frame row, which would write 10 GB, is left out. What it has on disk
includes the images, in both of its jobs' examples.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator

import context_rcnn  # noqa: F401
from benchmarks.record import Record, parser_of

CAMERAS, DEPTH, BOXES = 2, 2048, 8
LIMIT = 14_000_000_000


def write_archive(folder: str, frames: int) -> None:
    """Simulated photographs and, for each number of frames per camera, annotations of the first."""
    from context_rcnn.simulation import simulate_camera_traps

    simulate_camera_traps(folder, cameras=CAMERAS, days=frames // 6 + 5, image_size=(320, 240))
    document = json.loads(pathlib.Path(folder, "camera_traps.json").read_text())
    images = sorted(document["images"], key=lambda image: (image["location"], image["datetime"]))
    by_camera: dict[str, list] = {}
    for image in images:
        by_camera.setdefault(image["location"], []).append(image)
    for count in (frames // 8, frames // 4, frames // 2, frames):
        chosen = [image for members in by_camera.values() for image in members[:count]]
        assert len(chosen) == CAMERAS * count, "not enough frames were simulated"
        ids = {image["id"] for image in chosen}
        part = document | {
            "images": chosen,
            "annotations": [a for a in document["annotations"] if a["image_id"] in ids],
        }
        pathlib.Path(folder, f"{count}.json").write_text(json.dumps(part))


def write_examples(archive: str, frames: int, output_dir: str) -> None:
    from beam_pipelines import create_examples
    from context_rcnn.data.archive import ArchiveOptions
    from context_rcnn.data.images import ImageOptions

    options = ArchiveOptions(input_json=f"{archive}/{frames}.json", image_root=f"{archive}/images")
    create_examples.create_examples(options, ImageOptions(), output_dir, num_shards=2)


def write_idle_extractor(folder: str) -> None:
    """Gives boxes and features without looking: what is left is Beam and files."""
    import tensorflow as tf

    class Idle(tf.Module):
        def __init__(self):
            super().__init__()
            self.hash = tf.Variable("idle", trainable=False)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def extract(self, encoded):
            number = tf.cast(tf.strings.to_hash_bucket_fast(encoded, 1000), tf.float32) / 1000
            batch = tf.shape(encoded)[0]
            features = number[:, None, None] + tf.zeros([batch, BOXES, DEPTH])
            scores = tf.tile(tf.linspace(0.9, 0.1, BOXES)[None], [batch, 1])
            return {
                "features": features,
                "boxes": tf.tile(tf.constant([[[0.1, 0.1, 0.5, 0.5]]]), [batch, BOXES, 1]),
                "scores": scores,
                "classes": tf.ones([batch, BOXES], tf.int32),
            }

    module = Idle()
    tf.saved_model.save(module, folder, signatures={"extract": module.extract})
    description = {"hash": "idle", "source": "detections", "depth": DEPTH}
    pathlib.Path(folder, "extractor.json").write_text(json.dumps(description))


def write_network_extractor(folder: str) -> None:
    """The tiny Faster R-CNN at 320x240, with the weights it began with."""
    from context_rcnn.configs import schema
    from context_rcnn.export.extractor import Extractor, save_extractor
    from context_rcnn.tasks.detection import DetectionTask

    config = schema.load_experiment("faster_rcnn_tiny")
    config.task.model.image_size = [240, 320]
    names = {i: str(i) for i in range(1, 9)}
    task = DetectionTask(config.task, class_names=names)
    extractor = Extractor(
        task.build_model(),
        image_size=(240, 320),
        keep_aspect_ratio=True,
        source="detections",
        class_names=names,
    )
    save_extractor(extractor, folder)


def build_ours(examples: str, extractor: str, output_dir: str) -> None:
    from beam_pipelines.build_memory_bank import build_memory_bank

    build_memory_bank(examples, extractor, output_dir, num_shards=2)


def build_old_way(examples: str, extractor: str, output_dir: str) -> None:
    """Both jobs of the old tools."""
    import apache_beam as beam
    import tensorflow as tf
    from apache_beam.io.tfrecordio import ReadFromTFRecord, WriteToTFRecord

    from beam_pipelines import extraction
    from beam_pipelines.running import make_pipeline_options

    def floats(example: tf.train.Example, key: str, values) -> None:
        example.features.feature[key].float_list.value.extend(values)

    def embed(serialized: bytes) -> bytes:
        example = tf.train.Example.FromString(serialized)
        encoded = example.features.feature["image/encoded"].bytes_list.value[0]
        found = extraction._load(extractor).extract(tf.constant([encoded]))
        vector = found["features"][0, 0].numpy().tolist() + [0.5] * 9
        floats(example, "image/embedding", vector)
        floats(example, "image/embedding_score", [float(found["scores"][0, 0])])
        for key, value in (("length", len(vector)), ("count", 1)):
            example.features.feature[f"image/embedding_{key}"].int64_list.value.append(value)
        return example.SerializeToString()

    def key_of(serialized: bytes) -> tuple[bytes, tf.train.Example]:
        example = tf.train.Example.FromString(serialized)
        return example.features.feature["image/location"].bytes_list.value[0], example

    def add_context(group: tuple[bytes, Iterable[tf.train.Example]]) -> Iterator[bytes]:
        members = sorted(
            group[1], key=lambda e: e.features.feature["image/source_id"].bytes_list.value[0]
        )
        context: list[float] = []
        for example in members:
            context.extend(example.features.feature["image/embedding"].float_list.value)
        for example in members:
            floats(example, "image/context_features", context)
            length = example.features.feature["image/embedding_length"].int64_list.value[0]
            key = "image/context_feature_length"
            example.features.feature[key].int64_list.value.append(length)
            yield example.SerializeToString()

    options = make_pipeline_options([])
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | ReadFromTFRecord(f"{examples}/*.tfrecord")
            | beam.Map(embed)
            | WriteToTFRecord(f"{output_dir}/embedded", num_shards=2)
        )
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | ReadFromTFRecord(f"{output_dir}/embedded*")
            | beam.Map(key_of)
            | beam.GroupByKey()
            | beam.FlatMap(add_context)
            | WriteToTFRecord(f"{output_dir}/context", num_shards=2)
        )


class PeakMemory:
    """Largest resident size of this process while the block runs, in bytes.

    Args:
        mapped: also count pages of mapped files, which the system takes back when it needs them.
    """

    def __init__(self, mapped: bool = True):
        self._mapped = mapped

    def __enter__(self) -> "PeakMemory":
        self.start = self.peak = _resident(self._mapped)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, _resident(self._mapped))

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()


def _resident(mapped: bool) -> int:
    _, resident, shared, *_ = map(int, pathlib.Path("/proc/self/statm").read_text().split())
    return (resident if mapped else resident - shared) * resource.getpagesize()


def measure(way: str, examples: str, extractor: str, output_dir: str) -> dict[str, float]:
    """Builds once in this process, with TensorFlow and the extractor warm."""
    import tensorflow as tf

    from beam_pipelines import extraction

    record = next(iter(tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(f"{examples}/*.tfrecord")))))
    encoded = tf.train.Example.FromString(record.numpy()).features.feature["image/encoded"]
    module = extraction._load(extractor)
    for batch in (1, 8):
        module.extract(tf.constant([encoded.bytes_list.value[0]] * batch))
    if way == "old":
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    build = build_old_way if way == "old" else build_ours
    wall, cpu = time.perf_counter(), time.process_time()
    with PeakMemory() as memory:
        build(examples, extractor, output_dir)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    disk = sum(
        path.stat().st_size
        for path in pathlib.Path(output_dir).glob("**/*")
        if path.is_file() and "_progress" not in path.parts
    )
    return {
        "wall": wall,
        "cpu": cpu,
        "start": memory.start / 1e6,
        "peak": memory.peak / 1e6,
        "disk": disk / 1e6,
    }


def run_alone(*arguments: str) -> dict[str, float] | str:
    """`measure` in a process of its own, or the last line that it complained with."""
    command = [sys.executable, "-m", "benchmarks.bank_build", "--measure", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line]
        return (lines or ["ended by the system"])[-1].split(" [")[0][:60]
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, default=800, help="largest number a camera")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(*args.measure)))
        return
    record = Record(f"{CAMERAS} cameras, 320x240, features of {DEPTH}")
    record.say("extractor way   frames  images/s per CPU s CPU s/img MB before  MB peak MB on disk")
    with tempfile.TemporaryDirectory() as folder:
        write_archive(f"{folder}/archive", args.frames)
        write_idle_extractor(f"{folder}/idle")
        write_network_extractor(f"{folder}/network")
        counts = [args.frames // 8, args.frames // 4, args.frames // 2, args.frames]
        for frames in counts:
            write_examples(f"{folder}/archive", frames, f"{folder}/examples{frames}")
        rows = [("idle", frames) for frames in counts] + [("network", counts[0])]
        for extractor, frames in rows:
            for way in ("ours", "old"):
                if way == "old" and frames > 400:
                    continue
                with tempfile.TemporaryDirectory(dir=folder) as output:
                    found = run_alone(
                        way, f"{folder}/examples{frames}", f"{folder}/{extractor}", output
                    )
                name = {"idle": "I/O"}.get(extractor, extractor)
                start = f"{name:9} {way:5} {frames:6}"
                if isinstance(found, str):
                    record.say(f"{start} {found}")
                    continue
                images = CAMERAS * frames
                record.say(
                    f"{start} {images / found['wall']:9.1f} {images / found['cpu']:9.1f} "
                    f"{found['cpu'] / images:9.4f} {found['start']:9.0f} {found['peak']:8.0f} "
                    f"{found['disk']:10.1f}"
                )
    record.keep("bank_build")


if __name__ == "__main__":
    main()
