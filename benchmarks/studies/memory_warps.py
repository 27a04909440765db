r"""The rows of Memory Warps' tables on simulated videos, over seeds.

    python -m benchmarks.studies.memory_warps --output_dir=warps_tables --seeds=3
    python -m benchmarks.studies.memory_warps --output_dir=warps_tables --only=single_frame,memnet

Each seed has its own videos, pairs with known flow, weights and order. A flow network is trained
on the pairs and still-image detectors, a strong and a fast one, on stills of other places; every
row then goes on from them on videos, on as many keyframes, the still-image row too, and is
evaluated on videos that none has seen. The backbone and the first stage keep what stills taught
them, but for the two-speed rows, whose fast detector learns to read the features of another. Gaps,
cycles, halves and schedules are evaluations of rows that were trained before. What is finished is
not run again. Writes <output_dir>/memory_warps.json and, with --write_docs, puts the tables into
docs/results.md, with the end-point error of the flow network before.
"""

import dataclasses
import json
from collections.abc import Sequence

from benchmarks.studies import study, videos
from benchmarks.studies.study import RATE, ROOT, cli
from benchmarks.studies.videos import VideoStudy

WARPS, FGFA = "task.temporal.memory_warps", "task.temporal.fgfa"
MEMNET, CLOCKNET, FAST = "memnet", "clocknet", "rfcn_18"
FLOW_NET = "flow_net"
HALF = "task.model.image_size=[96,128]"
SLIM = "task.model.backbone.depth_multiplier=0.125"
# Detectors from stills alone, besides that of most rows: a fast one, and one with two maps.
STILLS_FAST, STILLS_45 = "detector_fast", "detector_conv45"
STILLS = {STILLS_FAST: (SLIM,), STILLS_45: ("task.model.neck.type=rfcn",)}
TEN = "task.model.backbone.model_id=10"  # in place of the ResNet-50 of the files
CLOCKS = f"{WARPS}.clocks=[1,2,4]"  # of videos that are shorter than the paper's
PAIRS = 200  # videos of the pairs with flow
# Videos in which little moves from one frame to the next, as in films at thirty frames a second.
CALM = "calm"
CALM_FLAGS = ("--pan=.05", "--jitter=.05", "--slowest=.05", "--fastest=.25", "--val_fraction=.99")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: files of configs/memory_warps, or none, and what the paper has for it."""

    title: str
    name: str
    paper: str = "-"
    configs: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()  # at simulation size
    base: str = MEMNET
    weights: str = ""  # of the row that it evaluates, in place of training its own
    start: str = "detector"  # what it goes on from
    strong: str = ""  # row of the strong detector
    frozen: bool = True  # backbone and first stage
    rate: float = 0.0  # of its own, in place of that of all rows
    held_out: str = "videos"  # what it is measured on

    @property
    def flags(self) -> list[str]:
        flags = [f"--pipeline_config_path={ROOT}/configs/simulation/{self.base}.yaml"]
        return flags + [f"--config_file={ROOT}/configs/memory_warps/{c}.yaml" for c in self.configs]


def evaluated(title: str, name: str, paper: str, of: str, *settings: str, **more) -> Row:
    """An evaluation of another row."""
    return Row(title, name, paper, settings=settings, weights=of, **more)


def without(of: str, by: str, gap: int, paper: str) -> Row:
    """Table 2: detection with a gap."""
    settings = [f"{WARPS}.without_evidence.gap={gap}", f"{WARPS}.without_evidence.by={by}"]
    settings += [CLOCKS] * (of == CLOCKNET)
    return evaluated(f"{of}, {by}, {gap} frames", f"{of}_{by}_{gap}", paper, of, *settings)


def calm(title: str, name: str, paper: str, of: str, *settings: str, **more) -> Row:
    """An evaluation of another row where little moves."""
    return evaluated(title, f"{CALM}_{name}", paper, of, *settings, held_out=CALM, **more)


SINGLE = Row(
    "R-FCN",
    "single_frame",
    "73.4",
    ("single_frame",),
    ("task.validation_data.global_batch_size=16",),
)
# Every bin of R-FCN learns from its share of a box alone, and needs a higher rate.
DETECTOR = dataclasses.replace(
    SINGLE,
    settings=(
        *SINGLE.settings,
        "task.train_data.global_batch_size=16",
        f"{RATE}.values=[0.06,0.006,0.0006]",
    ),
)
FULL = Row("MemNet-4", MEMNET, "75.1 (MemNet-6)")
NO_DROP = Row("no frame dropped", "no_drop", "a few points less", ("no_drop",))
CLOCK = Row("ClockNet, hold", CLOCKNET, "75.6", ("clocknet",), (CLOCKS,))
GAPS = {
    (MEMNET, "boxes"): ("64.6", "55.4"),
    (CLOCKNET, "boxes"): ("64.9", "56.2"),
    (MEMNET, "features"): ("68.9", "56.1"),
    (CLOCKNET, "features"): ("70.9", "62.3"),
    (MEMNET, "anticipation"): ("68.8", "55.9"),
    (CLOCKNET, "anticipation"): ("67.0", "57.3"),
}
EVERY = f"{WARPS}.without_evidence.every"
HALVES = f"{WARPS}.without_evidence.halves=true"
TABLES = {
    "Detection in videos (Table 1)": [
        SINGLE,
        Row("FGFA", "fgfa", "76.2", base="fgfa"),
        Row("FGFA, half size", "fgfa_half", "66.7", settings=(HALF,), base="fgfa"),
        Row(
            "causal FGFA",
            "fgfa_causal",
            "75.2",
            ("fgfa_causal",),
            (f"{FGFA}.before=5", f"{FGFA}.training.first=-5"),
            base="fgfa",
        ),
        evaluated(
            "causal FGFA, accumulated flow",
            "fgfa_accumulated",
            "66.0",
            "fgfa_causal",
            f"{FGFA}.before=5",
            base="fgfa",
            configs=("fgfa_causal", "fgfa_accumulated"),
        ),
        Row("MemNet-2", "memnet_2", "74.3 (MemNet-3)", settings=(f"{WARPS}.training.frames=2",)),
        FULL,
        dataclasses.replace(NO_DROP, title="MemNet-4, no frame dropped", paper="-"),
        Row("MemNet-4, weights", "weights", "75.3", ("weights",)),
        Row("MemNet-4, stride 2", "stride_2", "74.4", settings=(f"{WARPS}.training.stride=2",)),
        Row("MemNet-4, stride 4", "stride_4", "74.2", ("stride_4",)),
        CLOCK,
        evaluated(
            "ClockNet, interleaved",
            "interleaved",
            "75.6",
            CLOCKNET,
            CLOCKS,
            configs=("clocknet", "interleaved"),
        ),
    ],
    "Propagation and anticipation (Table 2)": [
        FULL,
        CLOCK,
        *[
            without(of, by, gap, paper)
            for (of, by), papers in GAPS.items()
            for gap, paper in zip((4, 8), papers, strict=True)
        ],
    ],
    "Two speeds (Table 3)": [
        Row(
            "fast detector",
            FAST,
            "60.2",
            ("single_frame",),
            (SLIM,),
            start=STILLS_FAST,
        ),
        CLOCK,
        evaluated(
            "ClockNet, every second frame",
            "clocknet_every_2",
            "70.9 (every fourth)",
            CLOCKNET,
            CLOCKS,
            f"{EVERY}=2",
        ),
        evaluated("ClockNet, halves", "clocknet_halves", "28.9", CLOCKNET, CLOCKS, HALVES),
        evaluated(
            "ClockNet, every second frame, halves",
            "clocknet_every_2_halves",
            "23.3",
            CLOCKNET,
            CLOCKS,
            HALVES,
            f"{EVERY}=2",
        ),
        Row(
            "fast detector with late features",
            "two_speed",
            "71.9",
            base="two_speed",
            start=f"rows/{FAST}",
            strong=CLOCKNET,
            frozen=False,
            rate=0.01,
        ),
        evaluated(
            "fast detector with late boxes",
            "two_speed_boxes",
            "66.9",
            "two_speed",
            "task.temporal.two_speed.by=boxes",
            base="two_speed",
            start=f"rows/{FAST}",
            strong=CLOCKNET,
            frozen=False,
            rate=0.01,
        ),
    ],
    "Aggregation (supplement, half size in the paper)": [
        dataclasses.replace(FULL, title="average", paper="66.4"),
        Row("weights", "weights", "66.4", ("weights",)),
        Row("adaptive", "adaptive", "66.4", ("adaptive",), ("task.model.image_size=[192,256]",)),
        Row("AdaScan", "adascan", "66.2", ("adascan",), ("task.model.image_size=[192,256]",)),
        evaluated(
            "AdaScan, limited to its weight in training",
            "adascan_limited",
            "-",
            "adascan",
            "task.model.image_size=[192,256]",
            f"{WARPS}.weight_limit=2",
            configs=("adascan",),
        ),
    ],
    "Where the memory is (supplement, half size and ResNet-50 in the paper)": [
        dataclasses.replace(FULL, title="conv5", paper="66.4"),
        Row("conv4 and conv5", "level_conv45", "66.2", ("level_conv45",), (TEN,), start=STILLS_45),
        Row("conv4", "level_conv4", "66", ("level_conv4",), (TEN,)),
        Row("conv3", "level_conv3", "66", ("level_conv3",), (TEN,)),
    ],
    "What training depends on": [
        FULL,
        NO_DROP,
        Row(
            "three frames of ten dropped",
            "drop_3",
            settings=(f"{WARPS}.training.drop_evidence=.3",),
        ),
        Row("flow not trained further", "flow_fixed", "less", ("flow_fixed",)),
        Row("flow never trained before", "flow_untrained", "-", ("flow_untrained",)),
    ],
}


CALM_SINGLE = calm(
    "R-FCN", "single_frame", "73.4", "single_frame", *SINGLE.settings, configs=SINGLE.configs
)
CALM_TABLES = {
    "Gaps where little moves (Table 2; the same weights)": [
        CALM_SINGLE,
        calm("MemNet-4", MEMNET, "75.1 (MemNet-6)", MEMNET),
        *[
            calm(
                f"{by}, {gap} frame{'s' * (gap > 1)}",
                f"{by}_{gap}",
                dict(zip((4, 8), GAPS[MEMNET, by], strict=True)).get(gap, "-"),
                MEMNET,
                f"{WARPS}.without_evidence.gap={gap}",
                f"{WARPS}.without_evidence.by={by}",
            )
            for by in ("features", "boxes", "anticipation")
            for gap in (1, 2, 4, 8)
        ],
    ],
}
ALL = TABLES | CALM_TABLES


class WarpsStudy(VideoStudy):
    """One seed: its videos, its flow network, its detector and its rows."""

    single_row = DETECTOR
    # A memory that halves with each frame bridges two to four; the longer spells are for clocks.
    filmed = ("--scales=flicker,short", "--crossing_fraction=0")

    def prepare(self) -> None:
        """Also simulates pairs with flow, and trains the flow network."""
        super().prepare()
        pairs, steps = self.folder / "pairs", self.args.flow_steps
        simulate = ["simulate", "flow", pairs, "--image_size=128x96", "--cell=8", "--workers=2"]
        simulate += ["--flow_distances=-1,-2,-4"]
        simulate += [f"--videos={self.args.flow_videos}", f"--seed={self.seed}", "--overwrite"]
        self.run("pairs", cli(*simulate), pairs / "simulation.json")
        flags = [f"--pipeline_config_path={ROOT}/configs/simulation/flow_net.yaml"]
        inputs = [f"task.{part}.input_path={pairs}" for part in ("train_data", "validation_data")]
        self.train(FLOW_NET, flags, steps, inputs)

    def train_on(
        self, name: str, flags: list[str], steps: int, settings: list[str], *args, **more
    ) -> dict:
        """The same, with an R-FCN that pools as it is asked to."""
        settings = [*settings, f"task.model.boxes.bin_edges={self.args.bin_edges}"]
        return super().train_on(name, flags, steps, settings, *args, **more)

    def row(self, row: Row) -> dict:
        """Trains and evaluates a row, or evaluates another's; returns its metrics."""
        if row.start in STILLS:
            settings = ["task.init_checkpoint=''", *DETECTOR.settings, *STILLS[row.start]]
            steps = self.args.detector_steps
            self.train_on(row.start, DETECTOR.flags, steps, settings, "stills")
        if row.held_out == CALM:
            some = (f"--videos={self.args.calm_videos}", f"--frames={self.args.frames}")
            filmed = (*self.filmed, *CALM_FLAGS, *some, f"--seed={2000 + self.seed}")
            self.simulate(CALM, *filmed)
        rate = row.rate or self.args.rate
        settings = [f"task.init_checkpoint={self.folder}/{row.start}"]
        settings += [f"{RATE}.values=[{rate},{rate / 10},{rate / 100}]"]
        settings += [videos.FROZEN] * row.frozen
        if row.base != "two_speed":
            settings.append(f"{WARPS}.flow.init_checkpoint={self.folder}/{FLOW_NET}")
            settings.append(f"{FGFA}.flow.init_checkpoint={self.folder}/{FLOW_NET}")
            settings += [f"{temporal}.flow.rate=1" for temporal in (WARPS, FGFA)]
        if "flow_untrained" in row.configs:
            settings.append(f"{WARPS}.flow.init_checkpoint=''")
        if row.strong:
            settings.append(f"task.temporal.two_speed.strong={self.folder}/rows/{row.strong}")
        flags = row.flags
        if row.weights:
            flags += [f"--checkpoint_dir={self.folder}/rows/{row.weights}", "--mode=eval"]
        settings += row.settings
        name = f"rows/{row.name}"
        return self.train_on(name, flags, self.args.steps, settings, held_out=row.held_out)

    def flow_errors(self) -> dict:
        """The end-point errors of the flow network."""
        return json.loads(self.metrics(FLOW_NET, self.args.flow_steps).read_text())


