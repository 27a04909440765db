r"""The detectors that memories on videos stand on, from the same stills, over seeds.

    python -m benchmarks.studies.detectors --output_dir=warps_tables --seeds=3

R-FCN (Memory Warps), the same with bins of whole cells, as in its paper, and Faster R-CNN on a
dilated conv5 (STMN, MEGA) learn for as many steps of as many stills, each at its own rate, and are
evaluated on videos that none has seen. Data and the R-FCN are those of
`benchmarks.studies.memory_warps`: given its folder, only the others are trained.
Writes <output_dir>/detectors.json and, with --write_docs, puts the table into docs/results.md.
"""

import dataclasses
import pathlib

from benchmarks.studies import memory_warps, study, videos
from benchmarks.studies.memory_warps import DETECTOR
from benchmarks.studies.study import RATE, ROOT
from benchmarks.studies.videos import VideoStudy


@dataclasses.dataclass(frozen=True)
class Row:
    """A detector, and its folder."""

    title: str
    name: str
    flags: list[str]
    settings: tuple[str, ...]
    paper: str = ""


RFCN = Row("R-FCN", "detector", DETECTOR.flags, DETECTOR.settings)
CELLS = Row(
    "R-FCN, bins of whole cells",
    "detector_cells",
    DETECTOR.flags,
    (*DETECTOR.settings, "task.model.boxes.bin_edges=cells"),
)
DC5 = Row(
    "Faster R-CNN, dilated conv5",
    "detector_dc5",
    [
        f"--pipeline_config_path={ROOT}/configs/simulation/stmn.yaml",
        f"--config_file={ROOT}/configs/stmn/single_frame.yaml",
    ],
    (
        "task.train_data.global_batch_size=16",
        "task.validation_data.global_batch_size=16",
        f"{RATE}.values=[0.02,0.002,0.0002]",
    ),
)
TABLES = {"Detectors of the video papers, from stills alone": [RFCN, CELLS, DC5]}

MEASURES = {"mAP@.75": lambda metrics: 100 * metrics["mAP@.75"], **videos.measures()}


class DetectorsStudy(VideoStudy):
    """One seed: its stills, its videos and its detectors."""

    single_row = DETECTOR
    filmed = memory_warps.WarpsStudy.filmed

    def row(self, row: Row) -> dict:
        """Trains a detector on stills and evaluates it on videos; returns its metrics."""
        settings = ["task.init_checkpoint=''", *row.settings]
        return self.train_on(row.name, row.flags, self.args.detector_steps, settings, "stills")

    def file_of(self, row: str) -> pathlib.Path:
        return self.metrics(row, self.args.detector_steps)


def run_study(seed: DetectorsStudy, only: set[str]) -> study.Results:
    """Trains the detectors; returns metrics by row name."""
    rows = study.chosen(TABLES, only)
    if seed.args.finished:
        return seed.finished(list(rows))
    seed.prepare()
    return {name: seed.row(row) for name, row in rows.items()}


def main() -> None:
    parser = study.parser_of(__doc__, "warps_tables")
    videos.add_video_flags(parser, videos=240, frames=40)
    parser.set_defaults(stills=1000, val_fraction=0.18, detector_steps=2500)
    args, only = study.parse(parser, TABLES)
    videos.run_seeds(
        args,
        "detectors",
        lambda folder, seed: run_study(DetectorsStudy(folder, seed, args), only),
        lambda results: study.as_markdown(TABLES, results, RFCN, MEASURES),
        "Detectors table",
    )


if __name__ == "__main__":
    main()
