r"""The rows of Context R-CNN's Table 1 on simulated cameras, over seeds.

    python -m benchmarks.studies.table1 --output_dir=tables --seeds=3
    python -m benchmarks.studies.table1 --output_dir=tables --only=single_frame,lt_attention

Each seed has its own cameras, weights and order. A single-frame detector is trained first, on
cameras of its own; every row then goes on from it on other cameras for as many steps, the
single-frame row too, and is evaluated on cameras that none has seen. On bursts, cameras whose
animals show themselves in some frames of a burst and come in herds, the detector stays frozen, and
rows learn on what it sees of each image, which is stored once. What is finished is not run
again, and several of these may run beside each other with seeds of their own (--first_seed). Writes
<output_dir>/tables.json and figures of the first seed and, with --write_docs, puts both into
docs/results.md.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil

from benchmarks.studies import study, videos
from benchmarks.studies.study import DOCS, ROOT, cli
from context_rcnn.data.readers import citycam
from context_rcnn.report import figures


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: a file of configs/table1, the bank it reads, and the paper's mAP@.5 and AR@1."""

    title: str
    config: str
    paper: str
    bank: str = ""
    clips: bool = False  # sees several frames
    weights: str = ""  # of the row whose detector it takes, in place of training its own

    @property
    def name(self) -> str:
        return f"{self.config}-{self.bank}" if self.bank not in ("", "one_box") else self.config


SINGLE = Row("single frame", "single_frame", "37.9 / 46.5")
MONTH = Row("LT attention, one month", "lt_attention", "55.6 / 57.5", "one_box")
BOTH = Row("ST+LT attention", "st_lt_attention", "55.9 / 58.3", "one_box", clips=True)
TRAPS = {
    "(b) Time horizon": [
        SINGLE,
        Row("one minute", "horizon_minute", "50.3 / 51.4", "one_box"),
        Row("one hour", "horizon_hour", "52.1 / 52.5", "one_box"),
        Row("one day", "horizon_day", "52.5 / 52.9", "one_box"),
        Row("one week", "horizon_week", "54.1 / 53.2", "one_box"),
        MONTH,
    ],
    "(c) Selecting memory": [
        MONTH,
        Row("extractor trained elsewhere", "lt_attention", "50.3 / 55.8", "elsewhere"),
        Row("only positive boxes", "lt_attention", "53.9 / 56.2", "positives"),
        Row("subsample half", "lt_attention", "52.5 / 56.1", "half"),
        Row("subsample quarter", "lt_attention", "50.8 / 55.0", "quarter"),
    ],
    "(d) Comparison across models": [
        SINGLE,
        Row("repeat detection elimination", "repeat_detections", "-", weights="single_frame"),
        Row("majority vote", "majority_vote", "37.8 / 46.4", weights="single_frame"),
        Row("ST spatial", "st_spatial", "39.6 / 36.0", clips=True),
        Row("S3D", "s3d", "44.7 / 46.0", clips=True),
        Row("SF attention", "sf_attention", "44.9 / 50.2"),
        Row("ST attention", "st_attention", "46.4 / 55.3", clips=True),
        MONTH,
        BOTH,
    ],
    "How the memory is stored: the detector of float16 with the same bank in other types": [
        Row("float32", "lt_attention", "-", "float32", weights="lt_attention"),
        MONTH,
        Row("bfloat16", "lt_attention", "-", "bfloat16", weights="lt_attention"),
        Row("int8", "lt_attention", "-", "int8", weights="lt_attention"),
    ],
}
EIGHT = "eight_boxes"
LEARNED = {
    title: [row for row in rows if row.config not in ("st_spatial", "s3d") and not row.weights]
    for title, rows in TRAPS.items()
    if title.startswith("(")
}  # on features: these two rows change maps, and majority votes change no memory
LEARNED["(e) Adding boxes to the memory, which the paper did on traffic"] = [
    SINGLE,
    Row("one minute, top 1 box", "horizon_minute", "-", "one_box"),
    Row("one minute, top 8 boxes", "horizon_minute", "-", EIGHT),
    Row("one month, top 1 box", "lt_attention", "40.5 / 29.3", "one_box"),
    Row("one month, top 8 boxes", "lt_attention", "42.6 / 30.2", EIGHT),
]
TRAFFIC = {
    "(e) Adding boxes to the memory, on traffic": [
        Row("single frame", "single_frame", "38.1 / 28.2"),
        Row("top 1 box", "lt_attention", "40.5 / 29.3", "one_box"),
        Row("top 8 boxes", "lt_attention", "42.6 / 30.2", EIGHT),
    ],
}
# Which entries a bank keeps, as flags of `context-rcnn remember`.
BANKS = {
    "one_box": [],
    EIGHT: ["--top_k=8"],
    "half": ["--stride=2"],
    "quarter": ["--stride=4"],
    "positives": ["--positives=label"],
    "elsewhere": [],
    "float32": ["--dtype=float32"],
}
# Banks made of the first by `context-rcnn bank merge`.
CONVERTED = ("bfloat16", "int8")
# A month in few images: many cameras teach more about memory than many images of a few.
# Four species are two pairs of look-alikes, each with enough pictures to learn from.
RARE = ["--triggers_per_day=1.2", "--empty_fraction=0.5", "--max_burst=3", "--species=4"]
RARE += ["--pretrain_fraction=0.3"]
# On roads, two glances twice a day.
GLANCES = ["--clips_per_day=2", "--frames_per_clip=2", "--frame_interval=20"]
# Bursts in which one frame shows what another hides, of herds whose animals show it at times.
BURSTS = ["--triggers_per_day=1", "--empty_fraction=0.4", "--max_burst=6", "--species=4"]
BURSTS += ["--clear_visits=0.2", "--clear_in_burst=0.4", "--herd=2"]
# Cameras by their kind, with flags of `context-rcnn simulate`.
KINDS = {
    "camera-traps": ["camera-traps", *RARE],
    "bursts": ["camera-traps", *BURSTS, "--pretrain_fraction=0.3"],
    "traffic": ["traffic", *GLANCES],
    # Of many other animals: what an extractor has learned that was trained elsewhere.
    "elsewhere": [
        *("camera-traps", *BURSTS),
        *("--world=elsewhere", "--species=8", "--pretrain_fraction=0.9"),
    ],
}
# Rows of figure 7 and of figure 6, by the name they have there.
FALSE_POSITIVES = {
    "single frame": "single_frame",
    "only positive boxes in memory": "lt_attention-positives",
    "all boxes in memory": "lt_attention",
}
CAPTIONS = {
    "classes": "Seed 0: AP at IoU .5 of each class, from the single frame to a month of memory.",
    "empties": "Seed 0: false positives on 1,000 empty images, at several recalls.",
    "times": "Seed 0: time between keyframes and the memories they attend to.",
}
TIMES = {"one day": "horizon_day", "one week": "horizon_week", "one month": "lt_attention"}


