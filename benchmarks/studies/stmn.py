r"""The rows of STMN's tables on simulated videos, over seeds.

    python -m benchmarks.studies.stmn --output_dir=stmn_tables --seeds=3
    python -m benchmarks.studies.stmn --output_dir=stmn_tables --only=single_frame,stmn

Each seed has its own videos, weights and order. A still-image detector with STMN's neck is trained
first, on stills of other places, long enough to name some nine of ten clear boxes right. Every row
then goes on from it on videos, on as many frames, the still-image row too, and is evaluated on
videos that none has seen. The backbone and the first stage keep what stills taught them, so that
rows differ by their memory alone.

The videos are of herds: all animals of one are of the same species, and hide what tells it for one
to eight frames. Cameras and animals move by less than a cell from frame to frame: a map of 12x16
cells is too coarse for the memory to follow more (`benchmarks.alignment`). `--enlarged=2` gives
maps of 24x32 cells, as fine as the paper's, for four times the work. Windows, ensembles and
linkings are evaluations of rows that were trained before. What is finished is not run again. Writes
<output_dir>/stmn.json and, with --write_docs, puts the tables into docs/results.md.
"""

import dataclasses

from benchmarks.studies import study, videos
from benchmarks.studies.study import RATE, ROOT
from benchmarks.studies.videos import VideoStudy

STMN = "task.temporal.stmn"
FRAMES = 5  # of a training sequence of `stmn_tiny`
LOOSE = ("task.model.detections.nms_iou=0.9", "task.model.detections.count=100")
PROCESS = "task.evaluation.post_processing.type"
STILL_LOOSE = "still_loose"


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: a file of configs/stmn, or none, and what the paper has for it."""

    title: str
    name: str
    paper: str = "-"
    config: str = ""
    settings: tuple[str, ...] = ()  # at simulation size
    weights: str = ""  # of the row that it evaluates, in place of training its own
    ensemble: bool = False  # joined with the still-image detector that all started from

    @property
    def flags(self) -> list[str]:
        flags = [f"--pipeline_config_path={ROOT}/configs/simulation/stmn.yaml"]
        return flags + (
            [f"--config_file={ROOT}/configs/stmn/{self.config}.yaml"] * bool(self.config)
        )


def evaluated(
    title: str, name: str, paper: str = "-", *settings: str, of: str = "stmn", **more
) -> Row:
    """An evaluation of another row."""
    return Row(title, name, paper, settings=settings, weights=of, **more)


SINGLE = Row(
    "still image",
    "single_frame",
    "73.4",
    "single_frame",
    # As many frames as the sequences of the other rows have.
    ("task.train_data.global_batch_size=20", "task.validation_data.global_batch_size=16"),
)
FULL = Row("STMN", "stmn")
NO_FLIP = "no_augmentation"
TABLES = {
    "STMN, linked and joined with the still-image detector (Table 1)": [
        SINGLE,
        FULL,
        evaluated(
            "still image, linked",
            "single_frame_linked",
            "-",
            f"{PROCESS}=seq_nms",
            *LOOSE,
            of="single_frame",
            config="single_frame",
        ),
        evaluated("STMN, linked", "stmn_linked", "-", f"{PROCESS}=seq_nms", *LOOSE),
        evaluated("STMN, joined", "stmn_joined", "-", f"{PROCESS}=nms", *LOOSE, ensemble=True),
        evaluated(
            "STMN, joined and linked",
            "stmn_joined_linked",
            "80.5",
            f"{PROCESS}=seq_nms",
            *LOOSE,
            ensemble=True,
        ),
        evaluated(
            "STMN, joined and linked as released",
            "stmn_joined_viterbi",
            "80.5",
            f"{PROCESS}=viterbi",
            *LOOSE,
            ensemble=True,
        ),
    ],
    "What the memory is made of (Table 2, without flips)": [
        Row("STMN", "no_flip", "50.7", NO_FLIP),
        Row("no MatchTrans", "no_match_trans", "49.0", "no_match_trans"),
        Row("ConvGRU", "conv_gru", "48.0", "conv_gru"),
        Row("ConvGRU, fresh head", "conv_gru_fresh", "44.8", "conv_gru_fresh"),
    ],
    "Length of the window in evaluation (section 4.3; 5 frames in training)": [
        evaluated("1 frame", "window_1", "-", f"{STMN}.window=1"),
        evaluated("3 frames", "window_3", "-1.9 (3 of 7)", f"{STMN}.window=3"),
        dataclasses.replace(FULL, title="5 frames", paper="0 (7 of 7)"),
        evaluated("7 frames", "window_7", "+0.7 (11 of 7)", f"{STMN}.window=7"),
        evaluated("9 frames", "window_9", "+1.0 (15 of 7)", f"{STMN}.window=9"),
    ],
    "Choices that the paper leaves open, and the authors' code": [
        FULL,
        evaluated("the middle of the window alone", "centre", "-", f"{STMN}.merge=centre"),
        Row("no MatchTrans", "unmatched", "-", "", (f"{STMN}.match_trans=false",)),
        Row("MatchTrans within 3x3 cells", "reach_1", "-", "", (f"{STMN}.reach=1",)),
        Row("MatchTrans by cosines^32", "sharp", "-", "", (f"{STMN}.sharpness=32",)),
        Row("a memory that starts at zero", "zeros", "-", "zeros"),
        Row("nothing that comes later", "forward", "-", "forward"),
        Row(
            "as released",
            "released",
            "-",
            "released",
            (
                f"{STMN}.training.frames={FRAMES}",
                "trainer.optimizer_config.learning_rate.stepwise.values=[0.001,0.0001,0.00001]",
            ),
        ),
    ],
}


class StmnStudy(VideoStudy):
    """One seed: its videos, its detector and its rows."""

    single_row = SINGLE
    filmed = (
        *("--pan=0.25", "--jitter=0.2", "--fastest=1"),
        *("--scales=flicker,short", "--crossing_fraction=0", "--one_species=1"),
    )

    def prepare(self) -> None:
        """Trains the first detector at a rate of its own."""
        rate = self.args.detector_rate
        values = f"{RATE}.values=[{rate},{rate / 10},{rate / 100}]"
        self.single_row = dataclasses.replace(SINGLE, settings=(*SINGLE.settings, values))
        super().prepare()

    def train_on(
        self, name: str, flags: list[str], steps: int, settings: list[str], *args, **more
    ) -> dict:
        """The same, with images of the size that is asked for."""
        by, sides = self.args.enlarged, (192, 256)
        if by != 1:
            height, width = (round(by * side) for side in sides)
            settings = [
                f"task.model.image_size=[{height},{width}]",
                f"task.model.anchors.size={96.0 * by}",
                *settings,
            ]
        return super().train_on(name, flags, steps, settings, *args, **more)

    def row(self, row: Row) -> dict:
        """Trains and evaluates a row, or evaluates another's; returns its metrics."""
        rate = self.args.rate
        settings = [f"task.init_checkpoint={self.folder}/detector", videos.FROZEN]
        settings += [f"{RATE}.values=[{rate},{rate / 10},{rate / 100}]", *row.settings]
        flags = row.flags
        if row.weights:
            flags += [f"--checkpoint_dir={self.folder}/rows/{row.weights}", "--mode=eval"]
        if row.ensemble:
            settings.append(f"task.evaluation.ensemble={self._still()}")
        return self.train_on(f"rows/{row.name}", flags, self.args.steps, settings)

    def _still(self) -> str:
        """The folder with the detections of the first detector before suppression."""
        steps = self.args.detector_steps
        flags = [*SINGLE.flags, f"--checkpoint_dir={self.folder}/detector", "--mode=eval"]
        settings = ["task.init_checkpoint=''", SINGLE.settings[1], *LOOSE]
        self.train_on(STILL_LOOSE, flags, steps, settings, "stills")
        return str(self.metrics(STILL_LOOSE, steps).parent)


