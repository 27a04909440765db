r"""100,000 entries in 50 cameras: build, build again, verify, join, prune.

    python -m benchmarks.bank_scale

20,000 images go through an extractor that does nothing, five boxes of each are stored, features of
2048. Writes what it prints to benchmarks/results/bank_scale.txt.
"""

import os
import tempfile
import time

import numpy as np

import context_rcnn  # noqa: F401
from benchmarks.bank_build import DEPTH, PeakMemory, write_idle_extractor
from benchmarks.record import Record

CAMERAS, IMAGES, FILES, TOP_K, START = 50, 400, 20, 5, 1_600_000_000


def write_examples(
    folder: str,
    cameras: int = CAMERAS,
    images: int = IMAGES,
    files: int = FILES,
    size: int = 10_000,
) -> None:
    """Random bytes for images, an hour between two of a camera, each camera in several files.

    Args:
        folder: folder to write.
        cameras: number of cameras.
        images: number of images of each.
        files: number of files; a camera with fewer images is in as many of them.
        size: bytes of an image.
    """
    import tensorflow as tf

    from beam_pipelines.tfrecord import TFRecordWriter

    os.makedirs(folder)
    rng = np.random.default_rng(0)
    for number in range(files):
        with open(f"{folder}/train-{number:05}-of-{files:05}.tfrecord", "wb") as file:
            writer = TFRecordWriter(file)
            for camera in range(cameras):
                for i in range((number - camera) % files, images, files):
                    example = tf.train.Example()
                    fields = example.features.feature
                    for key, value in (
                        ("encoded", rng.bytes(size)),
                        ("source_id", f"c{camera:02}-{i:05}".encode()),
                        ("location", f"camera {camera:02}".encode()),
                    ):
                        fields[f"image/{key}"].bytes_list.value.append(value)
                    fields["image/unix_seconds"].int64_list.value.append(START + 3600 * i)
                    writer.write(example.SerializeToString())


def main() -> None:
    from beam_pipelines.build_memory_bank import build_memory_bank
    from context_rcnn.memory_bank import maintenance
    from context_rcnn.memory_bank.curation import CameraOptions, FrameOptions
    from context_rcnn.memory_bank.join import MemoryJoin
    from context_rcnn.memory_bank.store import Bank
    from context_rcnn.memory_bank.window import WindowOptions

    record = Record(f"features of {DEPTH}")
    record.say(f"{'':28} {'seconds':>8} {'CPU s':>8} {'MB before':>10} {'MB peak':>8}")

    def timed(name: str, function) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        with PeakMemory() as memory:
            note = function()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        record.say(
            f"{name:28} {wall:8.1f} {cpu:8.1f} {memory.start / 1e6:10.0f} {memory.peak / 1e6:8.0f}"
            f"  {note or ''}"
        )

    with tempfile.TemporaryDirectory() as folder:
        write_examples(f"{folder}/examples")
        write_idle_extractor(f"{folder}/extractor")
        bank = f"{folder}/bank"

        def build() -> str:
            manifest = build_memory_bank(
                f"{folder}/examples/*", f"{folder}/extractor", bank, frames=FrameOptions(TOP_K)
            )
            totals = manifest.totals()
            return f"{totals['entries']} entries, {totals['bytes'] / 1e6:.0f} MB"

        def verify() -> str:
            return f"{len(maintenance.verify(bank))} problems"

        def join() -> str:
            """Keyframes of all cameras in turn, from the file each time."""
            join = MemoryJoin(bank, WindowOptions("month"), max_entries=2000, cache_bytes=0)
            entries, wall = 0, time.perf_counter()
            for i in range(400):
                camera, place = i % CAMERAS, (i * 37) % IMAGES
                found = join.read(
                    f"camera {camera:02}", START + 3600 * place, f"c{camera:02}-{place:05}"
                )
                entries += int(found["context_size"])
            seconds = time.perf_counter() - wall
            return f"{400 / seconds:.0f} windows/s of {entries / 400:.0f} entries"

        def prune() -> str:
            options = CameraOptions(max_entries=500, policy="diverse")
            return f"{maintenance.prune(bank, options).totals()['entries']} entries left"

        timed("build", build)
        timed("build again, nothing new", build)
        timed("verify", verify)
        timed("join 400 windows", join)
        timed("prune to 500, diverse", prune)
        timed("verify", verify)
        assert Bank.open(bank).manifest.totals()["entries"] == 500 * CAMERAS
    record.keep("bank_scale")


if __name__ == "__main__":
    main()