class CameraStudy(study.Study):
    """One seed on one kind of cameras: its archive, detector, banks and rows."""

    def __init__(self, folder: pathlib.Path, kind: str, seed: int, args: argparse.Namespace):
        super().__init__(folder / f"{kind}-{seed}", seed, args)
        self.kind = kind

    def prepare(self) -> None:
        """Simulates the cameras, writes examples and trains the single-frame detector."""
        archive = self.folder / "archive"
        kind, *flags = KINDS[self.kind]
        simulate = ["simulate", kind, archive, *self.size(), *flags, f"--seed={self.seed}"]
        self.run(
            "simulate", cli(*simulate, "--workers=2", "--overwrite"), archive / "simulation.json"
        )
        flags = (
            [f"--input_json={archive}/camera_traps.json", f"--image_root={archive}/images"]
            if kind == "camera-traps"
            else [f"--citycam_root={archive}"]
        )
        splits = archive / "splits.json"
        if not splits.exists():
            splits.write_text(json.dumps(traffic_splits(archive)))
        flags += [f"--splits_file={splits}", f"--output_dir={self.folder}/examples"]
        self.run("examples", cli("examples", *flags), self.folder / "examples/manifest.json")
        self._train(
            "detector",
            [f"--pipeline_config_path={ROOT}/configs/simulation/faster_rcnn.yaml"],
            self.args.detector_steps,
            [f"task.train_data.input_path={self.folder}/examples/pretrain-*"],
        )

    def size(self) -> list[str]:
        """Flags with the number of cameras and of days."""
        args = self.args
        if self.kind == "traffic":
            return [f"--cameras={args.traffic_cameras}", f"--days={args.traffic_days}"]
        return [f"--cameras={args.cameras}", f"--days={args.days}"]

    def extractor(self, bank: str = "one_box") -> pathlib.Path:
        """The frozen extractor of the single-frame detector, with as many boxes as a bank keeps."""
        boxes = 8 if bank == EIGHT else 1
        folder = self.folder / ("extractor" if boxes == 1 else f"extractor_{boxes}")
        flags = [f"--model_dir={self.folder}/detector", f"--output_dir={folder}"]
        flags += [f"--max_boxes={boxes}"]
        self.run(folder.name, cli("extractor", *flags), folder / "extractor.json")
        return folder

    def bank(self, name: str, extractor: pathlib.Path) -> pathlib.Path:
        """The bank of that name, made with this extractor."""
        folder, whole = self.folder / f"bank_{name}", self.folder / "bank_one_box"
        if name in CONVERTED:
            merge = cli("bank", "merge", folder, whole, f"--dtype={name}")
            self.run(f"bank_{name}", merge, folder / "manifest.json")
            return folder
        if name in ("half", "quarter") and whole.exists() and not folder.exists():
            shutil.copytree(whole, folder)  # what was extracted is not extracted again
            (folder / "manifest.json").unlink()
        examples = ",".join(f"{self.folder}/examples/{split}-*" for split in ("train", "val"))
        flags = [f"--examples={examples}", f"--extractor={extractor}"]
        flags += [f"--output_dir={folder}", *BANKS[name]]
        self.run(f"bank_{name}", cli("remember", *flags), folder / "manifest.json")
        return folder

    def row(self, row: Row, bank: pathlib.Path | None) -> dict:
        """Trains and evaluates a row; returns its metrics."""
        configs = [f"--pipeline_config_path={ROOT}/configs/simulation/context_rcnn.yaml"]
        configs += [f"--config_file={ROOT}/configs/table1/{row.config}.yaml"]
        if row.clips:
            configs += [f"--config_file={ROOT}/configs/simulation/clips.yaml"]
        settings = [f"task.init_checkpoint={self.folder}/detector"]
        settings += [f"task.memory.bank={bank or ''}"]
        if row.weights:
            source = self.folder / "rows" / row.weights
            steps = [f"--checkpoint_dir={source}", "--mode=eval"]
            return self._train(f"rows/{row.name}", configs + steps, self.args.steps, settings)
        return self._train(f"rows/{row.name}", configs, self.args.steps, settings)

    def time_differences(self, row: str) -> list[int]:
        """Seconds between keyframes and the memories that a row's detector attends to most."""
        found = self.folder / "rows" / row / "explained.jsonl"
        flags = [f"--model_dir={found.parent}", f"--output={found}", "--count=500", "--top=50"]
        self.run(f"explain_{row}", cli("explain", *flags), found)
        images = [json.loads(line) for line in found.read_text().splitlines()]
        return [
            entry["seconds_apart"]
            for image in images
            for detection in image["detections"]
            for entry in detection["attention"]
            if entry["seconds_apart"] is not None
        ]

    def _train(
        self, name: str, flags: list[str], steps: int, settings: list[str] | None = None
    ) -> dict:
        examples = self.folder / "examples"
        overrides = [
            f"task.train_data.input_path={examples}/train-*",
            f"task.validation_data.input_path={examples}/val-*",
            "task.validation_data.sample_1_of_n=2",
            "task.model.boxes.samples=16",
            *(settings or []),
        ]
        return self.train(name, flags, steps, overrides)


