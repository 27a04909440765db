r"""The rows of PSTA's tables on simulated tracklets, over seeds.

    python -m benchmarks.studies.psta --output_dir=reid_tables --seeds=3
    python -m benchmarks.studies.psta --output_dir=reid_tables --only=average,psta

Each seed has its own people, weights and order. There are no ImageNet weights at this size: the
average baseline is trained first, on people of its own; every row then starts from its frames and
trains on other people for as many steps, the average row too, and is evaluated on people that none
has seen. What is finished is not run again. With the simulator's masks it is measured how much
attention goes to what hides people, and what the average row would have if it ignored that. Writes
<output_dir>/tables.json and, with --write_docs, puts the tables into docs/results.md.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys

from benchmarks.studies import study
from benchmarks.studies.study import ROOT, cli, spread
from context_rcnn.configs.reid import LATE
from context_rcnn.data.tracklets import DISTRACTOR, JUNK
from context_rcnn.evaluation.embeddings import read_embeddings
from context_rcnn.evaluation.reid import intra_and_inter

MEASURES = ("mAP", "Rank-1", "Rank-5", "mINP")
# People who cross make most of it hard: look-alikes alone leave little to win for attention.
SIMULATED = ("--lookalike_fraction=0.2", "--occluded_fraction=0.9", "--crossing_fraction=0.8")
DISTANCES = ("within", "between")  # mean cosine distances of one identity, and of different ones


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: a file of configs/reid, and the paper's mAP and Rank-1 on MARS."""

    title: str
    name: str
    paper: str

    @property
    def flags(self) -> list[str]:
        flags = [f"--pipeline_config_path={ROOT}/configs/simulation/psta.yaml"]
        if self.name != "psta":
            flags.append(f"--config_file={ROOT}/configs/reid/{self.name}.yaml")
        return flags


AVERAGE = Row("average (baseline)", "average", "84.7 / 88.8")
SUM = Row("pyramid of sums", "sum", "85.2 / 90.6")
FULL = Row("PSTA", "psta", "85.8 / 91.5")
TABLES = {
    "Structure and attention (Table 1)": [
        AVERAGE,
        SUM,
        Row("adjacent reference", "adjacent", "85.1 / 90.2"),
        Row("global reference", "global", "85.2 / 90.1"),
        Row("pyramid, SRA only", "spatial", "85.4 / 90.9"),
        Row("pyramid, TRA only", "temporal", "85.5 / 91.2"),
        Row("no residual block", "no_residual", "85.8 / 91.3"),
        FULL,
    ],
    "Stages (Table 2)": [
        dataclasses.replace(AVERAGE, title="0 stages"),
        Row("1 stage", "stages_1", "85.2 / 90.0"),
        Row("2 stages", "stages_2", "85.6 / 91.0"),
        dataclasses.replace(FULL, title="3 stages"),
    ],
    "As the authors released it": [FULL, Row("released", "released", "85.8 / 91.5")],
}


class PeopleStudy(study.Study):
    """One seed: its people, its baseline and its rows."""

    def prepare(self) -> None:
        """Simulates the people, and trains the frames that every row starts from."""
        args = self.args
        for name, people, seed in (
            ("others", args.first_people, self.seed + 1000),
            ("people", args.people, self.seed),
        ):
            archive = self.folder / name
            test = args.test_people if name == "people" else 8
            simulate = ["simulate", "tracklets", archive, f"--people={people}"]
            simulate += [f"--test_people={test}", f"--seed={seed}", f"--workers={args.workers}"]
            simulate += [f"--frames={args.frames}", "--overwrite", *SIMULATED]
            self.run(f"simulate {name}", cli(*simulate), archive / "people.json")
        self._train("frames", AVERAGE, self.args.detector_steps, "others", [])

    def row(self, row: Row) -> dict:
        """Trains and evaluates a row; returns its metrics."""
        settings = [f"task.init_checkpoint={self.folder}/frames"]
        settings.append("task.init_checkpoint_modules=frames")
        return self._train(f"rows/{row.name}", row, self.args.steps, "people", settings)

    def distances(self, row: Row) -> dict[str, float]:
        """Mean cosine distances of the features of a row that was run (Figure 6)."""
        found = read_embeddings(str(self.metrics(f"rows/{row.name}", self.args.steps).parent))
        known = [i for i, t in enumerate(found.tracklets) if t.identity not in (JUNK, DISTRACTOR)]
        labels = [found.tracklets[i].identity for i in known]
        within, between = intra_and_inter(found.features[known], labels)
        return {"within": within, "between": between}

    def measured(self, row: Row) -> dict:
        """What the simulator's masks say of a row: its attention, or the ceiling of the average.

        With --finished nothing is measured that was not measured before.
        """
        if row.name == SUM.name:
            return {}
        what = "ceiling" if row.name == AVERAGE.name else "attention"
        product = self.folder / f"rows/{row.name}/{what}.json"
        command = [sys.executable, "-m", f"benchmarks.studies.psta_{what}"]
        command += [f"--model_dir={self.folder}/rows/{row.name}", f"--archive={self.folder}/people"]
        if not self.args.finished:
            self.run(f"{what} {row.name}", [*command, f"--output={product}"], product)
        return {what: json.loads(product.read_text())} if product.exists() else {}

    def _train(self, name: str, row: Row, steps: int, archive: str, settings: list[str]) -> dict:
        """Trains in so many steps, with the schedule of `psta_tiny` in proportion."""
        root = self.folder / archive
        product = self.metrics(name, steps)
        optimizer = "trainer.optimizer_config"
        milestones = [round(steps * epoch / 500) - 1 for epoch in LATE]
        overrides = [
            f"task.train_data.input_path={root}",
            f"task.validation_data.input_path={root}",
            f"task.train_data.seed={self.seed}",
            f"trainer.seed={self.seed}",
            f"trainer.validation_interval={steps}",
            f"trainer.checkpoint_interval={max(1, steps // 2)}",
            f"{optimizer}.learning_rate.stepwise.boundaries={milestones}",
            f"{optimizer}.warmup.linear.warmup_steps={max(1, steps // 50)}",
            *settings,
        ]
        command = [sys.executable, "-m", "context_rcnn.model_main_tf2", *row.flags]
        command += [f"--model_dir={self.folder / name}", f"--num_train_steps={steps}"]
        joined = ",".join(overrides).replace(" ", "")
        self.run(name, [*command, f"--params_override={joined}"], product)
        return json.loads(product.read_text())


