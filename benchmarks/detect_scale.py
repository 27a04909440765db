r"""Memory and speed of `context-rcnn detect` as folders grow: 5,000 and 20,000 small images.

    python -m benchmarks.detect_scale [--model EXPORT]

Without a model, one of plain arithmetic stands in: features of 2,048, a memory of 2,000 entries, no
network, so what is measured is everything else. Each size runs in a process of its own, in cameras
of 500 images. Writes what it prints to benchmarks/results/detect_scale.txt.
"""

import io
import os
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
from PIL import Image

from benchmarks.record import Record, parser_of

SIZES, IN_CAMERA, START = (5_000, 20_000), 500, 1_600_000_000
DEPTH, KEY_DEPTH = 2048, 256


class IdleModel:
    """Keeps the contract of an exported model without computing much."""

    class_names = {1: "animal", 2: "person"}
    has_memory = True
    extractor_hash = "idle"
    description = {
        "name": "idle",
        "version": "1",
        "hash": "idle",
        "memory": {
            "entry_size": DEPTH + 9,
            "depth": KEY_DEPTH,
            "blocks": 1,
            "encoding_variant": "paper",
            "horizon": "month",
            "max_entries": 2000,
            "top_k": 1,
        },
        "stream": None,
        "extractor": {"hash": "idle", "max_boxes": 1, "depth": DEPTH, "source": "detections"},
    }

    def extract(self, encoded):
        count = len(encoded)
        return {
            "features": np.full([count, 1, DEPTH], 0.5, np.float32),
            "boxes": np.full([count, 1, 4], [0.1, 0.1, 0.5, 0.5], np.float32),
            "scores": np.full([count, 1], 0.7, np.float32),
            "classes": np.ones([count, 1], np.int32),
        }

    def project(self, entries):
        return entries[None, :, :KEY_DEPTH], entries[None, :, :KEY_DEPTH]

    def detect(self, encoded):
        found = self.extract(encoded)
        del found["features"]
        return found

    def detect_with_projected(self, encoded, keys, values, valid):
        assert valid.any()
        return self.detect(encoded)


def write_images(folder: str, count: int) -> None:
    """Small photographs, an hour apart."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)).resize((96, 72))
    for i in range(count):
        camera, number = divmod(i, IN_CAMERA)
        if not number:
            os.makedirs(f"{folder}/camera {camera:04d}", exist_ok=True)
        exif = Image.Exif()
        date = str(np.datetime64(START + 3600 * number, "s"))
        exif.get_ifd(0x8769)[0x9003] = date.replace("-", ":").replace("T", " ")
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", exif=exif)
        with open(f"{folder}/camera {camera:04d}/{number:04d}.jpg", "wb") as file:
            file.write(buffer.getvalue())


class Watch:
    """Peaks of the memory of this process, in MB: its own, and files that are mapped."""

    def __init__(self):
        self.own = self.mapped = 0.0
        self._done = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self):
        while not self._done.wait(0.02):
            with open("/proc/self/status") as file:
                fields = dict(line.split(":", 1) for line in file)
            self.own = max(self.own, int(fields["RssAnon"].split()[0]) / 1024)
            self.mapped = max(self.mapped, int(fields["RssFile"].split()[0]) / 1024)

    def stop(self):
        self._done.set()


def measure(folder: str, model_folder: str) -> None:
    """Detects, detects again, and prints a line for each."""
    from context_rcnn.results.write import Outputs
    from context_rcnn.runners.folder.options import FolderOptions
    from context_rcnn.runners.folder.run import detect_folder

    model = IdleModel()
    if model_folder:
        from context_rcnn.export.exported import ExportedModel

        model = ExportedModel(model_folder)
    output = f"{folder}/results.json"
    options = FolderOptions(
        f"{folder}/photos", f"{output}.state", Outputs(output, table=f"{folder}/results.csv")
    )
    for name in ("detect", "nothing new"):
        watch = Watch()
        wall, cpu = time.perf_counter(), time.process_time()
        summary = detect_folder(options, model, say=lambda text: None)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        watch.stop()
        print(
            f"{summary.images:7} {name:12} {wall:8.1f} {cpu:8.1f} {summary.images / wall:9.0f} "
            f"{watch.own:8.0f} {watch.mapped:8.0f}",
            flush=True,
        )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model", default="", help="an export; default: none at all")
    parser.add_argument("--folder", help="measure once, in this folder")
    parser.add_argument("--images", type=int, default=0, help="to write to --folder before")
    args = parser.parse_args()
    if args.folder:
        write_images(f"{args.folder}/photos", args.images)
        measure(args.folder, args.model)
        return
    record = Record(f"model: {os.path.basename(args.model.rstrip('/')) or 'idle'}")
    record.say(
        f"{'images':>7} {'':12} {'seconds':>8} {'CPU s':>8} {'images/s':>9} {'own MB':>8} "
        f"{'mapped MB':>8}"
    )
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.detect_scale", f"--folder={folder}"]
            command += [f"--images={size}", f"--model={args.model}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            record.say(*done.stdout.splitlines())
    if not args.model:
        record.keep("detect_scale")


if __name__ == "__main__":
    main()