class BurstStudy(CameraStudy):
    """One seed whose detector is trained once, and whose rows learn on what it sees."""

    def prepare(self) -> None:
        """Also stores what the detector sees in the images of the rows."""
        super().prepare()
        command = cli("features", f"--model_dir={self.folder}/detector", "--mirrored")
        command += [f"--examples={self.folder}/examples/[tv]*-*"]
        command += [f"--output_dir={self.folder}/store", "--batch_size=16"]
        self.run("features", command, self.folder / "store/manifest.json")

    def _train(
        self, name: str, flags: list[str], steps: int, settings: list[str] | None = None
    ) -> dict:
        if name == "detector":
            settings = [*(settings or []), f"{study.RATE}.values=[0.02,0.002,0.0002]"]
            return super()._train(name, flags, steps, settings)
        labels, rate = self.folder / "store" / "labels", self.args.rate
        overrides = [
            *(settings or []),
            "task.init_checkpoint_modules=detector",
            "task.learn_on=features",
            f"task.features={self.folder}/store",
            f"task.train_data.input_path={labels}/train-*",
            f"task.validation_data.input_path={labels}/val-*",
            f"{study.RATE}.values=[{rate},{rate / 10},{rate / 100}]",
        ]
        return self.train(name, flags, steps, overrides)


def traffic_splits(archive: pathlib.Path) -> dict[str, list[str]]:
    """Half of the training cameras for the detector that comes first; the archive's own test."""
    own = citycam.read_citycam_splits(archive).cameras
    train = sorted(own["train"])
    half = len(train) // 2
    return {"pretrain": train[:half], "train": train[half:], "val": sorted(own["test"])}


def run_study(
    cameras: CameraStudy, tables: dict[str, list[Row]], only: set[str], elsewhere
) -> study.Results:
    """Runs the rows of these tables; returns metrics by row name."""
    rows = study.chosen(tables, only)
    if cameras.args.finished:
        return cameras.finished(list(rows))
    if not rows:
        return {}
    cameras.prepare()
    results = {}
    for name, row in rows.items():
        bank = None
        if row.bank:
            extractor = elsewhere() if row.bank == "elsewhere" else cameras.extractor(row.bank)
            bank = cameras.bank(row.bank, extractor)
        results[name] = cameras.row(row, bank)
    return results