def run_study(seed: WarpsStudy, only: set[str]) -> study.Results:
    """Runs the rows, trained ones first; returns metrics by row name."""
    rows = study.chosen(ALL, only)
    if seed.args.finished:
        return {**seed.finished(list(rows)), FLOW_NET: seed.flow_errors()}
    every = study.chosen(ALL, set())
    seed.prepare()
    needed = {row.strong for row in rows.values()} | {row.weights for row in rows.values()}
    needed |= {row.start.rpartition("/")[2] for row in rows.values() if "/" in row.start}
    order = sorted(needed & set(every), key=lambda name: bool(every[name].strong))
    for name in order:
        seed.row(every[name])
    ordered = sorted(rows.values(), key=lambda row: (bool(row.weights), bool(row.strong)))
    return {row.name: seed.row(row) for row in ordered} | {FLOW_NET: seed.flow_errors()}


def main() -> None:
    parser = study.parser_of(__doc__, "warps_tables")
    videos.add_video_flags(parser, videos=240, frames=40)
    parser.add_argument(
        "--flow_videos",
        type=int,
        default=PAIRS,
        help=f"number of videos that pairs with flow are taken from (default: {PAIRS})",
    )
    parser.add_argument(
        "--flow_steps", type=int, default=5000, help="steps of the flow network (default: 5000)"
    )
    parser.add_argument(
        "--rate", type=float, default=0.0003, help="learning rate of the rows (default: .0003)"
    )
    parser.add_argument(
        "--bin_edges",
        choices=("exact", "cells"),
        default="exact",
        help="where the bins of R-FCN end (default: exact)",
    )
    parser.add_argument(
        "--calm_videos",
        type=int,
        default=40,
        help="number of videos in which little moves (default: 40)",
    )
    parser.set_defaults(stills=1000, val_fraction=0.18, detector_steps=2500)
    args, only = study.parse(parser, ALL)
    videos.run_seeds(
        args,
        "memory_warps",
        lambda folder, seed: run_study(WarpsStudy(folder, seed, args), only),
        as_text,
        "Memory Warps tables",
    )


def as_text(results: Sequence[study.Results]) -> str:
    """The tables of some seeds, and how well their flow networks do."""
    text = on_flow([result[FLOW_NET] for result in results])
    for tables, single in ((TABLES, SINGLE), (CALM_TABLES, CALM_SINGLE)):
        text += study.as_markdown(
            tables, results, single, videos.measures(), "paper, on ImageNet VID"
        )
    return text


def on_flow(flows: list[dict]) -> str:
    """A sentence on the flow networks of all seeds."""
    found, none = (
        study.spread([flow[f"{name}_cells"] for flow in flows])
        for name in ("end_point_error", "zero_flow_error")
    )
    return f"The flow networks are off by {found} cells on pairs held out, no flow by {none}.\n"


if __name__ == "__main__":
    main()
