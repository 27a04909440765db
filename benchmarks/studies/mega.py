r"""The rows of MEGA's tables on simulated videos, over seeds.

    python -m benchmarks.studies.mega --output_dir=video_tables --seeds=3
    python -m benchmarks.studies.mega --output_dir=video_tables --only=single_frame,mega

Each seed has its own videos, weights and order. A single-frame detector is trained first, on videos
of its own; every row then goes on from it on other videos for as many steps, the single-frame row
too, and is evaluated on videos that none has seen. What is finished is not run again. Writes
<output_dir>/tables.json and, with --write_docs, puts the tables into docs/results.md.
"""

import dataclasses
import json
import pathlib
from typing import Any

from benchmarks.studies import study
from benchmarks.studies.study import ROOT, cli

SPEEDS = ("slow", "medium", "fast")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: a file of configs/mega, or none, and the paper's mAP@.5."""

    title: str
    name: str
    paper: str
    config: str = ""  # by default the name
    settings: tuple[str, ...] = ()  # at simulation size
    weights: str = ""  # of the row whose detector it takes, in place of training its own

    @property
    def flags(self) -> list[str]:
        flags = [f"--pipeline_config_path={ROOT}/configs/simulation/mega.yaml"]
        config = self.config or self.name
        return flags + ([f"--config_file={ROOT}/configs/mega/{config}.yaml"] * (config != "mega"))


MEGA = "task.temporal.mega"
SINGLE = Row(
    "single frame",
    "single_frame",
    "75.4",
    settings=(
        "task.validation_data.global_batch_size=16",
        "task.train_data.global_batch_size=16",
    ),
)
FULL = Row("MEGA", "mega", "82.9")
LINKED = (
    "task.evaluation.post_processing.type=seq_nms",
    "task.model.detections.nms_iou=0.9",
    "task.model.detections.count=100",
)
TABLES = {
    "Base model and MEGA (Table 3)": [
        SINGLE,
        Row("base model", "base", "81.4"),
        Row(
            "base model, larger local range",
            "larger_local_range",
            "81.9",
            settings=(f"{MEGA}.local_frames=9",),
        ),
        FULL,
    ],
    "Global and local aggregation (Table 4)": [
        FULL,
        Row("no global stage", "no_global", "81.3"),
        Row("no global stage, N_l 4", "no_global_4", "81.6"),
        Row("no local stage", "no_local", "81.8", settings=(f"{MEGA}.global_frames=9",)),
    ],
    "Other ways (section 4.5), and the authors' code": [
        FULL,
        Row("online", "online", "81.9"),
        Row("location in the global stage", "global_location", "82.5"),
        Row(
            "as released",
            "released",
            "82.9",
            settings=(f"{MEGA}.reference_boxes=12", f"{MEGA}.kept_boxes=4"),
        ),
    ],
    "Linked afterwards by Seq-NMS": [
        Row(
            "single frame",
            "single_frame_linked",
            "-",
            "single_frame",
            (*SINGLE.settings, *LINKED),
            "single_frame",
        ),
        Row("MEGA", "mega_linked", "84.5, by BLR", "mega", LINKED, "mega"),
    ],
}


class VideoStudy(study.Study):
    """One seed: its videos, its detector and its rows."""

    single_row: Any = SINGLE  # how the detector is trained that comes first

    def prepare(self) -> None:
        """Simulates the videos, writes examples and trains the single-frame detector."""
        archive, args = self.folder / "archive", self.args
        simulate = ["simulate", "videos", archive, f"--videos={args.videos}"]
        simulate += [f"--frames={args.frames}", f"--seed={self.seed}", "--workers=2", "--overwrite"]
        self.run("simulate", cli(*simulate), archive / "simulation.json")
        splits = self.folder / "splits.json"
        splits.write_text(json.dumps(split_videos(archive)))
        flags = [f"--imagenet_vid_root={archive}", f"--splits_file={splits}"]
        flags += [f"--output_dir={self.folder}/examples"]
        self.run("examples", cli("examples", *flags), self.folder / "examples/manifest.json")
        single = self.single_row
        settings = ["task.init_checkpoint=''", *single.settings]
        self.train_on("detector", single.flags, self.args.detector_steps, settings, "pretrain")

    def row(self, row: Row) -> dict:
        """Trains and evaluates a row; returns its metrics."""
        settings = [f"task.init_checkpoint={self.folder}/detector", *row.settings]
        flags = row.flags
        if row.weights:
            flags += [f"--checkpoint_dir={self.folder}/rows/{row.weights}", "--mode=eval"]
        settings.append("task.train_data.global_batch_size=16")  # keyframes, of all rows
        return self.train_on(f"rows/{row.name}", flags, self.args.steps, settings, "train")

    def train_on(
        self, name: str, flags: list[str], steps: int, settings: list[str], split: str
    ) -> dict:
        """Trains on a part of the videos, evaluates on the archive's own val; returns metrics."""
        examples = self.folder / "examples"
        inputs = [
            f"task.train_data.input_path={examples}/{split}-*",
            f"task.validation_data.input_path={examples}/val-*",
        ]
        return self.train(name, flags, steps, inputs + settings)


def split_videos(archive: pathlib.Path) -> dict[str, list[str]]:
    """A third of the training videos for the detector that comes first; the archive's own val."""
    data = archive / "Data" / "VID"
    train = sorted(f"train/{path.name}" for path in data.glob("train/*/*"))
    third = len(train) // 3
    val = sorted(f"val/{path.name}" for path in data.glob("val/*"))
    return {"pretrain": train[:third], "train": train[third:], "val": val}


def run_study(videos: VideoStudy, only: set[str]) -> study.Results:
    """Runs the rows; returns metrics by row name."""
    rows = study.chosen(TABLES, only)
    if videos.args.finished:
        return videos.finished(list(rows))
    videos.prepare()
    return {name: videos.row(row) for name, row in rows.items()}


def main() -> None:
    parser = study.parser_of(__doc__, "video_tables")
    parser.add_argument("--videos", type=int, default=600, help="number of videos (default: 600)")
    parser.add_argument("--frames", type=int, default=16, help="frames of a video (default: 16)")
    args, only = study.parse(parser, TABLES)
    measures = {
        speed: lambda metrics, speed=speed: 100 * metrics["by_speed"][speed]["mAP@.5"]
        for speed in SPEEDS
    }
    results, text = [], ""
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        results.append(run_study(VideoStudy(args.output_dir / f"videos-{seed}", seed, args), only))
        (args.output_dir / "tables.json").write_text(json.dumps(results, indent=1))
        text = study.as_markdown(TABLES, results, SINGLE, measures, "paper, on ImageNet VID")
        print(text, flush=True)
    if args.write_docs:
        study.write_docs(text, "video tables")


if __name__ == "__main__":
    main()
