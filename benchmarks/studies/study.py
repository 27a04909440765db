"""What studies on simulated data have in common: seeds, rows, commands run once, tables."""

import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from benchmarks import record

ROOT = record.ROOT
DOCS = ROOT / "docs" / "results.md"
RATE = "trainer.optimizer_config.learning_rate.stepwise"


class Row(Protocol):
    """A row of a table: what it is called, in files and for people, and what the paper has."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def paper(self) -> str: ...


# Metrics that tables are made of.
KEPT = (
    "mAP@.5",
    "mAP@.75",
    "by_speed",
    "by_evidence",
    "end_point_error_cells",
    "zero_flow_error_cells",
)
_OF_THIS_RUN = ("output_dir", "seeds", "first_seed", "finished", "only", "write_docs")

Tables = Mapping[str, Sequence[Any]]  # rows by the title of their table
Results = Mapping[str, dict]  # metrics by the name of the row


class Study:
    """One seed: a folder in which commands are run once.

    Attributes:
        drops: how often the rate of its experiments is divided.

    Args:
        folder: folder of the study.
        seed: seed of all random choices.
        args: arguments that `parser_of` parses, and more.
    """

    drops = 2

    def __init__(self, folder: pathlib.Path, seed: int, args: argparse.Namespace):
        self.folder, self.seed, self.args = folder, seed, args
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, command: list, product: pathlib.Path) -> None:
        """Runs a command whose product is not there yet."""
        run_once(self.folder, name, command, product)

    def metrics(self, name: str, steps: int) -> pathlib.Path:
        """The file of a run's last evaluation."""
        return self.folder / name / "evaluation" / f"step-{steps}" / "metrics.json"

    def file_of(self, row: str) -> pathlib.Path:
        """The file with the metrics of a row."""
        return self.metrics(f"rows/{row}", self.args.steps)

    def train(self, name: str, flags: list[str], steps: int, settings: list[str]) -> dict:
        """Trains and evaluates a run once; returns its metrics."""
        command = train_command(
            self.folder / name, flags, steps, self.seed, settings, drops=self.drops
        )
        self.run(name, command, self.metrics(name, steps))
        return json.loads(self.metrics(name, steps).read_text())

    def finished(self, names: Sequence[str]) -> Results:
        """Metrics of the rows that were run."""
        files = {name: self.file_of(name) for name in names}
        return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def parser_of(doc: str, output_dir: str) -> argparse.ArgumentParser:
    """The flags that all studies have.

    Args:
        doc: docstring of the module.
        output_dir: default folder of the results.
    """
    parser = record.parser_of(doc)
    parser.add_argument(
        "--output_dir", default=output_dir, type=pathlib.Path, help="folder to write"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--first_seed", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument(
        "--finished", action="store_true", help="show the rows that were run, and run none"
    )
    parser.add_argument("--only", default="", help="names of rows to run, separated by commas")
    parser.add_argument(
        "--detector_steps",
        type=int,
        default=900,
        help="steps of the first detector (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, default=500, help="steps of each row (default: %(default)s)"
    )
    parser.add_argument("--write_docs", action="store_true", help="put the tables in the docs")
    return parser


def parse(parser: argparse.ArgumentParser, *tables: Tables) -> tuple[argparse.Namespace, set[str]]:
    """Parses the command line; also returns the names of the rows that are asked for."""
    args = parser.parse_args()
    args.output_dir = args.output_dir.resolve()
    only = {name for name in args.only.split(",") if name}
    known = {row.name for table in tables for rows in table.values() for row in rows}
    if only - known:
        parser.error(f"--only: no such row: {', '.join(sorted(only - known))}; there are {known}")
    return args, only


def chosen(tables: Tables, only: set[str]) -> dict[str, Any]:
    """The rows that are asked for by name, each once."""
    rows = {row.name: row for members in tables.values() for row in members}
    return {name: row for name, row in rows.items() if not only or name in only}


