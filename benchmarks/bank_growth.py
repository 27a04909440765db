r"""How building a bank grows: with the images of one camera, and with the number of cameras.

    python -m benchmarks.bank_growth

An extractor that does nothing, features of 2048, the best box of each image; each row is a process
of its own. Memory is that of the process without mapped files. Writes what it prints to
benchmarks/results/bank_growth.txt, and a plot to docs/figures/growth.svg.
"""

import json
import sys
import tempfile
import time

import context_rcnn  # noqa: F401
from benchmarks import bank_scale
from benchmarks.bank_build import DEPTH, PeakMemory, write_idle_extractor
from benchmarks.record import FIGURES, Record, in_process, parser_of

FIGURE = FIGURES / "growth.svg"
PIECE = 512  # images of a file, which is what one worker does at a time
AXES = {
    "images of one camera": [(1, 2_000), (1, 8_000), (1, 32_000), (1, 128_000)],
    "cameras, ten images each": [(200, 10), (800, 10), (3_200, 10)],
}
MEASURES = {"CPU s": "CPU seconds", "MB peak": "peak of memory over the idle process, MB"}


def measure(cameras: int, images: int) -> dict[str, float]:
    """Builds a bank of so many cameras with so many images each."""
    from beam_pipelines.build_memory_bank import build_memory_bank
    from context_rcnn.memory_bank.curation import FrameOptions

    total = cameras * images
    with tempfile.TemporaryDirectory() as folder:
        write_idle_extractor(f"{folder}/extractor")
        places = [f"{folder}/warm", f"{folder}/examples"]
        bank_scale.write_examples(places[0], 1, 20, files=1, size=1000)
        bank_scale.write_examples(places[1], cameras, images, files=-(-total // PIECE), size=1000)

        def build(examples: str) -> int:
            extractor, bank = f"{folder}/extractor", f"{examples}_bank"
            manifest = build_memory_bank(f"{examples}/*", extractor, bank, frames=FrameOptions(1))
            return int(manifest.totals()["bytes"])

        build(places[0])
        wall, cpu = time.perf_counter(), time.process_time()
        with PeakMemory(mapped=False) as memory:
            size = build(places[1])
        return {
            "cameras": cameras,
            "images": images,
            "seconds": time.perf_counter() - wall,
            "CPU s": time.process_time() - cpu,
            "MB peak": (memory.peak - memory.start) / 1e6,
            "MB on disk": size / 1e6,
        }


def as_table(rows: list[dict[str, float]]) -> list[str]:
    """The rows, and what each image costs."""
    names = ["cameras", "images", "seconds", "CPU s", "MB peak", "MB on disk"]
    lines = ["".join(f"{name:>11}" for name in [*names, "CPU ms/img"])]
    for row in rows:
        cells = [f"{row[name]:11.0f}" for name in names]
        each = 1000 * row["CPU s"] / (row["cameras"] * row["images"])
        lines.append("".join([*cells, f"{each:11.2f}"]))
    return lines


def draw(rows: dict[str, list[dict[str, float]]]) -> None:
    """Writes the plot: each measure against the number of images, both axes logarithmic."""
    import matplotlib.figure

    from context_rcnn.report import figures

    figure = matplotlib.figure.Figure(figsize=(8, 3.2), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
        for name, found in rows.items():
            images = [row["cameras"] * row["images"] for row in found]
            axes.loglog(images, [row[key] for row in found], marker="o", label=name)
        axes.set_xlabel("images")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    figures.save(figure, str(FIGURE))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--row", type=int, nargs=2, metavar=("CAMERAS", "IMAGES"), help="one row")
    parser.add_argument("--most", type=int, default=128_000, help="most images of a row")
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measure(*args.row)))
        return
    record = Record(f"features of {DEPTH}")
    rows: dict[str, list[dict[str, float]]] = {}
    for name, sizes in AXES.items():
        for cameras, images in sizes:
            if cameras * images > args.most:
                continue  # the largest take minutes
            row = in_process("benchmarks.bank_growth", "--row", cameras, images)
            rows.setdefault(name, []).append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
        record.say("", name, *as_table(rows[name]))
    record.keep("bank_growth")
    draw(rows)


if __name__ == "__main__":
    main()