def run_study(seed: StmnStudy, only: set[str]) -> study.Results:
    """Runs the rows, trained ones first; returns metrics by row name."""
    rows = study.chosen(TABLES, only)
    if seed.args.finished:
        return seed.finished(list(rows))
    needed = {row.weights for row in rows.values() if row.weights} - set(rows)
    every = study.chosen(TABLES, set())
    seed.prepare()
    for name in sorted(needed):
        seed.row(every[name])
    order = sorted(rows.values(), key=lambda row: bool(row.weights))
    return {row.name: seed.row(row) for row in order}


def main() -> None:
    parser = study.parser_of(__doc__, "stmn_tables")
    videos.add_video_flags(parser, videos=240, frames=40)
    parser.add_argument(
        "--rate", type=float, default=0.003, help="learning rate of the rows (default: .003)"
    )
    parser.add_argument(
        "--detector_rate",
        type=float,
        default=0.02,
        help="learning rate of the first detector (default: .02)",
    )
    parser.add_argument(
        "--enlarged",
        type=float,
        default=1.0,
        help="factor on the size that the models see images in (default: 1)",
    )
    parser.set_defaults(steps=700, stills=1000, val_fraction=0.2, detector_steps=4000)
    args, only = study.parse(parser, TABLES)
    paper = "paper, on ImageNet VID"
    videos.run_seeds(
        args,
        "stmn",
        lambda folder, seed: run_study(StmnStudy(folder, seed, args), only),
        lambda results: study.as_markdown(TABLES, results, SINGLE, videos.measures(), paper),
        "STMN tables",
    )


if __name__ == "__main__":
    main()