def draw(
    cameras: CameraStudy, results: dict[str, dict], folder: pathlib.Path
) -> list[pathlib.Path]:
    """The paper's figures 5, 6 and 7 of one seed, as far as their rows were run."""
    folder.mkdir(parents=True, exist_ok=True)
    single, month = results.get(SINGLE.name), results.get(MONTH.name)
    charts = {}
    if single and month:
        before, after = single["per_class"], month["per_class"]
        gains = [(name, before[name]["AP@.5"], after[name]["AP@.5"]) for name in after]
        charts["classes"] = figures.class_gains(gains)
    runs = {
        title: {recall: row and row["detections"] for recall, row in empties.items()}
        for title, name in FALSE_POSITIVES.items()
        if name in results and (empties := results[name]["false_positives_per_1000_empty_images"])
    }
    if runs:
        charts["empties"] = figures.false_positives(runs)
    times = {
        title: cameras.time_differences(name) for title, name in TIMES.items() if name in results
    }
    if times:
        charts["times"] = figures.time_differences(times)
    for name, figure in charts.items():
        figures.save(figure, str(folder / f"{name}.svg"))
    return [folder / f"{name}.svg" for name in charts]


def false_positives(metrics: dict) -> float | None:
    """Of 1000 empty images, at the score that finds half of the objects."""
    row = metrics["false_positives_per_1000_empty_images"].get("0.5")
    return row and row["detections"]


MEASURES = {"AR@1": lambda metrics: 100 * metrics["AR@1"], "false positives": false_positives}
PAPER = "paper, on real cameras"


def as_markdown(results: dict[str, list[study.Results]]) -> dict[str, str]:
    """The tables of each kind of cameras that was run.

    Those of bursts also tell the boxes that get their class by what they show.
    """
    of_bursts = MEASURES | videos.by_evidence()
    kinds = (
        ("camera-traps", TRAPS, MEASURES),
        ("traffic", TRAFFIC, MEASURES),
        ("bursts", LEARNED, of_bursts),
    )
    return {
        kind: study.as_markdown(tables, results[kind], SINGLE, measures, PAPER)
        for kind, tables, measures in kinds
        if any(results[kind])
    }


def main() -> None:
    parser = study.parser_of(__doc__, "tables")
    parser.add_argument("--cameras", type=int, default=300, help="camera traps (default: 300)")
    parser.add_argument("--days", type=int, default=30, help="days of camera traps (default: 30)")
    parser.add_argument(
        "--traffic_cameras", type=int, default=200, help="traffic cameras (default: 200)"
    )
    parser.add_argument(
        "--traffic_days", type=int, default=6, help="days of traffic cameras (default: 6)"
    )
    parser.add_argument(
        "--kinds",
        default="camera-traps,traffic",
        help="kinds of cameras, of camera-traps, traffic and bursts (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=0.03,
        help="learning rate of the rows that learn on features (default: .03)",
    )
    args, only = study.parse(parser, TRAPS, LEARNED, TRAFFIC)
    results: dict[str, list] = {"camera-traps": [], "traffic": [], "bursts": []}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        traffic = CameraStudy(args.output_dir, "traffic", seed, args)

        def elsewhere(traffic=traffic):
            traffic.prepare()
            return traffic.extractor()

        def many_others(seed=seed):
            others = CameraStudy(args.output_dir, "elsewhere", seed, args)
            others.prepare()
            return others.extractor()

        traps = CameraStudy(args.output_dir, "camera-traps", seed, args)
        if "camera-traps" in args.kinds:
            results["camera-traps"].append(run_study(traps, TRAPS, only, elsewhere))
        if "bursts" in args.kinds:
            bursts = BurstStudy(args.output_dir, "bursts", seed, args)
            results["bursts"].append(run_study(bursts, LEARNED, only, many_others))
        if "traffic" in args.kinds:
            results["traffic"].append(run_study(traffic, TRAFFIC, only, elsewhere))
        (args.output_dir / "tables.json").write_text(json.dumps(results, indent=1))
        texts = as_markdown(results)
        print("".join(texts.values()), flush=True)
    if "camera-traps" in texts:
        traps = CameraStudy(args.output_dir, "camera-traps", args.first_seed, args)
        folder = DOCS.parent / "figures" if args.write_docs else args.output_dir / "figures"
        for path in draw(traps, results["camera-traps"][0], folder):
            caption = CAPTIONS[path.stem]
            texts["camera-traps"] += f"\n![{caption}](figures/{path.name})\n\n*{caption}*\n"
    if args.write_docs:
        for kind, text in texts.items():
            study.write_docs(text, f"{kind} tables")


if __name__ == "__main__":
    main()
