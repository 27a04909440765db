"""What studies on simulated videos have in common: videos, a first detector, measures, seeds."""

import argparse
import json
import pathlib
import shlex
from collections.abc import Callable, Sequence
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
# What a detector learns from first: few frames each of many places, mostly clear, as photographs
# are. (The papers add ImageNet DET's to the videos.)
STILLS = ("--frames=6", "--clear_fraction=.6", "--val_fraction=.01")
# What stills taught stays, so that rows differ by their memory alone.
FROZEN = "task.freeze=[backbone,first_stage]"


class VideoStudy(study.Study):
    """One seed: its videos and its detector."""

    single_row: Any  # how the detector is trained that comes first
    filmed: tuple[str, ...] = ()  # how the videos differ from those of other studies

    def prepare(self) -> None:
        """Simulates stills and videos, writes examples and trains the single-frame detector."""
        args = self.args
        self.simulate("stills", f"--videos={args.stills}", f"--seed={1000 + self.seed}", *STILLS)
        videos = (f"--videos={args.videos}", f"--frames={args.frames}", f"--seed={self.seed}")
        videos += (f"--val_fraction={args.val_fraction}", *self.filmed)
        self.simulate("videos", *videos, *shlex.split(args.video_flags))
        single = self.single_row
        settings = ["task.init_checkpoint=''", *single.settings]
        self.train_on("detector", single.flags, args.detector_steps, settings, "stills")

    def simulate(self, name: str, *flags: str) -> None:
        """Simulates videos and writes their examples."""
        archive, examples = self.folder / f"{name}_archive", self.folder / name
        simulate = ["simulate", "videos", archive, *SIMULATED, *flags, "--workers=2", "--overwrite"]
        self.run(f"simulate_{name}", cli(*simulate), archive / "simulation.json")
        command = cli("examples", f"--imagenet_vid_root={archive}", f"--output_dir={examples}")
        self.run(f"examples_{name}", command, examples / "manifest.json")

    def train_on(
        self,
        name: str,
        flags: list[str],
        steps: int,
        settings: list[str],
        source: str = "videos",
        held_out: str = "videos",
    ) -> dict:
        """Trains on videos or stills, evaluates on videos held out; returns metrics."""
        inputs = [
            f"task.train_data.input_path={self.folder}/{source}/train-*",
            f"task.validation_data.input_path={self.folder}/{held_out}/val-*",
        ]
        return self.train(name, flags, steps, inputs + settings)


def add_video_flags(parser: argparse.ArgumentParser, videos: int, frames: int) -> None:
    """The flags of all studies on videos, with their defaults."""
    parser.add_argument(
        "--stills",
        type=int,
        default=600,
        help="number of places that the first detector sees, in six frames each "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--videos", type=int, default=videos, help=f"number of videos (default: {videos})"
    )
    parser.add_argument(
        "--val_fraction",
        type=float,
        default=0.34,
        help="share of the videos that rows are measured on (default: %(default)s)",
    )
    parser.add_argument(
        "--video_flags",
        default="",
        metavar="FLAGS",
        help="more flags of `context-rcnn simulate videos` for these videos, in one argument",
    )
    parser.add_argument(
        "--frames", default=str(frames), help=f"frames of a video, or a range (default: {frames})"
    )


def run_seeds(
    args: argparse.Namespace,
    name: str,
    run: Callable[[pathlib.Path, int], study.Results],
    text_of: Callable[[Sequence[study.Results]], str],
    mark: str,
) -> None:
    """Runs each seed in a folder of its own, and shows the tables after each.

    With `--write_docs` they go to docs/results.md, together with those that `study.keep` kept.

    Args:
        args: what `study.parse` found.
        name: the study, and the file with its tables in the folder of all seeds.
        run: runs a seed, given its folder; returns metrics by the name of the row.
        text_of: the tables of some seeds.
        mark: where they go in docs/results.md.
    """
    results = {}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        results[seed] = run(args.output_dir / f"videos-{seed}", seed)
        found = json.dumps(list(results.values()), indent=1)
        (args.output_dir / f"{name}.json").write_text(found)
        print(text_of(list(results.values())), flush=True)
    if args.write_docs:
        study.write_docs(text_of(study.keep(name, args, results)), mark)


def measures() -> dict[str, Callable[[dict], float | None]]:
    """The columns of tables on videos: mAP@.5 by speed, and which boxes get their class."""

    return {speed: _percent("by_speed", speed, "mAP@.5") for speed in SPEEDS} | by_evidence()


def by_evidence() -> dict[str, Callable[[dict], float | None]]:
    """The columns that tell which boxes get their class, by what they show."""
    return {title: _percent("by_evidence", name, "right") for name, title in EVIDENCE.items()}


def _percent(group: str, name: str, value: str) -> Callable[[dict], float | None]:
    def measure(metrics: dict) -> float | None:
        found = (metrics.get(group) or {}).get(name, {}).get(value)
        return None if found is None else 100 * found

    return measure
