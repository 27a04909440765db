"""What studies on simulated videos have in common: videos, a first detector, measures."""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any

from benchmarks.studies import study
from benchmarks.studies.study import cli

SPEEDS = ("slow", "medium", "fast")
EVIDENCE = {
    "clear": "clear boxes right",
    "seen elsewhere": "hidden, seen elsewhere",
    "hidden throughout": "hidden throughout",
}
# Two pairs of look-alikes; nearly all of them show themselves at some time.
SIMULATED = ("--species=4", "--never_fraction=.05")


class VideoStudy(study.Study):
    """One seed: its videos and its detector."""

    single_row: Any  # how the detector is trained that comes first

    def prepare(self) -> None:
        """Simulates the videos, writes examples and trains the single-frame detector."""
        archive, args = self.folder / "archive", self.args
        simulate = ["simulate", "videos", archive, f"--videos={args.videos}", *SIMULATED]
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


def add_video_flags(parser: argparse.ArgumentParser, videos: int, frames: int) -> None:
    """The flags of all studies on videos, with their defaults."""
    parser.add_argument(
        "--videos", type=int, default=videos, help=f"number of videos (default: {videos})"
    )
    parser.add_argument(
        "--frames", default=str(frames), help=f"frames of a video, or a range (default: {frames})"
    )


def measures() -> dict[str, Callable[[dict], float | None]]:
    """The columns of tables on videos: mAP@.5 by speed, and which boxes get their class."""

    def by(group: str, name: str, value: str) -> Callable[[dict], float | None]:
        def measure(metrics: dict) -> float | None:
            found = (metrics.get(group) or {}).get(name, {}).get(value)
            return None if found is None else 100 * found

        return measure

    columns = {speed: by("by_speed", speed, "mAP@.5") for speed in SPEEDS}
    return columns | {title: by("by_evidence", name, "right") for name, title in EVIDENCE.items()}
