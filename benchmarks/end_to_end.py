r"""What `context-rcnn detect` takes for a folder of photographs, next to its model alone.

    python -m benchmarks.end_to_end
    python -m benchmarks.end_to_end --memory --images=24

A ResNet-101 C4 at 640x640 with 300 proposals and random weights looks at photographs of 2048x1536,
in batches of four. `model alone` gets the same photographs in a loop, read and reduced before.
With --memory a Context R-CNN fills its memory, projects it and detects with it, and the loop calls
the same functions. `detect` begins by trying the model on a grey image and by measuring how long it
will take, and ends by writing results: that is what it takes for a folder of one batch, less that
batch, and is shown apart. All take turns in one process. Writes what it prints to
benchmarks/results/end_to_end.txt, with --memory end_to_end_memory.txt.
"""

import argparse
import os
import pathlib
import shutil
import tempfile

import numpy as np
from PIL import Image

import context_rcnn  # noqa: F401
from benchmarks.record import Record, parser_of
from context_rcnn.tasks.timing import medians

PHOTOGRAPH = (2048, 1536)
START, BATCH = 1_600_000_000, 4


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=16, help="photographs (default: 16)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: 3)")
    parser.add_argument("--size", type=int, default=640, help="side of an image (default: 640)")
    parser.add_argument("--depth", type=int, default=101, help="ResNet to use (default: 101)")
    parser.add_argument("--proposals", type=int, default=300, help="boxes (default: 300)")
    parser.add_argument("--memory", action="store_true", help="a Context R-CNN with its extractor")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, count in (("few", BATCH), ("photos", args.images)):
            write_photographs(f"{folder}/{name}", count)
        export = export_model(folder, args)
        times = measure(folder, export, args)
    (alone, _), (whole, _), (few, _) = times.values()
    each, begun = alone / args.images, (whole - few) / (args.images - BATCH)
    record = Record(
        f"ResNet-{args.depth}, {args.size}x{args.size}, {args.proposals} proposals; {args.images} "
        f"of {PHOTOGRAPH[0]}x{PHOTOGRAPH[1]}, medians of {args.rounds} turns"
    )
    record.say(
        *(
            f"{name:12} {seconds:8.2f} +- {spread:5.2f} s  {count / seconds:6.3f} images/s"
            for (name, (seconds, spread)), count in zip(
                times.items(), (args.images, args.images, BATCH), strict=True
            )
        ),
        f"detect takes {few - BATCH * begun:.1f} s to begin and to end, and {begun:.3f} s for each "
        f"image, of which the model takes {each:.3f}, {each / begun:.3f} of it",
    )
    record.keep("end_to_end_memory" if args.memory else "end_to_end")


def write_photographs(folder: str, count: int) -> None:
    """Photographs of noise that is as smooth as nature is, an hour apart, of one camera."""
    os.makedirs(f"{folder}/camera")
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 255, (96, 128, 3)).astype(np.uint8)
        exif = Image.Exif()
        date = str(np.datetime64(START + 3600 * i, "s"))
        exif.get_ifd(0x8769)[0x9003] = date.replace("-", ":").replace("T", " ")
        picture = Image.fromarray(coarse).resize(PHOTOGRAPH, Image.Resampling.BICUBIC)
        picture.save(f"{folder}/camera/{i:04d}.jpg", "JPEG", quality=90, exif=exif)


def export_model(folder: str, args: argparse.Namespace) -> str:
    """Exports a detector of random weights; returns its folder."""
    import tensorflow as tf

    from context_rcnn.configs import schema
    from context_rcnn.export.export import export_run
    from context_rcnn.export.extractor import export_extractor
    from context_rcnn.tasks.detection import DetectionTask

    with open(f"{folder}/label_map.pbtxt", "w") as file:
        file.write("item { id: 1 name: 'animal' }\n")
    settings = [f"task.label_map={folder}/label_map.pbtxt"]
    settings += [f"task.model.image_size=[{args.size},{args.size}]"]
    settings += [f"task.model.backbone.model_id={args.depth}"]
    settings += [f"task.model.proposals.count={args.proposals}"]
    extractor, export = "", f"{folder}/export"
    for name in ("faster_rcnn_c4", *(["context_rcnn_c4"] if args.memory else [])):
        more = []
        if extractor:
            long_term = "task.temporal.context_rcnn.long_term"
            more = [f"{long_term}.entry_size={2048 + 9}", f"{long_term}.extractor={extractor}"]
        config = schema.load_experiment(name, (), ",".join([*settings, *more]))
        run = f"{folder}/{name}"
        os.makedirs(run)
        schema.save_experiment(config, f"{run}/params.yaml")
        model = DetectionTask(config.task).build_model()
        tf.train.Checkpoint(model=model).save(f"{run}/ckpt")
        if args.memory and not extractor:
            extractor = export_extractor(run, f"{folder}/extractor")["hash"]
        else:
            export_run(run, export, extractor=f"{folder}/extractor" if extractor else None)
    return export


def measure(folder: str, export: str, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Seconds of either way, with their spread."""
    from context_rcnn.data.images import ImageOptions
    from context_rcnn.export.exported import ExportedModel
    from context_rcnn.results.records import ImageResult
    from context_rcnn.results.write import Outputs
    from context_rcnn.runners.engine.prepared import prepare_image
    from context_rcnn.runners.folder.options import FolderOptions
    from context_rcnn.runners.folder.run import detect_folder

    model, photos = ExportedModel(export), f"{folder}/photos"
    files = sorted(f"camera/{name}" for name in os.listdir(f"{photos}/camera"))
    images = [
        prepare_image(ImageResult(file, file), photos, ImageOptions()).encoded for file in files
    ]
    batches = [images[first : first + BATCH] for first in range(0, len(images), BATCH)]

    def alone():
        if not args.memory:
            return [model.detect(batch) for batch in batches]
        found = [model.extract(batch) for batch in batches]
        best = np.concatenate([part["features"][:, 0] for part in found])
        entries = np.concatenate([best, np.zeros([len(best), 9], np.float32)], axis=1)
        keys, values = (part[None] for part in model.project(entries))
        there = np.ones([1, len(entries)], bool)
        return [model.detect_with_projected(batch, keys, values, there) for batch in batches]

    def detect(root: str):
        shutil.rmtree(f"{folder}/state", ignore_errors=True)
        pathlib.Path(f"{folder}/results.json").unlink(missing_ok=True)
        outputs = Outputs(f"{folder}/results.json")
        options = FolderOptions(root, f"{folder}/state", outputs, batch_size=BATCH)
        summary = detect_folder(options, model, say=lambda text: None)
        assert summary is not None and summary.images and not summary.failed

    ways = {"model alone": alone, "detect": lambda: detect(photos)}
    return medians(ways | {"one batch": lambda: detect(f"{folder}/few")}, rounds=args.rounds)


if __name__ == "__main__":
    main()