def as_markdown(
    tables: Tables,
    results: Sequence[Results],
    single: Row,
    measures: Mapping[str, Callable[[dict], float | None]],
    paper: str = "",
) -> str:
    """The tables as far as they were run, with mean and standard deviation over seeds.

    Args:
        tables: rows by title.
        results: results of each seed.
        single: the row that others are compared with.
        measures: columns, from metrics to a number or None; mAP@.5 and the gain come first.
        paper: title of the column with the paper's numbers; empty for none.
    """
    lines = []
    for title, rows in tables.items():
        ran = [row for row in rows if any(row.name in result for result in results)]
        if len(ran) < 2:
            continue
        names = ["mAP@.5", f"over {single.title}", *measures, "seeds", *([paper] if paper else [])]
        lines += ["", f"### {title}", "", f"| | {' | '.join(names)} |"]
        lines += ["|---" * (len(names) + 1) + "|"]
        for row in ran:
            found = [result for result in results if row.name in result]
            metrics = [result[row.name] for result in found]
            gains = [
                100 * (result[row.name]["mAP@.5"] - result[single.name]["mAP@.5"])
                for result in found
                if single.name in result
            ]
            cells = [row.title, spread([100 * m["mAP@.5"] for m in metrics])]
            cells.append("" if row.name == single.name else spread(gains, "+"))
            for measure in measures.values():
                values = [value for m in metrics if (value := measure(m)) is not None]
                cells.append(spread(values))
            cells += [str(len(found)), *([row.paper] if paper else [])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cli(*args) -> list:
    return [sys.executable, "-m", "context_rcnn.cli", *args]


def run_once(folder: pathlib.Path, name: str, command: list, product: pathlib.Path) -> None:
    """Runs a command whose product is not there yet; its output goes to a log in the folder.

    Some commands make their product before they end. One that was killed is run again.
    """
    log = folder / "logs" / f"{name.replace('/', '_')}.txt"
    begun = log.with_suffix(".begun")
    if product.exists() and not begun.exists():
        return
    log.parent.mkdir(exist_ok=True)
    begun.touch()
    start = time.monotonic()
    print(f"{folder.name} {name} ...", end=" ", flush=True)
    with open(log, "w") as file:
        file.write(shlex.join(map(str, command)) + "\n")
        file.flush()
        status = subprocess.run(
            list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, cwd=ROOT
        ).returncode
    if status or not product.exists():
        sys.exit(f"failed with status {status}; see {log}")
    begun.unlink()
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def train_command(
    model_dir: pathlib.Path,
    flags: list[str],
    steps: int,
    seed: int,
    settings: list[str],
    *,
    drops: int = 2,
) -> list:
    """Training and evaluation in so many steps, with a warm-up and drops of the rate."""
    boundaries = [steps * 2 // 3, steps * 8 // 9][:drops]
    overrides = [
        f"task.train_data.seed={seed}",
        f"trainer.seed={seed}",
        f"trainer.validation_interval={steps}",
        f"trainer.optimizer_config.warmup.linear.warmup_steps={steps // 10}",
        f"{RATE}.boundaries=[{','.join(map(str, boundaries))}]",
        *settings,
    ]
    command = [sys.executable, "-m", "context_rcnn.model_main_tf2", *flags]
    command += [f"--model_dir={model_dir}", f"--num_train_steps={steps}"]
    return [*command, f"--params_override={','.join(overrides)}"]


def spread(values: list[float], sign: str = "") -> str:
    """Mean, with its sign if wanted, and standard deviation."""
    if not values:
        return "-"
    mean = statistics.mean(values)
    return f"{mean:{sign}.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def keep(
    name: str,
    args: argparse.Namespace,
    results: Mapping[int, Results],
    folder: pathlib.Path = record.RESULTS,
) -> list[Results]:
    """Adds metrics of seeds to those in benchmarks/results; returns all of them.

    So seeds and rows may be run on several machines, one after the other. Only what was measured
    with the same settings stays; what has others is replaced.

    Args:
        name: file without .json.
        args: the settings of the study.
        results: metrics by row, of each seed.
        folder: where the file is.
    """
    file = folder / f"{name}.json"
    settings = {
        flag: value for flag, value in sorted(vars(args).items()) if flag not in _OF_THIS_RUN
    }
    before = json.loads(file.read_text()) if file.exists() else {}
    seeds = before.get("seeds", {}) if before.get("settings") == settings else {}
    for seed, rows in results.items():
        few = {row: {key: metrics[key] for key in KEPT if key in metrics}
               for row, metrics in rows.items()}  # fmt: skip
        seeds[str(seed)] = seeds.get(str(seed), {}) | few
    seeds = {seed: seeds[seed] for seed in sorted(seeds, key=int)}
    file.write_text(json.dumps({"settings": settings, "seeds": seeds}, indent=1) + "\n")
    return list(seeds.values())


def write_docs(text: str, name: str, file: pathlib.Path = DOCS) -> None:
    """Puts a text between the marks of that name in docs/results.md, or in another file."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = file.read_text().partition(begin)
    _, _, after = rest.partition(end)
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}")