def run_study(people: PeopleStudy, only: set[str]) -> study.Results:
    """Runs the rows; returns metrics by row name."""
    rows = study.chosen(TABLES, only)
    if people.args.finished:
        found = people.finished(list(rows))
    else:
        people.prepare()
        found = {name: people.row(row) for name, row in rows.items()}
    return {
        name: metrics | people.distances(rows[name]) | people.measured(rows[name])
        for name, metrics in found.items()
    }


def as_markdown(results: list[study.Results]) -> str:
    """The tables as far as they were run, with mean and standard deviation over seeds, in %.

    Distances are in hundredths, too.
    """
    lines: list[str] = []
    for title, rows in TABLES.items():
        ran = [row for row in rows if any(row.name in result for result in results)]
        if len(ran) < 2:
            continue
        names = [*MEASURES, "mAP over average", *DISTANCES, "seeds", "paper, MARS mAP / Rank-1"]
        lines += ["", f"### {title}", "", f"| | {' | '.join(names)} |"]
        lines.append("|---" * (len(names) + 1) + "|")
        for row in ran:
            found = [result for result in results if row.name in result]
            cells = [
                spread([100 * result[row.name][name] for result in found]) for name in MEASURES
            ]
            gains = [
                100 * (result[row.name]["mAP"] - result[AVERAGE.name]["mAP"])
                for result in found
                if AVERAGE.name in result
            ]
            cells.append("" if row.name == AVERAGE.name else spread(gains, "+"))
            for name in DISTANCES:
                values = [result[row.name].get(name) for result in found]
                cells.append(spread([100 * value for value in values if value is not None]))
            lines.append(f"| {' | '.join([row.title, *cells, str(len(found)), row.paper])} |")
    return "\n".join([*lines, *_ceiling_lines(results), *_attention_lines(results)]) + "\n"


def _ceiling_lines(results: list[study.Results]) -> list[str]:
    """What the average row would have if it ignored what hides people."""
    found = [r[AVERAGE.name]["ceiling"] for r in results if "ceiling" in r.get(AVERAGE.name, {})]
    if not found:
        return []
    lines = ["", "### Ceiling: the average row with the simulator's masks", ""]
    measures = list(next(iter(found[0].values())))
    lines += [f"| average over | {' | '.join(measures)} | seeds |"]
    lines += ["|---" * (len(measures) + 2) + "|"]
    for name in found[0]:
        cells = [spread([100 * one[name][measure] for one in found]) for measure in measures]
        lines.append(f"| {' | '.join([name, *cells, str(len(found))])} |")
    return lines


def _attention_lines(results: list[study.Results]) -> list[str]:
    """Attention to people and to what hides them, of the rows that have it."""
    lines = ["", "### Attention of the first stage, mean over cells", ""]
    lines += ["| | kind | person | what hides | background | seeds |", "|---|---|---|---|---|---|"]
    rows = {row.name: row for members in TABLES.values() for row in members}
    count = 0
    for name, row in rows.items():
        found = [r[name]["attention"] for r in results if r.get(name, {}).get("attention")]
        for kind in ("spatial", "temporal"):
            values = [f[kind] for f in found if kind in f]
            if values:
                cells = [
                    f"{statistics.mean([v[place] for v in values]):.3f}"
                    for place in ("person", "occluder", "background")
                ]
                lines.append(f"| {row.title} | {kind} | {' | '.join(cells)} | {len(values)} |")
                count += 1
    return lines if count else []


def main() -> None:
    parser = study.parser_of(__doc__, "reid_tables")
    parser.set_defaults(detector_steps=1500, steps=1500)
    _add_sizes(parser)
    args, only = study.parse(parser, TABLES)
    results = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        folder: pathlib.Path = args.output_dir / f"people-{seed}"
        results.append(run_study(PeopleStudy(folder, seed, args), only))
        (args.output_dir / "tables.json").write_text(json.dumps(results, indent=1))
        print(as_markdown(results), flush=True)
    if args.write_docs:
        study.write_docs(as_markdown(results), "psta")


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--people", type=int, default=300, help="people to learn from (default: 300)"
    )
    parser.add_argument(
        "--test_people", type=int, default=300, help="people to find again (default: 300)"
    )
    parser.add_argument(
        "--first_people", type=int, default=150, help="people for the baseline (default: 150)"
    )
    parser.add_argument("--frames", type=int, default=30, help="frames of a tracklet (default: 30)")
    parser.add_argument("--workers", type=int, default=2, help="processes to simulate (default: 2)")


if __name__ == "__main__":
    main()
