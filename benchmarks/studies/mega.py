r"""The rows of MEGA's tables on simulated videos, over seeds.

    python -m benchmarks.studies.mega --output_dir=video_tables --seeds=3
    python -m benchmarks.studies.mega --output_dir=video_tables --only=single_frame,mega

Each seed has its own videos, weights and order. A single-frame detector is trained first, on stills
of other places, and stores what it sees in the videos (`context-rcnn features`). Every row then
learns on that with the same keyframes, steps and rate, the single-frame row too, and is evaluated
on videos that none has seen. What is finished is not run again. Writes <output_dir>/mega.json
and, with --write_docs, puts the tables into docs/results.md.
"""

import dataclasses

from benchmarks.studies import study, videos
from benchmarks.studies.study import ROOT, cli
from benchmarks.studies.videos import VideoStudy


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
KEYFRAMES = 40  # of a video: all of its frames teach
SINGLE = Row(
    "single frame",
    "single_frame",
    "75.4",
    settings=("task.validation_data.global_batch_size=16",),
)
DETECTOR = dataclasses.replace(
    SINGLE,
    settings=(
        *SINGLE.settings,
        "task.train_data.global_batch_size=16",
        f"{study.RATE}.values=[0.02,0.002]",
    ),
)
FULL = Row("MEGA", "mega", "82.9")
LINKED = (
    "task.evaluation.post_processing.type=seq_nms",
    "task.model.detections.nms_iou=0.9",
    "task.model.detections.count=100",
)
BLR = (
    "task.evaluation.post_processing.type=seq_nms",
    "task.evaluation.post_processing.seq_nms.nms_iou=1",
)
TABLES = {
    "Base model and MEGA (Table 3)": [
        SINGLE,
        Row("own frame only", "own_frame", "-"),
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
        Row("MEGA", "mega_linked", "-", "mega", LINKED, "mega"),
    ],
    "Re-scored along the best paths, BLR (Table 2)": [
        SINGLE,
        Row(
            "single frame, BLR",
            "single_frame_blr",
            "-",
            "single_frame",
            (*SINGLE.settings, *BLR),
            "single_frame",
        ),
        FULL,
        Row("MEGA, BLR", "mega_blr", "84.5", "blr", weights="mega"),
        Row("no global stage, BLR", "no_global_blr", "-", "no_global", BLR, "no_global"),
    ],
}


class MegaStudy(VideoStudy):
    """One seed: its videos, its detector, what the detector sees, and its rows."""

    single_row = DETECTOR
    drops = 1
    # As videos of herds are, and unlike those of the other studies: what attends by looks alone
    # cannot tell look-alikes in one video apart (`mega_rivals`).
    filmed = ("--crossing_fraction=0", "--one_species=1")

    def prepare(self) -> None:
        """Also stores what the detector sees in the videos of the rows."""
        super().prepare()
        command = cli("features", f"--model_dir={self.folder}/detector", "--mirrored")
        command += [f"--examples={self.folder}/videos"]
        command += [f"--output_dir={self.folder}/store", "--batch_size=16"]
        self.run("features", command, self.folder / "store/manifest.json")

    def row(self, row: Row) -> dict:
        """Learns a row on what the detector saw, and evaluates it; returns its metrics."""
        steps, labels = self.args.steps, self.folder / "store" / "labels"
        settings = [
            f"task.init_checkpoint={self.folder}/detector",
            "task.learn_on=features",
            f"task.features={self.folder}/store",
            "task.train_data.global_batch_size=16",  # keyframes, of all rows
            f"{MEGA}.training.keyframes={KEYFRAMES}",
            f"{study.RATE}.values=[{self.args.rate},{self.args.rate / 10}]",
            f"task.train_data.input_path={labels}/train-*",
            f"task.validation_data.input_path={labels}/val-*",
        ]
        flags = row.flags
        if row.weights:
            flags += [f"--checkpoint_dir={self.folder}/rows/{row.weights}", "--mode=eval"]
        return self.train(f"rows/{row.name}", flags, steps, [*settings, *row.settings])


def run_study(seed: MegaStudy, only: set[str]) -> study.Results:
    """Runs the rows; returns metrics by row name."""
    rows = study.chosen(TABLES, only)
    if seed.args.finished:
        return seed.finished(list(rows))
    seed.prepare()
    return {name: seed.row(row) for name, row in rows.items()}


def main() -> None:
    parser = study.parser_of(__doc__, "video_tables")
    videos.add_video_flags(parser, videos=360, frames=40)
    parser.add_argument(
        "--rate", type=float, default=0.03, help="learning rate of the rows (default: .03)"
    )
    parser.set_defaults(stills=1000, val_fraction=0.18, detector_steps=4000, steps=4000)
    args, only = study.parse(parser, TABLES)
    paper = "paper, on ImageNet VID"
    videos.run_seeds(
        args,
        "mega",
        lambda folder, seed: run_study(MegaStudy(folder, seed, args), only),
        lambda results: study.as_markdown(TABLES, results, SINGLE, videos.measures(), paper),
        "video tables",
    )


if __name__ == "__main__":
    main()
